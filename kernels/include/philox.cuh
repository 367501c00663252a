// Philox4x32-10 (Salmon, Moraes, Dror, Shaw, SC'11): the kernels' only source of randomness.
// The same function as src/rng.rs, bit for bit; the tests compare the two.
#pragma once

#include "cuda.cuh"
#include "params/key.h"

__device__ __forceinline__ uint4 philox4x32(uint2 key, uint4 counter) {
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        unsigned high0 = __umulhi(0xD2511F53u, counter.x), low0 = 0xD2511F53u * counter.x;
        unsigned high1 = __umulhi(0xCD9E8D57u, counter.z), low1 = 0xCD9E8D57u * counter.z;
        counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
        key.x += 0x9E3779B9u;
        key.y += 0xBB67AE85u;
    }
    return counter;
}

// The key a kernel was given, for all threads of the block: `rng::Key::new` of the step at `step` (two words,
// low one first), made by one of them, or the words themselves where `step` is null. All threads must call it.
__device__ __forceinline__ uint2 key_of_block(const KeyParams& key, const unsigned* step) {
    SHARED(uint2, made, [1]);
    if (threadIdx.x == 0) {
        const uint2 given = make_uint2(key.words[0], key.words[1]);
        uint4 words = make_uint4(given.x, given.y, 0, 0);
        if (step) words = philox4x32(given, make_uint4(step[0], step[1], key.layer, key.purpose));
        made[0] = make_uint2(words.x, words.y);
    }
    __syncthreads();
    return made[0];
}

// The key derived from this one for sample `index`: `rng::Key::fold`.
__device__ __forceinline__ uint2 fold(uint2 key, unsigned index) {
    uint4 words = philox4x32(key, make_uint4(index, 0, 0, 0xFFFFFFFFu));
    return make_uint2(words.x, words.y);
}

// A lane of a key read from its beginning: `rng::Stream`.
struct Stream {
    uint2 key;
    unsigned lane, block = 0, used = 4;
    uint4 words = {};

    __device__ Stream(uint2 key, unsigned lane) : key(key), lane(lane) {}

    // The next 32 random bits.
    __device__ unsigned next() {
        if (used == 4) {
            words = philox4x32(key, make_uint4(block++, lane, 0, 0));
            used = 0;
        }
        ++used;
        return used == 1 ? words.x : used == 2 ? words.y : used == 3 ? words.z : words.w;
    }

    // A uniform integer in 0 .. n − 1, without bias (Lemire 2019).
    __device__ unsigned below(unsigned n) {
        const unsigned least = (0u - n) % n;
        unsigned bits = next();
        while (bits * n < least) bits = next();
        return __umulhi(bits, n);
    }
};
