// Sums over the threads of a block in a fixed order.
#pragma once

#include "cuda.cuh"

// A block of `threads` is `columns` wide (a power of two): thread t belongs to column t % columns.
// Afterwards thread t < columns holds the sum of its column; what the others hold is of no use.
//
// The upper half of the threads hands its sums to the lower half, again and again: a balanced tree of
// log2(threads / columns) levels with one barrier each. Every thread of the block must come here. Two
// uses in one kernel need a barrier between them.
template <int threads, int size>
__device__ __forceinline__ void tree_sum(float (&sums)[size], unsigned columns) {
    SHARED(float, partial, [size][threads]);
    const unsigned thread = threadIdx.x;
    for (unsigned step = threads / 2; step >= columns; step /= 2) {
        if (thread >= step && thread < 2 * step) {
#pragma unroll
            for (int j = 0; j < size; ++j) partial[j][thread] = sums[j];
        }
        __syncthreads();
        // The next level writes below `step`, so nobody waits for these reads.
        if (thread < step) {
#pragma unroll
            for (int j = 0; j < size; ++j) sums[j] += partial[j][thread + step];
        }
    }
}
