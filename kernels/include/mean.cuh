// The last step of a mean loss: the sums of blocks become one result.
#pragma once

#include "numbers.cuh"
#include "tree.cuh"

// `partial`: [sums][blocks], what each block of another kernel added up: numerator, denominator, more.
// `result`: [sums]: the mean numerator / denominator, then the other sums; `loss`: the mean again, as it is
// stored. For a grid of one block: thread t adds the blocks t, t + threads, ...; then the threads' sums
// are added by a balanced tree.
template <int threads, int sums, class T>
__device__ __forceinline__ void mean_of_partial(unsigned blocks, const float* __restrict__ partial,
                                                float* __restrict__ result, T* __restrict__ loss) {
    float total[sums] = {};
    for (unsigned block = threadIdx.x; block < blocks; block += threads)
#pragma unroll
        for (int k = 0; k < sums; ++k) total[k] += partial[size_t(k) * blocks + block];
    tree_sum<threads>(total, 1);
    if (threadIdx.x > 0) return;
    result[0] = total[0] / total[1];
    *loss = round_to<T>(result[0]);
#pragma unroll
    for (int k = 1; k < sums; ++k) result[k] = total[k];
}

// Writes the sums of this block's threads, added by a balanced tree, to its column of `partial`.
template <int threads, int sums>
__device__ __forceinline__ void store_partial(float (&own)[sums], float* __restrict__ partial) {
    tree_sum<threads>(own, 1);
    if (threadIdx.x > 0) return;
#pragma unroll
    for (int k = 0; k < sums; ++k) partial[size_t(k) * gridDim.x + blockIdx.x] = own[k];
}
