// Convolution, gradient with respect to the input: the product of conv2d.cu whose rows are input pixels.
//
// Mathematics. With stride σ, padding π, dilation δ,
//   dx[n, h, w, c] = Σ dy[n, p, q, k] · w[k, r, s, c]   over all r, s, k with p = (h + π - δ·r) / σ and
//   q = (w + π - δ·s) / σ whole and within the output.
//
// Shapes. dy: [N, P, Q, K], filters: [K, R, S, C], dx: [N, H, W, C].
//
// Method. For σ > 1 most taps of an input pixel hit no output pixel. Which ones hit depends only on h mod
// σ and w mod σ, so the pixels of one pair of residues form a product of their own,
//   D[(n, u, v), c] = Σ dy[n, p, q, k] · w[k, r, s, c],   depth (taps that hit, k),
// a stride-1 gather without a single wasted product (`Residues` in include/conv_operands.cuh). Blocks of
// all residues run in one launch; pixels that no tap hits get their zeros there too.
//
// Launch. grid (row tiles of the largest class × column tiles, parts of the depth, min(σ, H) · min(σ, W)
// classes), columns fastest, so that neighbours share rows of dy in L2. A class with fewer rows lets blocks
// return at once. Tiles, threads and shared memory: conv2d.cu.
//
// Cost. 2·N·P·Q·K·R·S·C FLOPs, less what padding saves; dy is read once for each column tile and
// tap, of which all but the first come from L2; filters once for each row tile, from L2; dx written once.

#include "include/conv_tiles.cuh"
#include "include/params/conv2d.h"

namespace {

template <class Multiply, bool vectors, class T>
__device__ __forceinline__ void dgrad(const Conv2dParams& p, const T* dy, const T* w, T* dx, float* parts) {
    using A = typename Multiply::A;
    using B = typename Multiply::B;
    const Residues residues = Residues::of(p, blockIdx.z);
    const Window& window = residues.window;
    const unsigned row = blockIdx.x / p.column_tiles * A::extent;
    const unsigned column = blockIdx.x % p.column_tiles * B::extent;
    const unsigned rows = p.batch * window.targets[0] * window.targets[1];
    if (row >= rows) return;
    const SlabRange slabs = SlabRange::of(window.taps[0] * window.taps[1] * p.filters, A::depth);

    WindowRows<A, Multiply::threads, vectors> a(dy, window, row, slabs.first);
    FilterColumns<B, Multiply::threads, vectors> b(w, p, residues, column, slabs.first);
    auto tile = staged_product<Multiply>(a, b, slabs.count);

    float* part = parts ? parts + size_t(blockIdx.y) * p.elements : nullptr;
    const auto epilogue = Epilogue<T>::plain(dx, part, p.wide != 0, p.channels);
    write_tile<Multiply::threads>(tile, epilogue, row, rows, column, [&](unsigned target) {
        Odometer pixel = Odometer::of(target, window.targets[0], window.targets[1]);
        unsigned y = pixel.mid * p.stride[0] + residues.residue[0];
        unsigned x = pixel.low * p.stride[1] + residues.residue[1];
        return ((size_t(pixel.high) * p.input[0] + y) * p.input[1] + x) * p.channels;
    });
}

using Tiles = ConvTiles<true, false>;

}  // namespace

#define DGRAD(suffix, T, vectors, blocks, Multiply)                                                     \
    extern "C" __global__ void __launch_bounds__(Multiply::threads, blocks) conv2d_dgrad_##suffix(      \
        Conv2dParams p, const T* __restrict__ dy, const T* __restrict__ w, T* __restrict__ dx,          \
        float* __restrict__ parts) {                                                                    \
        dgrad<Multiply, vectors>(p, dy, w, dx, parts);                                                  \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_dgrad_##suffix)

CONV_TILES(DGRAD);
