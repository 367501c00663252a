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

#include "include/copy.cuh"

namespace {

// words[j] becomes words[(j + by) % 4]; `by` may differ between lanes.
__device__ __forceinline__ void rotate(unsigned (&words)[4], unsigned by) {
#pragma unroll
    for (unsigned step = 1; step <= 2; ++step) {
        bool move = (by & step) != 0;
        unsigned old[4] = {words[0], words[1], words[2], words[3]};
#pragma unroll
        for (int j = 0; j < 4; ++j) words[j] = move ? old[(j + step) % 4] : old[j];
    }
}

// How elements sit in the four 32-bit words of a vector, and their positions in four words of table.
template <class T> struct Words;

template <> struct Words<uint32_t> {
    __device__ static void load_positions(const uint16_t* table, unsigned (&words)[4]) {
        uint2 raw = *reinterpret_cast<const uint2*>(table);
        words[0] = raw.x & 0xFFFF, words[1] = raw.x >> 16;
        words[2] = raw.y & 0xFFFF, words[3] = raw.y >> 16;
    }
    // Word `word` of the output: `column` is x at position 0, rows are `row` elements apart.
    __device__ static unsigned gather(const uint32_t* column, size_t row, unsigned positions, unsigned word) {
        return column[positions * row + word];
    }
};

template <> struct Words<uint16_t> {
    __device__ static void load_positions(const uint16_t* table, unsigned (&words)[4]) {
        uint4 raw = *reinterpret_cast<const uint4*>(table);
        words[0] = raw.x, words[1] = raw.y, words[2] = raw.z, words[3] = raw.w;
    }
    __device__ static unsigned gather(const uint16_t* column, size_t row, unsigned positions, unsigned word) {
        unsigned low = column[(positions & 0xFFFF) * row + 2 * word];
        unsigned high = column[(positions >> 16) * row + 2 * word + 1];
        return low | high << 16;
    }
};

// One output vector: gathers its words in the order `turn`, turn + 1, ...
template <class T>
__device__ __forceinline__ uint4 assemble(const T* column, size_t row, const uint16_t* table, unsigned turn) {
    unsigned positions[4], words[4];
    Words<T>::load_positions(table, positions);
    rotate(positions, turn);
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
        words[j] = Words<T>::gather(column, row, positions[j], (j + turn) % 4);
    rotate(words, 4 - turn);
    return make_uint4(words[0], words[1], words[2], words[3]);
}

template <class T>
__device__ void shuffle_staged(const SpatialShuffleParams& p, const T* __restrict__ x,
                               const uint16_t* __restrict__ table, T* __restrict__ y) {
    constexpr unsigned per_vector = Vector<T>::size;
    T* tile = dynamic_shared<T>();
    // A thread keeps its vector of the column and walks over the positions.
    const unsigned part = threadIdx.x % p.vectors, stride = blockDim.x / p.vectors;
    const unsigned row = p.vectors * per_vector;
    const unsigned channel = blockIdx.x * row + part * per_vector;
    const size_t image = size_t(blockIdx.y) * p.positions * p.channels;
    const bool mine = channel < p.channels;  // the last column may be narrower

    if (mine)
        for (unsigned i = threadIdx.x / p.vectors; i < p.positions; i += stride)
            copy_async_16(&tile[i * row + part * per_vector], &x[image + size_t(i) * p.channels + channel]);
    copy_async_commit();
    copy_async_wait<0>();
    __syncthreads();

    if (!mine) return;
    const uint16_t* own_table = table + size_t(blockIdx.y) * p.table_stride + channel;
    const unsigned turn = threadIdx.x / p.vectors % 4;
    for (unsigned i = threadIdx.x / p.vectors; i < p.positions; i += stride) {
        uint4 vector = assemble(tile + part * per_vector, row, own_table + size_t(i) * p.channels, turn);
        *reinterpret_cast<uint4*>(&y[image + size_t(i) * p.channels + channel]) = vector;
    }
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
    uint4 vector = assemble(x + image + channel, p.channels, own_table + here, 0);
    *reinterpret_cast<uint4*>(&y[image + here]) = vector;
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
