//! Dense matrix products: a safe front of the `gemm` crate.
//!
//! `C = alpha · op(A) · op(B) + beta · C`, where a transpose is a choice of strides, so nothing is
//! copied. The crate packs both operands into cache-sized panels and splits the rows and columns of
//! `C` over the current rayon pool, never the sum, so the result does not depend on the number of
//! threads.

use gemm::Parallelism;

use crate::tensor::Real;

/// A read-only matrix over a slice: row-major as given, or its transpose.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T> {
    data: &'a [T],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a, T: Real> Matrix<'a, T> {
    /// `data` as `rows` × `cols`, row after row.
    ///
    /// # Panics
    /// When `data` does not hold exactly `rows * cols` elements.
    pub fn new(data: &'a [T], rows: usize, cols: usize) -> Self {
        assert_eq!(
            data.len(),
            rows * cols,
            "elements of a {rows} x {cols} matrix"
        );
        Matrix {
            data,
            rows,
            cols,
            row_stride: cols,
            col_stride: 1,
        }
    }

    /// The transpose, over the same memory.
    pub fn t(self) -> Self {
        Matrix {
            data: self.data,
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
        }
    }
}

/// `out = alpha · a · b + beta · out`, with `out` row-major. With `beta` zero `out` is only written.
///
/// # Panics
/// When the inner extents differ or `out` has not `a.rows * b.cols` elements.
pub fn gemm<T: Real>(alpha: T, a: Matrix<T>, b: Matrix<T>, beta: T, out: &mut [T]) {
    let threads = match a.rows * a.cols * b.cols {
        // Below this the hand-over to other threads costs more than it saves.
        ..32_768 => Parallelism::None,
        _ => Parallelism::Rayon(rayon::current_num_threads()),
    };
    run(alpha, a, b, beta, out, threads);
}

/// [`gemm()`] on the calling thread alone, for work that is already split.
pub fn gemm_serial<T: Real>(alpha: T, a: Matrix<T>, b: Matrix<T>, beta: T, out: &mut [T]) {
    run(alpha, a, b, beta, out, Parallelism::None);
}

fn run<T: Real>(
    alpha: T,
    a: Matrix<T>,
    b: Matrix<T>,
    beta: T,
    out: &mut [T],
    threads: Parallelism,
) {
    assert_eq!(a.cols, b.rows, "inner extents of a matrix product");
    assert_eq!(out.len(), a.rows * b.cols, "elements of a matrix product");
    if out.is_empty() {
        return;
    }
    // SAFETY: each `Matrix` lies within its slice, `out` holds rows * cols elements and, being `&mut`,
    // overlaps neither; f32 and f64 (all of `Real`) are types the crate knows.
    unsafe {
        gemm::gemm(
            a.rows,
            b.cols,
            a.cols,
            out.as_mut_ptr(),
            1,
            b.cols as isize,
            beta != T::zero(),
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            beta,
            alpha,
            false,
            false,
            false,
            threads,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Key, Purpose};

    fn values<T: Real>(lane: u32, len: usize) -> Vec<T> {
        let mut stream = Key::new(7, Purpose::Check, 0, 0).stream(lane);
        (0..len)
            .map(|_| T::of(stream.uniform() * 2.0 - 1.0))
            .collect()
    }

    fn transposed<T: Real>(data: &[T], rows: usize, cols: usize) -> Vec<T> {
        (0..rows * cols)
            .map(|i| data[i % rows * cols + i / rows])
            .collect()
    }

    fn check<T: Real>(m: usize, k: usize, n: usize) {
        let (a, b, c): (Vec<T>, Vec<T>, Vec<T>) =
            (values(0, m * k), values(1, k * n), values(2, m * n));
        let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
        let (alpha, beta) = (T::of(0.5), T::of(-2.0));
        let u = T::DTYPE.unit_roundoff() * (k + 4) as f64;
        for (a_matrix, b_matrix) in [
            (Matrix::new(&a, m, k), Matrix::new(&b, k, n)),
            (Matrix::new(&at, k, m).t(), Matrix::new(&b, k, n)),
            (Matrix::new(&a, m, k), Matrix::new(&bt, n, k).t()),
        ] {
            for beta in [T::zero(), beta] {
                let mut out = if beta == T::zero() {
                    vec![T::nan(); m * n]
                } else {
                    c.clone()
                };
                gemm(alpha, a_matrix, b_matrix, beta, &mut out);
                for (i, found) in out.iter().enumerate() {
                    let products = (0..k)
                        .map(|l| alpha.f64() * a[i / n * k + l].f64() * b[l * n + i % n].f64());
                    let start = beta.f64() * c[i].f64();
                    let (exact, magnitude) =
                        products.fold((start, start.abs()), |(s, m), p| (s + p, m + p.abs()));
                    let error = (found.f64() - exact).abs();
                    assert!(
                        error <= 2.0 * u * magnitude,
                        "{m} {k} {n}, element {i}: {error:e}"
                    );
                }
            }
        }
    }

    #[test]
    fn products_agree_with_the_definition() {
        for (m, k, n) in [
            (1, 1, 1),
            (3, 5, 7),
            (64, 33, 40),
            (17, 200, 1),
            (1, 64, 130),
        ] {
            check::<f32>(m, k, n);
            check::<f64>(m, k, n);
        }
    }

    #[test]
    fn products_do_not_depend_on_the_number_of_threads() {
        let (m, k, n) = (64, 700, 520);
        let (a, b): (Vec<f32>, Vec<f32>) = (values(0, m * k), values(1, k * n));
        let run = |threads: usize| {
            let mut out = vec![0.0; m * n];
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| {
                gemm(
                    1.0,
                    Matrix::new(&a, m, k),
                    Matrix::new(&b, k, n),
                    0.0,
                    &mut out,
                );
            });
            out.into_iter().map(f32::to_bits).collect::<Vec<_>>()
        };
        let expected = run(1);
        assert!([2, 3, 8].iter().all(|&threads| run(threads) == expected));
    }
}
