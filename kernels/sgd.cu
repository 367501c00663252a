// Stochastic gradient descent with momentum over a table of tensors, f32 weights, and loss scaling.
//
// Mathematics, as in PyTorch. With learning rate λ, momentum μ, weight decay δ and loss scale s:
//     g ← gradient/s + δ·w,  v ← μ·v + g,  w ← w − λ·v   (Nesterov: w ← w − λ·(g + μ·v)).
// Every product and sum is rounded on its own, in the order of src/cpu/sgd.rs: for f32 gradients the two
// agree to the last bit. s is a power of two, so that 1/s and the product with it are exact.
//
// Dynamic loss scaling. Gradients of f16 underflow where those of f32 do not, so the loss is multiplied by
// s before the backward pass. A gradient that is not finite says that s is too large: the step is left out
// and s halved. 2000 steps in a row that were taken double it. s stays within 2^-126 … 2^126, where s
// and 1/s are normal numbers.
//
// Shapes. For each tensor of the table weights, velocities: [elements] of f32. A gradient has 16 bits (f16
// or bf16, as the kernel's name says) where the tensor has a copy, the new weights rounded to that type for
// the next forward pass; else both are as in `sgd_f32`: a gradient of f32 and no copy. All on 16-byte
// boundaries. rate, scale: one f32. found, good: one 32-bit integer.
//
// Method. What changes from step to step (λ, s, found, good) lies in memory, so that a recorded graph of
// launches can be replayed.
//   sgd          One pass, eight elements a thread in two packs. Where `found` is not 0, nothing changes.
//   sgd_check    Sets `found` to 1 if any gradient is infinite or NaN. Whoever finds one says so by an
//                integer maximum, so the flag does not depend on the order of threads.
//   sgd_loss     found ← whether the loss is infinite or NaN: the first word on it in a step.
//   sgd_rescale  Moves s and the count of good steps on; the last word.
//
// Geometry. sgd, sgd_check: block 256, a block for each 2048 elements of a tensor, or a rest of them. The
// table says with which block each tensor begins; a block finds its own by bisection. sgd_loss, sgd_rescale:
// one thread.
//
// Cost. 5 FLOPs an element (Nesterov 7). Bytes: 16 + width of the gradient (and of the copy); sgd_check
// reads the gradient once more.

#include "include/elementwise.cuh"
#include "include/params/sgd.h"

namespace {

constexpr int PACK = 4, PACKS = 2, STRIDE = ELEMENTWISE_THREADS * PACK;

struct Rule {
    float lr, momentum, decay, unscale;
    bool nesterov;

