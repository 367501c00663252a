// Passes over flat arrays: y[i] = f(x₀[i], x₁[i], ...), computed in f32.
//
// A thread takes `ELEMENTWISE_STEPS` packs of `width` elements that lie a block's stride apart, so that
// the accesses of a warp are contiguous, and issues all loads before the first store, so that enough
// bytes are under way to hide the memory's latency. The last block goes pack by pack, and element by
// element where the array ends within a pack.
// y may be one of the inputs: each element is read before it is written, by the same thread.
//
// grid ceil(elements / (256 · 4 · width)), block 256.
#pragma once

#include "numbers.cuh"

constexpr int ELEMENTWISE_THREADS = 256, ELEMENTWISE_STEPS = 4;

// One pack of each input, through f.
template <int width, int inputs, class From, class To, class F>
__device__ __forceinline__ Pack<To, width> combine(const Pack<From, width> (&x)[inputs], F f) {
    float values[inputs][width], results[width];
#pragma unroll
    for (int i = 0; i < inputs; ++i) x[i].unpack(values[i]);
#pragma unroll
    for (int e = 0; e < width; ++e) {
        float operands[inputs];
#pragma unroll
        for (int i = 0; i < inputs; ++i) operands[i] = values[i][e];
        results[e] = f(operands);
    }
    Pack<To, width> packed;
    packed.pack(results);
    return packed;
}

template <int width, int inputs, class From, class To, class F>
__device__ __forceinline__ void elementwise(size_t elements, const From* const (&x)[inputs], To* y, F f) {
    constexpr int stride = ELEMENTWISE_THREADS * width;
    size_t at = size_t(blockIdx.x) * (ELEMENTWISE_STEPS * stride) + threadIdx.x * width;
    Pack<From, width> loaded[ELEMENTWISE_STEPS][inputs];
    if (size_t(blockIdx.x + 1) * (ELEMENTWISE_STEPS * stride) <= elements) {
#pragma unroll
        for (int step = 0; step < ELEMENTWISE_STEPS; ++step)
#pragma unroll
            for (int i = 0; i < inputs; ++i) loaded[step][i].load(x[i] + at + step * stride);
#pragma unroll
        for (int step = 0; step < ELEMENTWISE_STEPS; ++step)
            combine<width, inputs, From, To>(loaded[step], f).store(y + at + step * stride);
        return;
    }
#pragma unroll 1
    for (; at + width <= elements; at += stride) {
#pragma unroll
        for (int i = 0; i < inputs; ++i) loaded[0][i].load(x[i] + at);
        combine<width, inputs, From, To>(loaded[0], f).store(y + at);
    }
#pragma unroll 1
    for (size_t end = min(elements, at + width); at < end; ++at) {
        float values[inputs];
#pragma unroll
        for (int i = 0; i < inputs; ++i) values[i] = to_float(x[i][at]);
        y[at] = round_to<To>(f(values));
    }
}
