// Walks over a [rows, channels] matrix, channels innermost: NHWC maps, and the features of a head.
//
// A thread keeps `width` neighbouring channels, whose coefficients or sums stay in its registers, and
// goes down the rows. `vectors` such packs lie side by side in a block (a power of two up to 32, so that
// a warp reads up to 512 contiguous bytes of a row), the other threads take other rows.
//
// grid (columns of vectors · width channels, slabs of `slab_rows` rows), block 256. The slabs follow
// from the shape alone, so that sums over them are the same on every device.
#pragma once

#include "numbers.cuh"

constexpr int COLUMN_THREADS = 256;

template <int n> struct Steps { static constexpr int value = n; };

template <int width> struct Walk {
    unsigned channel, channels, first, last, stride;

    // `rows` below 2^31, so that sums of a few of these numbers stay below 2^32.
    __device__ __forceinline__ Walk(unsigned rows, unsigned channels, unsigned vectors, unsigned slab_rows)
        : channel((blockIdx.x * vectors + threadIdx.x % vectors) * width),
          channels(channels),
          first(blockIdx.y * slab_rows + threadIdx.x / vectors),
          last(channel < channels ? min(rows, (blockIdx.y + 1) * slab_rows) : 0),
          stride(COLUMN_THREADS / vectors) {}

    // Whether this thread holds the result for its channels after a tree over the block.
    __device__ __forceinline__ bool concludes(unsigned vectors) const {
        return threadIdx.x < vectors && channel < channels;
    }

    // Element `step` rows of this thread below `row`.
    __device__ __forceinline__ size_t at(unsigned row, int step) const {
        return size_t(row + step * stride) * channels + channel;
    }

    // `body(Steps<n>, row)` for n rows at a time, a stride apart from `row` on: `steps`, and 1 at the end.
    template <int steps, class Body> __device__ __forceinline__ void down(Body body) const {
        unsigned row = first;
#pragma unroll 1
        for (; row + (steps - 1) * stride < last; row += steps * stride) body(Steps<steps>(), row);
#pragma unroll 1
        for (; row < last; row += stride) body(Steps<1>(), row);
    }

    // The numbers of this thread's channels: no more than one row of f32, read once.
    __device__ __forceinline__ void load(const float* vector, float (&values)[width]) const {
#pragma unroll
        for (int c = 0; c < width; ++c) values[c] = channel < channels ? vector[channel + c] : 0.0f;
    }
};
