// 2-d convolution: what its three products have in common, and the sums around them.
//
// Mathematics. With stride σ, padding π and dilation δ (each a pair), and x zero outside its map,
//   y[n, p, q, k] = Σ x[n, p·σ - π + r·δ, q·σ - π + s·δ, c] · w[k, r, s, c]   over r, s, c.
// This and its two gradients are matrix products D[m, n] = Σ_d A[m, d] · B[n, d]:
//
//            m              n            d             operands
//   fprop    (n, p, q)      k            (r, s, c)     x gathered, w          conv2d_fprop.cu
//   dgrad    (n, h, w)      c            (r, s, k)     dy gathered, w         conv2d_dgrad.cu
//   wgrad    k              (r, s, c)    (n, p, q)     dy, x gathered         conv2d_wgrad.cu
//
// On sm_90a conv2d_hopper.cu makes the same products another way; docs/kernels.md says when it is taken. What
// comes after the products is here for both.
//
// A linear layer is the same with one-pixel maps and one tap; so is a 1x1 convolution of stride 1, which
// is planned as N·H·W such maps.
//
// Shapes. x: [N, H, W, C], w: [K, R, S, C], y: [N, P, Q, K]; a matrix has fewer than 2^31 elements.
//
// Method. Implicit GEMM: the gathered matrix is never written, its elements are found while tiles are
// copied to shared memory (include/implicit_gemm.cuh: the pipeline; conv_operands.cuh: the gathers;
// ffma.cuh: the multiplication). The result of a tile is staged in shared memory, finished there
// (epilogue.cuh: scale, bias, residual, ReLU, batch statistics) and written in 16-byte vectors.
//
// Kernels `conv2d_DIRECTION_TILE_MATH`:
//   128     tiles of 128 x 128, 256 threads, 64 KiB of shared memory (4 stages of 16 KiB), at most 128
//           registers: two blocks share a multiprocessor.
//   64      tiles of 64 x 64, 128 threads, 32 KiB, at most 128 registers: four blocks share one. For
//           results too small for the others to fill the GPU, and for few channels.
//   scalar  the same element by element, for channels that do not divide into 16-byte vectors: the
//           3-channel stem. At most 168 registers: three blocks share one.
//   f32     FFMA: 8 x 8 results a thread (8 x 4 in the small tile), each one chain of fused products.
//   tf32    f32 in memory; operands are rounded to tf32 (to nearest) after they are read from shared memory,
//           then mma.m16n8k8. A warp makes 64 x 32 results (32 x 32 in the small tile).
//   f16, bf16   mma.m16n8k16, the same warps. All sums are f32; hardware adds the products of one
//           instruction in an order of its own.
// grid (row tiles × column tiles, parts of the depth, residue classes (dgrad)).
//
// Cost. 2·M·N·D FLOPs. A slab of 64 bytes of depth costs a block of side t 2·64·t bytes of L2 for 2·16·t² FLOPs
// in f32 and tf32, twice that in 16 bits: t / 4 and t / 2 FLOPs a byte. Shared memory: an f32 thread of m × n
// results reads 16·(m + n) bytes for 8·m·n FLOPs; a warp of tensor-core products of m × n results 64·(m + n)
// bytes a slab for 32·m·n FLOPs (f32) or 64·m·n (16 bits).
//
// Around the products:
//   conv2d_finish_*         the sum of the parts of a split depth, in their order, then the epilogue. One
//                           thread for 4 elements. Bytes: 4·parts·elements read.
//   conv2d_bias_gradient_*  Σ over the rows of dy [rows, K], in parts that conv2d_finish_* adds. `lanes`
//                           threads side by side take 16-byte vectors of a row, 256 / lanes rows at a time, and
//                           their sums are added in a tree over shared memory. grid (columns, parts). Bytes: dy
//                           once.
//   conv2d_statistics       mean and variance of each channel from those of the tiles that fprop left:
//                           [tiles, K, 2], mean and Σ (y - mean)². A warp takes a channel: each lane joins every
//                           32nd tile, then lanes join in pairs.

#include "include/numbers.cuh"
#include "include/implicit_gemm.cuh"
#include "include/params/conv2d.h"