    __device__ __forceinline__ void step(float& w, float& v, float gradient) const {
        float g = gradient * unscale + decay * w;
        v = momentum * v + g;
        float direction = nesterov ? g + momentum * v : v;
        w -= lr * direction;
    }
};

// The tensor of this block: the last one that begins with it or before.
__device__ __forceinline__ unsigned own_tensor(const SgdParams& p) {
    unsigned low = 0, high = p.tensors;
    while (high - low > 1) {
        unsigned middle = (low + high) / 2;
        if (p.first_block[middle] <= blockIdx.x)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// The packs of this thread: from its first element on, `PACKS` of them where the block is whole, fewer in
// the last block of a tensor. whole(at) takes all, pack(at) one, element(at) a single element.
template <class Whole, class One, class Element>
__device__ __forceinline__ void walk(const SgdParams& p, unsigned tensor, Whole whole, One pack, Element element) {
    const size_t elements = p.elements[tensor];
    const size_t first = size_t(blockIdx.x - p.first_block[tensor]) * (PACKS * STRIDE);
    size_t at = first + threadIdx.x * PACK;
    if (first + PACKS * STRIDE <= elements) return whole(at);
#pragma unroll 1
    for (; at + PACK <= elements; at += STRIDE) pack(at);
#pragma unroll 1
    for (size_t end = min(elements, at + PACK); at < end; ++at) element(at);
}

template <class T> struct Arrays {
    float* w;
    float* v;
    const T* gradient;
    T* copy;

    __device__ __forceinline__ Arrays(const SgdParams& p, unsigned tensor)
        : w(reinterpret_cast<float*>(p.weights[tensor])), v(reinterpret_cast<float*>(p.velocities[tensor])),
          gradient(reinterpret_cast<const T*>(p.gradients[tensor])), copy(reinterpret_cast<T*>(p.copies[tensor])) {}
};

// `count` packs, all loads before the first store.
template <class T, int count>
__device__ __forceinline__ void update_packs(const Rule& rule, const Arrays<T>& arrays, size_t at) {
    Pack<float, PACK> weights[count], velocities[count];
    Pack<T, PACK> gradients[count];
#pragma unroll
    for (int i = 0; i < count; ++i) {
        weights[i].load(arrays.w + at + i * STRIDE);
        velocities[i].load(arrays.v + at + i * STRIDE);
        gradients[i].load(arrays.gradient + at + i * STRIDE);
    }
#pragma unroll
    for (int i = 0; i < count; ++i) {
        float w[PACK], v[PACK], g[PACK];
        weights[i].unpack(w), velocities[i].unpack(v), gradients[i].unpack(g);
#pragma unroll
        for (int e = 0; e < PACK; ++e) rule.step(w[e], v[e], g[e]);
        weights[i].pack(w), velocities[i].pack(v);
        weights[i].store(arrays.w + at + i * STRIDE), velocities[i].store(arrays.v + at + i * STRIDE);
        if (arrays.copy) {
            gradients[i].pack(w);
            gradients[i].store(arrays.copy + at + i * STRIDE);
        }
    }
}

template <class T> __device__ __forceinline__ void update(const SgdParams& p, unsigned tensor, const Rule& rule) {
    const Arrays<T> arrays(p, tensor);
    walk(
        p, tensor, [&](size_t at) { update_packs<T, PACKS>(rule, arrays, at); },
        [&](size_t at) { update_packs<T, 1>(rule, arrays, at); },
        [&](size_t at) {
            float w = arrays.w[at], v = arrays.v[at];
            rule.step(w, v, to_float(arrays.gradient[at]));
            arrays.w[at] = w, arrays.v[at] = v;
            if (arrays.copy) arrays.copy[at] = round_to<T>(w);
        });
}

// NaN and infinity have all bits of the exponent set.
__device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7F800000u) != 0x7F800000u; }

template <class T, int count> __device__ __forceinline__ bool finite_packs(const T* gradient, size_t at) {
    Pack<T, PACK> packs[count];
    bool finite = true;
#pragma unroll
    for (int i = 0; i < count; ++i) packs[i].load(gradient + at + i * STRIDE);
#pragma unroll
    for (int i = 0; i < count; ++i) {
        float values[PACK];
        packs[i].unpack(values);
#pragma unroll
        for (int e = 0; e < PACK; ++e) finite = finite && is_finite(values[e]);
    }
    return finite;
}

template <class T> __device__ __forceinline__ void check(const SgdParams& p, unsigned tensor, unsigned* found) {
    const T* gradient = reinterpret_cast<const T*>(p.gradients[tensor]);
    bool finite = true;
    walk(
        p, tensor, [&](size_t at) { finite = finite_packs<T, PACKS>(gradient, at); },
        [&](size_t at) { finite = finite && finite_packs<T, 1>(gradient, at); },
        [&](size_t at) { finite = finite && is_finite(to_float(gradient[at])); });
    if (!finite) atomicMax(found, 1u);
}

}  // namespace

#define SGD(suffix, T)                                                                                    \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                     \
    sgd_##suffix(const __grid_constant__ SgdParams p, const float* __restrict__ rate,                     \
                 const float* __restrict__ scale, const unsigned* __restrict__ found) {                   \
        if (*found) return;                                                                               \
        const Rule rule = {*rate, p.momentum, p.decay, 1.0f / *scale, p.nesterov != 0};                   \
        const unsigned tensor = own_tensor(p);                                                            \
        if (p.copies[tensor])                                                                             \
            update<T>(p, tensor, rule);                                                                   \
        else                                                                                              \
            update<float>(p, tensor, rule);                                                               \
    }                                                                                                     \
    EXPORT_KERNEL(sgd_##suffix);                                                                          \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                     \
    sgd_check_##suffix(const __grid_constant__ SgdParams p, unsigned* found) {                            \
        const unsigned tensor = own_tensor(p);                                                            \
        if (p.copies[tensor])                                                                             \
            check<T>(p, tensor, found);                                                                   \
        else                                                                                              \
            check<float>(p, tensor, found);                                                               \
    }                                                                                                     \
    EXPORT_KERNEL(sgd_check_##suffix)

SGD(f32, float);
SGD(f16, __half);
SGD(bf16, __nv_bfloat16);

extern "C" __global__ void sgd_loss(const float* __restrict__ loss, unsigned* __restrict__ found) {
    *found = !is_finite(*loss);
}
EXPORT_KERNEL(sgd_loss);

extern "C" __global__ void sgd_rescale(const unsigned* __restrict__ found, float* __restrict__ scale,
                                       unsigned* __restrict__ good) {
    constexpr unsigned INTERVAL = 2000;
    constexpr float LEAST = 1.0f / 85070591730234615865843651857942052864.0f, MOST = 1.0f / LEAST;
    const unsigned taken = *found ? 0 : *good + 1;
    if (*found)
        *scale = fmaxf(*scale * 0.5f, LEAST);
    else if (taken == INTERVAL)
        *scale = fminf(*scale * 2.0f, MOST);
    *good = taken == INTERVAL ? 0 : taken;
}
EXPORT_KERNEL(sgd_rescale);
