// One random permutation of a map's positions for each channel.
//
// Mathematics. Channel c and position i have a random 48-bit number K(c, i), the top bits of a 64-bit
// Philox draw; π_c is the stable argsort, K(c, π_c(0)) <= K(c, π_c(1)) <= ..., equal keys in order of
// their index. Draws are independent, so π_c is uniform over all n! permutations up to the chance of
// a tie, below n² / 2^49. With lane l = first_lane + c,
//     philox4x32(key, (i / 2, l, 0, 0)) = (w0, w1, w2, w3),   K = (w1:w0) >> 16 for even i, (w3:w2) >> 16
// for odd i. This is `Key::stream(l).permutation(n)` of src/rng.rs, bit for bit: a permutation is a
// pure function of its key, and nothing has to be stored to make it again in the backward pass. The key
// is given whole, or made here of the step's number in memory, so that a captured launch draws anew each
// time it is replayed. Table n of several is that of the key's n-th fold, philox4x32(key, (n, 0, 0, 2³² − 1)).
//
// The 16 bits that K drops hold the index: S(c, i) = K << 16 | i is one integer, all S of a channel
// differ, and sorting them *is* the stable argsort. Hence n <= 65536.
//
// Shapes. table[n, r, c] = π_c(r) and inverse[n, π_c(r), c] = r, both [tables, positions, channels] of
// 16-bit integers, channels fastest like the map itself; either pointer may be null. step: [2] words of the
// step's number, low one first, or null.
//
// Method. A block takes one channel and one slice of the 64-bit number line. It makes all n numbers
// of the channel, counts those below the slice (where its output starts) and collects those inside
// in shared memory, sorts them there (bitonic, padded to a power of two with the largest integer) and
// writes them out. Numbers are drawn anew for each slice because a Philox round costs less than
// memory traffic. The slices are chosen so that one holds far fewer numbers than the shared memory;
// should one not fit, the block halves it and tries again, which ends because all numbers differ.
// The order in which threads collect is arbitrary, the sorted result is not.
//
// Launch. grid (channels, slices, tables), block of 32 to 1024 threads, dynamic shared memory 8 · capacity
// bytes (`src/kernels/permutation.rs`).
//
// Cost per channel and table, n positions, m numbers in a slice: n/2 Philox calls (about 60 integer operations)
// for each slice, m/4 log2(m)(log2(m) + 1) compare-exchanges for each sort. Bytes: 2n written for each
// table; the stride between them is the number of channels, so 32-byte sectors meet in L2. No FLOPs.

#include "include/cuda.cuh"
#include "include/philox.cuh"
#include "include/params/permutation.h"

namespace {

using Number = unsigned long long;

// S(c, 2·pair) and S(c, 2·pair + 1).
__device__ __forceinline__ void draw(uint2 key, unsigned lane, unsigned pair, Number (&number)[2]) {
    uint4 w = philox4x32(key, make_uint4(pair, lane, 0, 0));
    number[0] = ((Number(w.y) << 32 | w.x) & ~Number(0xFFFF)) | (2 * pair);
    number[1] = ((Number(w.w) << 32 | w.z) & ~Number(0xFFFF)) | (2 * pair + 1);
}

// Sorts `count` numbers, a power of two, ascending. All threads of the block take part.
__device__ void bitonic_sort(Number* number, unsigned count) {
    for (unsigned size = 2; size <= count; size *= 2) {
        for (unsigned stride = size / 2; stride > 0; stride /= 2) {
            for (unsigned j = threadIdx.x; j < count / 2; j += blockDim.x) {
                unsigned low = 2 * j - (j & (stride - 1)), high = low + stride;
                bool ascending = (low & size) == 0;
                Number a = number[low], b = number[high];
                if ((a > b) == ascending) {
                    number[low] = b;
                    number[high] = a;
                }
            }
            __syncthreads();
        }
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(1024)
permutation(PermutationParams p, const unsigned* __restrict__ step_number, uint16_t* __restrict__ table,
            uint16_t* __restrict__ inverse) {
    Number* sorted = dynamic_shared<Number>();
    SHARED(unsigned, below, [1]);   // numbers of this channel before the range
    SHARED(unsigned, inside, [1]);  // and within it

    uint2 key = key_of_block(p.key, step_number);
    if (p.per_sample) key = fold(key, blockIdx.z);
    const size_t entries = size_t(blockIdx.z) * p.positions * p.channels;
    const unsigned channel = blockIdx.x, lane = p.first_lane + channel;
    const Number step = ~Number(0) / gridDim.y + 1;  // 0 when there is one slice: 2^64
    Number first = blockIdx.y * step;
    const Number end = blockIdx.y + 1 == gridDim.y ? ~Number(0) : first + (step - 1);
    Number last = end;

    while (true) {
        if (threadIdx.x == 0) below[0] = inside[0] = 0;
        __syncthreads();

        unsigned my_below = 0;
        for (unsigned pair = threadIdx.x; 2 * pair < p.positions; pair += blockDim.x) {
            Number number[2];
            draw(key, lane, pair, number);
#pragma unroll
            for (int k = 0; k < 2; ++k) {
                if (2 * pair + k >= p.positions) continue;
                my_below += number[k] < first;
                if (number[k] < first || number[k] > last) continue;
                unsigned slot = atomicAdd(&inside[0], 1u);
                if (slot < p.capacity) sorted[slot] = number[k];
            }
        }
        atomicAdd(&below[0], my_below);
        __syncthreads();
        const unsigned count = inside[0], rank = below[0];
        __syncthreads();

        if (count > p.capacity) {
            last = first + (last - first) / 2;
            continue;
        }
        unsigned padded = 1;
        while (padded < count) padded *= 2;
        for (unsigned i = count + threadIdx.x; i < padded; i += blockDim.x) sorted[i] = ~Number(0);
        __syncthreads();
        bitonic_sort(sorted, padded);

        for (unsigned i = threadIdx.x; i < count; i += blockDim.x) {
            size_t position = sorted[i] & 0xFFFF;
            if (table) table[entries + size_t(rank + i) * p.channels + channel] = uint16_t(position);
            if (inverse) inverse[entries + position * p.channels + channel] = uint16_t(rank + i);
        }
        if (last == end) return;
        __syncthreads();
        first = last + 1;
        last = end;
    }
}
EXPORT_KERNEL(permutation);