namespace {

constexpr unsigned THREADS = 256;

template <unsigned width, class T>
__device__ __forceinline__ void finish_at(const Conv2dSumParams& p, const float* parts,
                                          const Epilogue<T>& epilogue, size_t at) {
    float sums[width] = {};
    for (unsigned part = 0; part < p.part; ++part, parts += p.elements) {
        Pack<float, width> pack;
        float values[width];
        pack.load(parts + at);
        pack.unpack(values);
#pragma unroll
        for (unsigned e = 0; e < width; ++e) sums[e] += values[e];
    }
    epilogue.template finish<width>(sums, at, unsigned(at % p.columns));
}

template <class T>
__device__ __forceinline__ void finish(const Conv2dSumParams& p, const float* parts,
                                       const Epilogue<T>& epilogue) {
    const size_t at = (size_t(blockIdx.x) * THREADS + threadIdx.x) * 4;
    if (p.wide) {
        if (at < p.elements) finish_at<4>(p, parts, epilogue, at);
    } else {
        for (size_t i = at; i < min(at + 4, size_t(p.elements)); ++i) finish_at<1>(p, parts, epilogue, i);
    }
}

template <unsigned width, class T>
__device__ __forceinline__ void bias_gradient(const Conv2dSumParams& p, const T* dy, float* parts) {
    SHARED(float, shared, [THREADS][width]);
    const unsigned lane = threadIdx.x % p.lanes, down = threadIdx.x / p.lanes, rows = THREADS / p.lanes;
    const unsigned column = (blockIdx.x * p.lanes + lane) * width;
    const unsigned first = blockIdx.y * p.part, last = min(p.rows, first + p.part);
    float sums[width] = {};
    if (column < p.columns)
        for (unsigned row = first + down; row < last; row += rows) {
            Pack<T, width> pack;
            float values[width];
            pack.load(dy + size_t(row) * p.columns + column);
            pack.unpack(values);
#pragma unroll
            for (unsigned e = 0; e < width; ++e) sums[e] += values[e];
        }
#pragma unroll
    for (unsigned e = 0; e < width; ++e) shared[threadIdx.x][e] = sums[e];
    for (unsigned half = THREADS / 2; half >= p.lanes; half /= 2) {
        __syncthreads();
        if (threadIdx.x < half) {
#pragma unroll
            for (unsigned e = 0; e < width; ++e) shared[threadIdx.x][e] += shared[threadIdx.x + half][e];
        }
    }
    // Thread `lane` wrote its own sum last.
    if (down == 0 && column < p.columns) {
#pragma unroll
        for (unsigned e = 0; e < width; ++e)
            parts[size_t(blockIdx.y) * p.columns + column + e] = shared[lane][e];
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(THREADS)
conv2d_statistics(Conv2dSumParams p, const float* __restrict__ tiles, float* __restrict__ mean,
                  float* __restrict__ variance) {
    const unsigned lane = threadIdx.x % 32, channel = blockIdx.x * (THREADS / 32) + threadIdx.x / 32;
    if (channel >= p.columns) return;
    Moments moments{0.0f, 0.0f, 0.0f};
    const unsigned count = (p.rows + p.part - 1) / p.part;
    for (unsigned tile = lane; tile < count; tile += 32) {
        float2 found = reinterpret_cast<const float2*>(tiles)[size_t(tile) * p.columns + channel];
        moments.join({float(min(p.part, p.rows - tile * p.part)), found.x, found.y});
    }
#pragma unroll
    for (unsigned half = 16; half > 0; half /= 2) {
        Moments other;
        other.count = __shfl_down_sync(~0u, moments.count, half);
        other.mean = __shfl_down_sync(~0u, moments.mean, half);
        other.squares = __shfl_down_sync(~0u, moments.squares, half);
        if (lane < half) moments.join(other);
    }
    if (lane == 0) {
        mean[channel] = moments.mean;
        variance[channel] = moments.squares / moments.count;
    }
}
EXPORT_KERNEL(conv2d_statistics);

#define SUMS(suffix, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS, 4) conv2d_finish_##suffix(                     \
        Conv2dSumParams p, const float* __restrict__ parts, const float* __restrict__ scale,             \
        const float* __restrict__ shift, const T* __restrict__ bias, const T* __restrict__ residual,     \
        T* __restrict__ y) {                                                                             \
        finish<T>(p, parts, {y, nullptr, scale, shift, bias, residual, p.relu != 0, p.wide != 0,         \
                             p.columns});                                                                \
    }                                                                                                    \
    EXPORT_KERNEL(conv2d_finish_##suffix);                                                               \
    extern "C" __global__ void __launch_bounds__(THREADS) conv2d_bias_gradient_##suffix(                 \
        Conv2dSumParams p, const T* __restrict__ dy, float* __restrict__ parts) {                        \
        if (p.wide)                                                                                      \
            bias_gradient<16 / sizeof(T)>(p, dy, parts);                                                 \
        else                                                                                             \
            bias_gradient<1>(p, dy, parts);                                                              \
    }                                                                                                    \
    EXPORT_KERNEL(conv2d_bias_gradient_##suffix)

SUMS(f32, float);
SUMS(f16, __half);
SUMS(bf16, __nv_bfloat16);
