// Batch normalisation, rectifier and spatial shuffle in one pass, and its vjp.
//
// Mathematics. With scale and shift of the channels from `batch_norm`,
//     y[n, i, c] = max(x[n, π_c(i), c] · scale_c + shift_c, 0).
// Backward, the gradient before the rectifier and the sums that dγ, dβ and dx need:
//     g[n, j, c] = dy[n, π_c⁻¹(j), c] where x[n, j, c] · scale_c + shift_c > 0, else 0,
//     Σ g and Σ g·(x − μ) over n and j.
// `batch_norm_backward_finish` and `batch_norm_backward` go on from there, with g for dy and no rectifier.
//
// Shapes. x, y, dy, g: [batch, positions, channels] of f32, f16 or bf16; scale, shift, μ: [channels] of
// f32; tables as for `spatial_shuffle`, the inverse one backward; partials: [batch, 2, channels].
//
// Method. The gather of `spatial_shuffle` (shuffle.cuh): a block takes one image and some vectors of
// channels. A thread keeps its channels, whose coefficients and sums stay in its registers.
//   staged   from shared memory, where the column fits.
//   direct   from global memory, that is L2, where it does not.
//   scalar   a channel a thread, where channels do not divide into 16-byte vectors.
// Backward each image is a slab: its sums are joined over the block by a tree in shared memory, which
// the staged column no longer needs, and over images by the finishing kernel, always in the same order.
//
// Geometry. grid (columns, batch), block a power of two from 128 to 512. Shared memory: the staged
// column, positions · vectors · 16 bytes; backward at least 2 · width · threads · 4 bytes for the tree.
//
// Cost. Forward 2, backward about 6 FLOPs an element. Bytes: forward one read and one write, backward
// two reads and one write of the maps, and 2 bytes of table an element, from L2. Apart,
// normalisation and shuffle would each read and write the maps forward.

#include "include/shuffle.cuh"
#include "include/tree.cuh"
#include "include/params/spatial_shuffle.h"

namespace {

constexpr int MOST_THREADS = 512;

template <class T, int width>
__device__ __forceinline__ void load_vector(const Column<T, width>& column, const float* vector, float (&values)[width]) {
#pragma unroll
    for (int c = 0; c < width; ++c) values[c] = column.mine ? vector[column.channel + c] : 0.0f;
}

template <class T, int width, bool staged>
__device__ void forward(const SpatialShuffleParams& p, const T* __restrict__ x, const uint16_t* __restrict__ table,
                        const float* __restrict__ scales, const float* __restrict__ shifts, T* __restrict__ y) {
    Column<T, width> column(p, x, table);
    if constexpr (staged) column.stage(p);
    if (!column.mine) return;
    float scale[width], shift[width];
    load_vector(column, scales, scale), load_vector(column, shifts, shift);
    for (unsigned i = column.first; i < p.positions; i += column.stride) {
        Pack<T, width> pack = column.gather(p, i);
        float values[width];
        pack.unpack(values);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            float v = values[c] * scale[c] + shift[c];
            values[c] = v < 0.0f ? 0.0f : v;
        }
        pack.pack(values);
        pack.store(&y[column.at(p, i)]);
    }
}

template <class T, int width, bool staged>
__device__ void backward(const SpatialShuffleParams& p, const T* __restrict__ x, const T* __restrict__ dy,
                         const uint16_t* __restrict__ inverse, const float* __restrict__ means,
                         const float* __restrict__ scales, const float* __restrict__ shifts, T* __restrict__ g,
                         float* __restrict__ partials) {
    Column<T, width> column(p, dy, inverse);
    if constexpr (staged) column.stage(p);
    float mean[width], scale[width], shift[width], sums[2 * width] = {};
    load_vector(column, means, mean), load_vector(column, scales, scale), load_vector(column, shifts, shift);
    const unsigned end = column.mine ? p.positions : 0;
    for (unsigned i = column.first; i < end; i += column.stride) {
        Pack<T, width> input, pack = column.gather(p, i);
        input.load(&x[column.at(p, i)]);
        float xs[width], gradients[width];
        input.unpack(xs), pack.unpack(gradients);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            if (xs[c] * scale[c] + shift[c] <= 0.0f) gradients[c] = 0.0f;
            sums[c] += gradients[c];
            sums[width + c] = fmaf(gradients[c], xs[c] - mean[c], sums[width + c]);
        }
        pack.pack(gradients);
        pack.store(&g[column.at(p, i)]);
    }
    // The tree lies where the column was.
    __syncthreads();
    tree_sum_in(dynamic_shared<float>(), blockDim.x, sums, p.vectors);
    if (threadIdx.x >= p.vectors || !column.mine) return;
    float* out = partials + size_t(blockIdx.y) * 2 * p.channels + column.channel;
#pragma unroll
    for (int c = 0; c < width; ++c) out[c] = sums[c], out[p.channels + c] = sums[width + c];
}

}  // namespace

#define BATCH_NORM_SHUFFLE(suffix, T, width, staged)                                                      \
    extern "C" __global__ void __launch_bounds__(MOST_THREADS)                                            \
    batch_norm_shuffle_##suffix(SpatialShuffleParams p, const T* __restrict__ x,                          \
                                const uint16_t* __restrict__ table, const float* __restrict__ scale,      \
                                const float* __restrict__ shift, T* __restrict__ y) {                     \
        forward<T, width, staged>(p, x, table, scale, shift, y);                                          \
    }                                                                                                     \
    EXPORT_KERNEL(batch_norm_shuffle_##suffix);                                                           \
    extern "C" __global__ void __launch_bounds__(MOST_THREADS)                                            \
    batch_norm_shuffle_backward_##suffix(SpatialShuffleParams p, const T* __restrict__ x,                 \
                                         const T* __restrict__ dy, const uint16_t* __restrict__ inverse,  \
                                         const float* __restrict__ mean, const float* __restrict__ scale, \
                                         const float* __restrict__ shift, T* __restrict__ g,              \
                                         float* __restrict__ partials) {                                  \
        backward<T, width, staged>(p, x, dy, inverse, mean, scale, shift, g, partials);                   \
    }                                                                                                     \
    EXPORT_KERNEL(batch_norm_shuffle_backward_##suffix)

BATCH_NORM_SHUFFLE(staged_f32, float, 4, true);
BATCH_NORM_SHUFFLE(staged_f16, __half, 8, true);
BATCH_NORM_SHUFFLE(staged_bf16, __nv_bfloat16, 8, true);
BATCH_NORM_SHUFFLE(direct_f32, float, 4, false);
BATCH_NORM_SHUFFLE(direct_f16, __half, 8, false);
BATCH_NORM_SHUFFLE(direct_bf16, __nv_bfloat16, 8, false);
BATCH_NORM_SHUFFLE(scalar_f32, float, 1, false);
BATCH_NORM_SHUFFLE(scalar_f16, __half, 1, false);
BATCH_NORM_SHUFFLE(scalar_bf16, __nv_bfloat16, 1, false);
