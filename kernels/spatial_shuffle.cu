// Spatial shuffle: every channel of a map is permuted in space by a permutation of its own.
//
// Mathematics. y[n, i, c] = x[n, π_c(i), c]. The vjp is the same gather with the inverse tables,
// dx[n, i, c] = dy[n, π_c⁻¹(i), c], so it is this kernel too: no scatter, no atomics. Elements are
// moved, never computed with: the kernels know their width only (b32: f32; b16: f16 and bf16).
//
// Shapes. x, y: [batch, positions, channels] (NHWC, positions = H·W); table: [positions, channels] of
// 16-bit positions from `permutation`, one for the batch or one for each image (table_stride).
//
// A channel's values lie `channels` elements apart, while the memory moves 32-byte sectors; a naive
// gather would fetch a sector for each element. Three kernels:
//
// staged   A block takes one image and `vectors` 16-byte vectors of channels, and copies this column
//          of the map to shared memory as it is (cp.async, 16 bytes a thread). There the gather is
//          free of sectors. Each thread then assembles 16-byte vectors of the output: for each of its
//          channels it reads π and picks the element. DRAM sees each byte of x and y once.
//          Banks: vectors of one column all start in the same bank group, so lane l takes the four
//          words of its vector in the order l, l+1, l+2, l+3 (mod 4): a warp then spreads over all 32
//          banks. Words are renamed by selects (`rotate`), since registers cannot be indexed.
//          grid (columns, batch), shared memory positions · vectors · 16 bytes: up to 14528
//          positions in the 227 KiB of sm_90, so 112x112 fits and 224x224 does not.
// direct   The same without staging, for larger maps. Blocks walk the map column by column, 32 bytes
//          wide, so that what they gather from (224² · 32 B = 1.6 MB) stays in L2: DRAM still sees
//          each byte about once, while L2 serves a sector per element.
//          grid (chunks of 256 / 2 positions, columns, batch).
// scalar   One element a thread, for channels that do not divide into 16-byte vectors.
//          grid (chunks of 256 elements, 1, batch).
//
// Cost. No FLOPs. Bytes: 2 · batch · positions · channels · width of DRAM, and the table once (read
// again for each image, from L2).

#include "include/shuffle.cuh"
#include "include/params/spatial_shuffle.h"

namespace {

template <class T>
__device__ void shuffle_staged(const SpatialShuffleParams& p, const T* __restrict__ x,
                               const uint16_t* __restrict__ table, T* __restrict__ y) {
    Column<T, Vector<T>::size> column(p, x, table);
    column.stage(p);
    if (!column.mine) return;
    for (unsigned i = column.first; i < p.positions; i += column.stride)
        column.gather(p, i).store(&y[column.at(p, i)]);
}

template <class T>
__device__ void shuffle_direct(const SpatialShuffleParams& p, const T* __restrict__ x,
                               const uint16_t* __restrict__ table, T* __restrict__ y) {
    constexpr unsigned per_vector = Vector<T>::size;
    const unsigned i = (blockIdx.x * blockDim.x + threadIdx.x) / 2;
    const unsigned channel = (blockIdx.y * 2 + threadIdx.x % 2) * per_vector;
    if (i >= p.positions || channel >= p.channels) return;
    const size_t image = size_t(blockIdx.z) * p.positions * p.channels;
    const uint16_t* own_table = table + size_t(blockIdx.z) * p.table_stride;
    const size_t here = size_t(i) * p.channels + channel;
    assemble(x + image + channel, p.channels, own_table + here, 0).store(&y[image + here]);
}

template <class T>
__device__ void shuffle_scalar(const SpatialShuffleParams& p, const T* __restrict__ x,
                               const uint16_t* __restrict__ table, T* __restrict__ y) {
    const unsigned here = blockIdx.x * blockDim.x + threadIdx.x;
    if (here >= p.positions * p.channels) return;
    const size_t image = size_t(blockIdx.z) * p.positions * p.channels;
    const unsigned from = table[size_t(blockIdx.z) * p.table_stride + here];
    y[image + here] = x[image + size_t(from) * p.channels + here % p.channels];
}

}  // namespace

#define SHUFFLE(method, suffix, T, threads)                                            \
    extern "C" __global__ void __launch_bounds__(threads)                              \
    spatial_shuffle_##method##_##suffix(SpatialShuffleParams p, const T* __restrict__ x, \
                                        const uint16_t* __restrict__ table, T* __restrict__ y) { \
        shuffle_##method<T>(p, x, table, y);                                           \
    }                                                                                  \
    EXPORT_KERNEL(spatial_shuffle_##method##_##suffix)

SHUFFLE(staged, b32, uint32_t, 1024);
SHUFFLE(staged, b16, uint16_t, 1024);
SHUFFLE(direct, b32, uint32_t, 256);
SHUFFLE(direct, b16, uint16_t, 256);
SHUFFLE(scalar, b32, uint32_t, 256);
SHUFFLE(scalar, b16, uint16_t, 256);
