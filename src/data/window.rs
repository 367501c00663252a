//! A rectangle of an image, and how one is drawn.

use crate::rng::Stream;

/// Rows `top..top + height`, columns `left..left + width`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Number of rows.
    pub height: usize,
    /// Number of columns.
    pub width: usize,
}

impl Window {
    /// All of an image of this height and width.
    pub fn whole([height, width]: [usize; 2]) -> Self {
        Window {
            top: 0,
            left: 0,
            height,
            width,
        }
    }

    /// `height` × `width` in the middle of an image that is at least so large; odd margins lie as
    /// torchvision's `CenterCrop` has them (half a pixel is rounded to even).
    pub fn middle(extent: [usize; 2], [height, width]: [usize; 2]) -> Self {
        let offset = |whole: usize, part: usize| {
            (whole.saturating_sub(part) as f64 / 2.0).round_ties_even() as usize
        };
        Window {
            top: offset(extent[0], height),
            left: offset(extent[1], width),
            height,
            width,
        }
    }

    /// The window of torchvision's `RandomResizedCrop`: its area is uniform in `least`..1 times the
    /// image's, the logarithm of its width by its height uniform in ±log(4/3), its place uniform. Ten
    /// draws are tried; if none fits into the image, the largest window in the middle with a shape
    /// within those bounds.
    pub fn draw(stream: &mut Stream, extent: [usize; 2], least: f64) -> Self {
        let [rows, columns] = extent;
        let area = rows as f64 * columns as f64;
        let bound = (4f64 / 3.0).ln();
        for _ in 0..10 {
            let part = area * (least + (1.0 - least) * stream.uniform());
            let shape = (bound * (2.0 * stream.uniform() - 1.0)).exp();
            let width = (part * shape).sqrt().round_ties_even() as usize;
            let height = (part / shape).sqrt().round_ties_even() as usize;
            if (1..=rows).contains(&height) && (1..=columns).contains(&width) {
                let mut place = |free: usize| stream.below(free as u32 + 1) as usize;
                return Window {
                    top: place(rows - height),
                    left: place(columns - width),
                    height,
                    width,
                };
            }
        }
        let shape = columns as f64 / rows as f64;
        let most = |side: usize| ((side as f64 * 4.0 / 3.0).round_ties_even() as usize).max(1);
        let [height, width] = match shape {
            s if s < 0.75 => [most(columns).min(rows), columns],
            s if s > 4.0 / 3.0 => [rows, most(rows).min(columns)],
            _ => extent,
        };
        Window {
            top: (rows - height) / 2,
            left: (columns - width) / 2,
            height,
            width,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    fn draws(extent: [usize; 2], least: f64) -> Vec<Window> {
        let key = |i| Key::new(3, Purpose::Augment, 0, i);
        (0..4000)
            .map(|i| Window::draw(&mut key(i).stream(1), extent, least))
            .collect()
    }

    #[test]
    fn areas_shapes_and_places_are_as_torchvision_says() {
        let extent = [400, 500];
        let all = draws(extent, 0.08);
        let area = |w: &Window| (w.height * w.width) as f64 / 200_000.0;
        for w in &all {
            let shape = w.width as f64 / w.height as f64;
            // Sides are rounded to pixels, of which there are at least 110.
            assert!((0.74..1.35).contains(&shape), "{w:?}");
            assert!((0.079..=1.0).contains(&area(w)), "{w:?}");
            assert!(w.top + w.height <= 400 && w.left + w.width <= 500, "{w:?}");
        }
        // Below the size where draws are refused the area is uniform: as many in one fifth as in the
        // next. 3.3 standard deviations of a binomial difference of two counts.
        let within =
            |a: f64, b: f64| all.iter().filter(|w| (a..b).contains(&area(w))).count() as f64;
        let (low, high) = (within(0.1, 0.3), within(0.3, 0.5));
        assert!(
            (low - high).abs() < 3.3 * (low + high).sqrt(),
            "{low} {high}"
        );
        // Places: on average half of what is free, give or take five standard deviations.
        let free: f64 = all.iter().map(|w| (400 - w.height) as f64).sum();
        let top: f64 = all.iter().map(|w| w.top as f64).sum();
        assert!((top / free - 0.5).abs() < 0.03, "{}", top / free);
    }

    #[test]
    fn images_too_long_or_too_small_get_a_window_all_the_same() {
        // No window of at least 8 % and at most 4:3 fits into a strip of 1 to 40.
        for w in draws([10, 400], 0.08) {
            assert_eq!((w.top, w.left, w.height, w.width), (0, 193, 10, 13));
        }
        assert_eq!(draws([1, 1], 0.08)[0], Window::whole([1, 1]));
        assert_eq!(draws([400, 10], 0.08)[0].height, 13);
        let odd = Window::middle([256, 257], [224, 224]);
        assert_eq!((odd.top, odd.left), (16, 16));
    }
}
