// Rows of logits: many short rows, one after another.
#pragma once

#include "numbers.cuh"

// The rows of chunk `chunk` of [rows, classes], threads / lanes of them: where they are, or copied to
// dynamic shared memory first. Rows of any length begin at any address, but a chunk begins at a multiple
// of 16 bytes (it has at least 8 rows), so the copy moves 16 bytes a thread. Every thread of the block
// must come here, and wait at a barrier before the next chunk is staged.
template <unsigned threads, class T>
__device__ __forceinline__ const T* rows_of_block(const T* logits, unsigned rows, unsigned classes,
                                                  unsigned lanes, unsigned chunk, bool staged) {
    const unsigned rows_per_chunk = threads / lanes, first = chunk * rows_per_chunk;
    const T* here = logits + size_t(first) * classes;
    if (!staged) return here;
    constexpr unsigned size = Vector<T>::size;
    T* tile = dynamic_shared<T>();
    const unsigned count = min(rows_per_chunk, rows - first) * classes, whole = count - count % size;
    for (unsigned at = threadIdx.x * size; at < whole; at += threads * size) {
        Pack<T, size> pack;
        pack.load(here + at);
        pack.store(tile + at);
    }
    if (whole + threadIdx.x < count) tile[whole + threadIdx.x] = here[whole + threadIdx.x];
    __syncthreads();
    return tile;
}
