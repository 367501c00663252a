// Separable resampling of NHWC maps: avg_pool2d, adaptive_avg_pool2d, bilinear_resize and pad2d.
//
// Mathematics. y[n, p, q, c] = Σ_h Σ_w R[p, h] · C[q, w] · x[n, h, w, c] with two small sparse matrices,
// the only thing in which those operations differ. The vjp is the same sum with both transposed, so it
// is this kernel too: a gather, no atomics.
//
// Shapes. x: [batch, H, W, channels]; y: [batch, P, Q, channels]. The matrices come as one table of 32-bit
// words: for the rows of R and then of C where their taps start (P + 1 and Q + 1 numbers); then the
// cells (h, w) and the weights (bits of f32) of the taps of R, then those of C.
//
// Method. An item is one 16-byte vector of channels of one output pixel (one element in the `scalar`
// kernels). A block of 256 threads is `columns` items wide and 256/columns slices high; slice s takes
// the taps s, s + slices, ... of the item's row of R and all of its row of C. The slices' sums are then
// added by a balanced tree. There is one slice, and no barrier, unless an output pixel reads many input
// pixels: pyramid pooling's bins read whole maps. The order of a sum depends on the matrices alone.
//   Each x is read from DRAM once, as neighbours share their taps through L1 and L2; taps and weights
// are read by all threads of a pixel together.
//
// Launch. grid (⌈items / columns⌉, batch), block 256; static shared memory 256 · 16 bytes (f32) or
// 256 · 32 (f16, bf16).
//
// Cost. 2 · batch · channels · (taps of R) · (taps of C) FLOPs: 8 for an output element of bilinear
// resizing. Bytes: x and y once. Sums are in f32; a result is rounded once.

#include "include/numbers.cuh"
#include "include/pixels.cuh"
#include "include/tree.cuh"
#include "include/params/resample.h"

namespace {

constexpr unsigned threads = 256;

// One sparse matrix.
struct Taps {
    const unsigned *starts, *cells, *weights;

    __device__ float weight(unsigned tap) const { return __uint_as_float(weights[tap]); }
};

template <class T, int size>
__device__ void resample(const ResampleParams& p, const unsigned* __restrict__ table, const T* __restrict__ x,
                         T* __restrict__ y) {
    const unsigned *taps = table + p.output[0] + p.output[1] + 2, *column_taps = taps + 2 * p.taps[0];
    const Taps rows = {table, taps, taps + p.taps[0]};
    const Taps columns = {table + p.output[0] + 1, column_taps, column_taps + p.taps[1]};

    const unsigned slices = threads / p.columns, slice = threadIdx.x / p.columns;
    const unsigned item = blockIdx.x * p.columns + threadIdx.x % p.columns;
    const Pixel at = pixel_of<size>(item, p.output, p.channels);
    float sums[size] = {};
    if (at.inside) {
        const T* image = x + image_offset(blockIdx.y, p.input, p.channels, at.channel);
        const unsigned end = rows.starts[at.row + 1];
        const unsigned first_column = columns.starts[at.column], end_column = columns.starts[at.column + 1];
        for (unsigned r = rows.starts[at.row] + slice; r < end; r += slices) {
            const float in_row = rows.weight(r);
            const T* row = image + rows.cells[r] * p.input[1] * p.channels;
#pragma unroll 2
            for (unsigned c = first_column; c < end_column; ++c) {
                const float weight = in_row * columns.weight(c);
                float values[size];
                load_vector(row + columns.cells[c] * p.channels, values);
#pragma unroll
                for (int j = 0; j < size; ++j) sums[j] = fmaf(weight, values[j], sums[j]);
            }
        }
    }
    tree_sum<threads>(sums, p.columns);
    if (slice == 0 && at.inside)
        store_vector(y + image_offset(blockIdx.y, p.output, p.channels, at.channel) +
                         (at.row * p.output[1] + at.column) * p.channels,
                     sums);
}

}  // namespace

#define RESAMPLE(name, T, size)                                                              \
    extern "C" __global__ void __launch_bounds__(threads)                                    \
    resample_##name(ResampleParams p, const unsigned* __restrict__ table, const T* __restrict__ x, \
                    T* __restrict__ y) {                                                     \
        resample<T, size>(p, table, x, y);                                                   \
    }                                                                                        \
    EXPORT_KERNEL(resample_##name)

#define FOR_TYPE(suffix, T)                        \
    RESAMPLE(vector_##suffix, T, Vector<T>::size); \
    RESAMPLE(scalar_##suffix, T, 1)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
