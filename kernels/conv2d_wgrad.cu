// Convolution, gradient with respect to the filters: the product of conv2d.cu whose depth is the pixels.
//
// Mathematics. With stride σ, padding π, dilation δ,
//   dw[k, r, s, c] = Σ dy[n, p, q, k] · x[n, p·σ - π + r·δ, q·σ - π + s·δ, c]   over all n, p, q.
//
// Shapes. x: [N, H, W, C], dy: [N, P, Q, K], dw: [K, R, S, C].
//
// Method. D[k, (r, s, c)], depth (n, p, q). Both operands lie across the depth: filters of dy and channels
// of x are what is contiguous. The result is small and the depth long, so the depth is cut into parts, as
// many as it takes to fill the GPU: each part's sums go to scratch as f32, and `conv2d_finish` adds them in
// their order. Which part a pixel falls into depends on the shape and the number of parts alone, so two
// runs agree bit for bit.
//
// Launch. grid (row tiles × column tiles, parts). Tiles, threads and shared memory: conv2d.cu.
//
// Cost. 2·N·P·Q·K·R·S·C FLOPs; dy is read once for each column tile, x once for each row tile and tap, all
// but the first time from L2; 4·K·R·S·C bytes of scratch written and read for each part.

#include "include/conv_tiles.cuh"
#include "include/params/conv2d.h"

namespace {

template <class Multiply, bool vectors, class T>
__device__ __forceinline__ void wgrad(const Conv2dParams& p, const T* x, const T* dy, T* dw, float* parts) {
    using A = typename Multiply::A;
    using B = typename Multiply::B;
    const unsigned row = blockIdx.x / p.column_tiles * A::extent;
    const unsigned column = blockIdx.x % p.column_tiles * B::extent;
    const unsigned pixels = p.batch * p.output[0] * p.output[1];
    const unsigned columns = p.taps[0] * p.taps[1] * p.channels;
    const SlabRange slabs = SlabRange::of(pixels, A::depth);

    MatrixColumns<A, Multiply::threads, vectors> a(dy, pixels, p.filters, row, slabs.first);
    WindowColumns<B, Multiply::threads, vectors> b(x, Window::forward(p), column, slabs.first);
    auto tile = staged_product<Multiply>(a, b, slabs.count);

    float* part = parts ? parts + size_t(blockIdx.y) * p.elements : nullptr;
    const auto epilogue = Epilogue<T>::plain(dw, part, p.wide != 0, columns);
    write_tile<Multiply::threads>(tile, epilogue, row, p.filters, column,
                                  [=](unsigned filter) { return size_t(filter) * columns; });
}

using Tiles = ConvTiles<false, false>;

}  // namespace

#define WGRAD(suffix, T, vectors, blocks, Multiply)                                                     \
    extern "C" __global__ void __launch_bounds__(Multiply::threads, blocks) conv2d_wgrad_##suffix(      \
        Conv2dParams p, const T* __restrict__ x, const T* __restrict__ dy, T* __restrict__ dw,          \
        float* __restrict__ parts) {                                                                    \
        wgrad<Multiply, vectors>(p, x, dy, dw, parts);                                                  \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_wgrad_##suffix)

CONV_TILES(WGRAD);
