//! Floats as whole numbers of the same order.

/// Ascending as the float does; -0 and 0 are one value. NaN has no place: callers refuse it.
pub(super) fn ascending(value: f32) -> u32 {
    // Adding 0 turns -0 into +0.
    let bits = (value + 0.0).to_bits();
    if bits >> 31 == 1 {
        !bits
    } else {
        bits | 1 << 31
    }
}

/// The float of a number [`ascending`] gave.
pub(super) fn value(ascending: u32) -> f32 {
    let negative = ascending >> 31 == 0;
    f32::from_bits(if negative {
        !ascending
    } else {
        ascending & !(1 << 31)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_and_value_are_kept() {
        let rising = [
            f32::NEG_INFINITY,
            -2.0,
            -1e-40,
            0.0,
            1e-40,
            0.5,
            f32::MAX,
            f32::INFINITY,
        ];
        assert!(
            rising
                .windows(2)
                .all(|pair| ascending(pair[0]) < ascending(pair[1]))
        );
        assert!(rising.iter().all(|&v| value(ascending(v)) == v));
        assert_eq!(ascending(-0.0), ascending(0.0));
    }
}
