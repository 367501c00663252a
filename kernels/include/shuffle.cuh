// Gathering columns of a map by a permutation of each channel: what `spatial_shuffle` and
// `batch_norm_shuffle` share. The method: spatial_shuffle.cu.
#pragma once

#include "copy.cuh"
#include "numbers.cuh"
#include "params/spatial_shuffle.h"

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
template <int bytes> struct Words;

template <> struct Words<4> {
    __device__ static void load_positions(const uint16_t* table, unsigned (&words)[4]) {
        uint2 raw = *reinterpret_cast<const uint2*>(table);
        words[0] = raw.x & 0xFFFF, words[1] = raw.x >> 16;
        words[2] = raw.y & 0xFFFF, words[3] = raw.y >> 16;
    }
    // Word `word` of the output: `column` is x at position 0, rows are `row` elements apart.
    __device__ static unsigned gather(const void* column, size_t row, unsigned positions, unsigned word) {
        return static_cast<const uint32_t*>(column)[positions * row + word];
    }
};

template <> struct Words<2> {
    __device__ static void load_positions(const uint16_t* table, unsigned (&words)[4]) {
        uint4 raw = *reinterpret_cast<const uint4*>(table);
        words[0] = raw.x, words[1] = raw.y, words[2] = raw.z, words[3] = raw.w;
    }
    __device__ static unsigned gather(const void* column, size_t row, unsigned positions, unsigned word) {
        const uint16_t* elements = static_cast<const uint16_t*>(column);
        unsigned low = elements[(positions & 0xFFFF) * row + 2 * word];
        unsigned high = elements[(positions >> 16) * row + 2 * word + 1];
        return low | high << 16;
    }
};

// One output vector: gathers its words in the order `turn`, turn + 1, ...
template <class T>
__device__ __forceinline__ Pack<T, Vector<T>::size> assemble(const T* column, size_t row, const uint16_t* table,
                                                             unsigned turn) {
    unsigned positions[4];
    Words<sizeof(T)>::load_positions(table, positions);
    rotate(positions, turn);
    Pack<T, Vector<T>::size> vector;
#pragma unroll
    for (unsigned j = 0; j < 4; ++j)
        vector.word[j] = Words<sizeof(T)>::gather(column, row, positions[j], (j + turn) % 4);
    rotate(vector.word, 4 - turn);
    return vector;
}

// A thread's share of a block's column of a map: one pack of `width` channels of image blockIdx.y, at
// positions first, first + stride, ...
template <class T, int width> struct Column {
    unsigned part, channel, first, stride, turn;
    bool mine;  // the last column may be narrower
    size_t image;
    const T* source;
    size_t row;
    const uint16_t* table;

    __device__ __forceinline__ Column(const SpatialShuffleParams& p, const T* x, const uint16_t* tables)
        : part(threadIdx.x % p.vectors),
          channel((blockIdx.x * p.vectors + part) * width),
          first(threadIdx.x / p.vectors),
          stride(blockDim.x / p.vectors),
          turn(0),
          mine(channel < p.channels),
          image(size_t(blockIdx.y) * p.positions * p.channels),
          source(x + image + channel),
          row(p.channels),
          table(tables + size_t(blockIdx.y) * p.table_stride + channel) {}

    // Copies the block's column to shared memory, to be gathered from there. All threads come here.
    __device__ __forceinline__ void stage(const SpatialShuffleParams& p) {
        static_assert(width > 1, "single elements are not staged");
        T* tile = dynamic_shared<T>() + part * width;
        const size_t staged_row = p.vectors * width;
        if (mine)
            for (unsigned i = first; i < p.positions; i += stride)
                copy_async_16(&tile[i * staged_row], &source[i * row]);
        copy_async_commit();
        copy_async_wait<0>();
        __syncthreads();
        source = tile, row = staged_row, turn = first % 4;
    }

    // What the permutation brings to position i.
    __device__ __forceinline__ Pack<T, width> gather(const SpatialShuffleParams& p, unsigned i) const {
        const uint16_t* here = table + size_t(i) * p.channels;
        if constexpr (width > 1) {
            return assemble(source, row, here, turn);
        } else {
            return {source[*here * row]};
        }
    }

    // Element of the map where this pack is at position i.
    __device__ __forceinline__ size_t at(const SpatialShuffleParams& p, unsigned i) const {
        return image + size_t(i) * p.channels + channel;
    }
};
