// Convolution, forward: the product of conv2d.cu whose rows are output pixels.
//
// Mathematics. With stride σ, padding π, dilation δ,
//   y[n, p, q, k] = f(scale[k] · (Σ x[n, p·σ - π + r·δ, q·σ - π + s·δ, c] · w[k, r, s, c] + bias[k])
//                     + shift[k] + residual[n, p, q, k])
// over all r, s, c; f is the identity or ReLU, and all that is added or multiplied may be left out
// (include/epilogue.cuh).
//
// Shapes. x: [N, H, W, C], w: [K, R, S, C], scale, shift, bias: [K], y and residual: [N, P, Q, K].
//
// Method. D[(n, p, q), k], depth (r, s, c): both operands lie along the depth, since channels are what is
// contiguous in maps and filters. For batch normalisation each block also leaves mean and Σ (y - mean)² of
// its pixels, channel by channel, in `statistics` [row tiles, K, 2]; `conv2d_statistics` joins them. The
// values are those that are stored, so the statistics are of what the normalisation will read.
//
// Launch. grid (row tiles × column tiles, parts of the depth), columns fastest, so that neighbours share rows
// of x in L2. Tiles, threads and shared memory: conv2d.cu. Statistics take two threads for each column and
// a kilobyte of shared memory.
//
// Cost. 2·N·P·Q·K·R·S·C FLOPs; x is read once for each column tile and tap, of which all but the first come
// from L2; filters once for each row tile, from L2; y written once. Depth in parts: 4 bytes of scratch
// written and read for each element of y and part.

#include "include/conv_tiles.cuh"
#include "include/params/conv2d.h"

namespace {

template <class Multiply, bool vectors, class T>
__device__ __forceinline__ void fprop(const Conv2dParams& p, const T* x, const T* w, Epilogue<T> epilogue,
                                      float* statistics) {
    using A = typename Multiply::A;
    using B = typename Multiply::B;
    const unsigned row = blockIdx.x / p.column_tiles * A::extent;
    const unsigned column = blockIdx.x % p.column_tiles * B::extent;
    const unsigned depth = p.taps[0] * p.taps[1] * p.channels;
    const SlabRange slabs = SlabRange::of(depth, A::depth);

    WindowRows<A, Multiply::threads, vectors> a(x, Window::forward(p), row, slabs.first);
    MatrixRows<B, Multiply::threads, vectors> b(w, p.filters, depth, column, slabs.first);
    auto tile = staged_product<Multiply>(a, b, slabs.count);

    if (epilogue.parts) epilogue.parts += size_t(blockIdx.y) * p.elements;  // of this part
    const unsigned filters = p.filters, rows = p.batch * p.output[0] * p.output[1];
    write_tile<Multiply::threads>(tile, epilogue, row, rows, column,
                                  [=](unsigned pixel) { return size_t(pixel) * filters; });
    if (statistics) {
        float* out = statistics + 2 * (size_t(row / A::extent) * filters + column);
        column_statistics<Multiply::threads, T>(tile, min(rows - row, A::extent), filters - column,
                                                epilogue.bias ? epilogue.bias + column : nullptr, out);
    }
}

using Tiles = ConvTiles<true, true>;

}  // namespace

#define FPROP(suffix, T, vectors, blocks, Multiply)                                                     \
    extern "C" __global__ void __launch_bounds__(Multiply::threads, blocks) conv2d_fprop_##suffix(      \
        Conv2dParams p, const T* __restrict__ x, const T* __restrict__ w, const float* __restrict__ scale,\
        const float* __restrict__ shift, const T* __restrict__ bias, const T* __restrict__ residual,    \
        T* __restrict__ y, float* __restrict__ parts, float* __restrict__ statistics) {                 \
        fprop<Multiply, vectors, T>(                                                                    \
            p, x, w, {y, parts, scale, shift, bias, residual, p.relu != 0, p.wide != 0, p.filters}, statistics);\
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_fprop_##suffix)

CONV_TILES(FPROP);
