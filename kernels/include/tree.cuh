// Sums over the threads of a block in a fixed order.
#pragma once

#include "cuda.cuh"

// A block of `threads` threads (a power of two) is `columns` wide (another one): thread t belongs to
// column t % columns. `merge(own, other)` adds what another thread found to what this one found.
// Afterwards thread t < columns holds what its column found; what the others hold is of no use.
//
// The upper half of the threads hands its values to the lower half, again and again: a balanced tree of
// log2(threads / columns) levels with one barrier each. Every thread of the block must come here. Two
// uses of one `partial` (shared memory, [size][threads]) need a barrier between them.
template <class T, int size, class Merge>
__device__ __forceinline__ void tree_merge_in(T* partial, unsigned threads, T (&values)[size], unsigned columns,
                                              Merge merge) {
    const unsigned thread = threadIdx.x;
    for (unsigned step = threads / 2; step >= columns; step /= 2) {
        if (thread >= step && thread < 2 * step) {
#pragma unroll
            for (int j = 0; j < size; ++j) partial[j * threads + thread] = values[j];
        }
        __syncthreads();
        // The next level writes below `step`, so nobody waits for these reads.
        if (thread < step) {
            T other[size];
#pragma unroll
            for (int j = 0; j < size; ++j) other[j] = partial[j * threads + thread + step];
            merge(values, other);
        }
    }
}

// The same with shared memory of its own.
template <int threads, class T, int size, class Merge>
__device__ __forceinline__ void tree_merge(T (&values)[size], unsigned columns, Merge merge) {
    SHARED(T, partial, [size * threads]);
    tree_merge_in(partial, threads, values, columns, merge);
}

template <class T, int size> __device__ __forceinline__ void add_values(T (&own)[size], const T (&other)[size]) {
#pragma unroll
    for (int j = 0; j < size; ++j) own[j] += other[j];
}

// The same with sums.
template <int threads, class T, int size>
__device__ __forceinline__ void tree_sum(T (&sums)[size], unsigned columns) {
    tree_merge<threads>(sums, columns, add_values<T, size>);
}

template <class T, int size>
__device__ __forceinline__ void tree_sum_in(T* partial, unsigned threads, T (&sums)[size], unsigned columns) {
    tree_merge_in(partial, threads, sums, columns, add_values<T, size>);
}
