// Binary cross-entropy of logits over the elements that are known, and its vjp.
//
// Mathematics. With logits z, targets t in [0, 1], a mask m and weights w (all 1 without),
//   loss = Σ_i m_i w_i ℓ_i / Σ_i m_i,   ℓ_i = −t_i ln σ(z_i) − (1 − t_i) ln(1 − σ(z_i)),
//   dz_i = g / Σ_j m_j · m_i w_i (σ(z_i) − t_i),
// g the loss's cotangent. Where m is 0 the element is not known: whatever stands there, even NaN, it
// adds nothing and gets no gradient. For t in [0, 1] both terms are taken without cancellation:
//   ℓ = ln(1 + e^−|z|) + (1 − t) max(z, 0) + t max(−z, 0).
//
// Shapes. z, t, m, w, dz: flat arrays of the same length and storage type; w may be null. `result`: [2] of
// f32: the loss, and Σ m. A mask without an element makes the loss NaN. Loss and cotangent are scalars of
// the same type as z.
//
// Method. A thread has four 16-byte vectors, a block's stride apart; the block's sums are added by a
// balanced tree, and `mean` adds the blocks' sums in order.
//
// Launch. ⌈elements / (1024 · vector)⌉ blocks of 256; mean: one block of 256.
//
// Cost. About 20 FLOPs an element, one exponential and one logarithm among them. Bytes: forward reads z,
// t, m, w once; backward reads them again and writes dz.

#include "include/bce.cuh"
#include "include/mean.cuh"
#include "include/numbers.cuh"
#include "include/params/masked_bce.h"
#include "include/params/mean.h"

namespace {

constexpr unsigned threads = 256, steps = 4;

template <class T> struct Operands {
    const T *logits, *targets, *mask, *weights;
};

// The operands of `size` neighbouring elements.
template <int size> struct Values {
    float z[size], t[size], m[size], w[size];

    template <class T> __device__ __forceinline__ Values(const Operands<T>& from, size_t at) {
        load_vector(from.logits + at, z);
        load_vector(from.targets + at, t);
        load_vector(from.mask + at, m);
#pragma unroll
        for (int j = 0; j < size; ++j) w[j] = 1.0f;
        if (from.weights) load_vector(from.weights + at, w);
    }
};

// Calls f(at, size) for the thread's vectors and, where the arrays end within one, for its elements.
template <int size, class F> __device__ __forceinline__ void for_each(size_t elements, F f) {
#pragma unroll
    for (unsigned step = 0; step < steps; ++step) {
        const size_t at = ((size_t(blockIdx.x) * steps + step) * threads + threadIdx.x) * size;
        if (at + size <= elements) {
            f(at, std::integral_constant<int, size>());
        } else {
            for (size_t one = at; one < elements; ++one) f(one, std::integral_constant<int, 1>());
        }
    }
}

template <class T>
__device__ void forward(const MaskedBceParams& p, const Operands<T>& from, float* __restrict__ partial) {
    float own[2] = {};
    for_each<Vector<T>::size>(p.elements, [&](size_t at, auto size) {
        const Values<decltype(size)::value> v(from, at);
#pragma unroll
        for (int j = 0; j < decltype(size)::value; ++j) {
            own[0] += v.m[j] == 0.0f ? 0.0f : v.m[j] * v.w[j] * bce(v.z[j], v.t[j]);
            own[1] += v.m[j];
        }
    });
    store_partial<threads>(own, partial);
}

template <class T>
__device__ void backward(const MaskedBceParams& p, const Operands<T>& from, const float* __restrict__ result,
                         const T* __restrict__ cotangent, T* __restrict__ dz) {
    const float scale = to_float(*cotangent) / result[1];
    for_each<Vector<T>::size>(p.elements, [&](size_t at, auto size) {
        const Values<decltype(size)::value> v(from, at);
        float gradient[decltype(size)::value];
#pragma unroll
        for (int j = 0; j < decltype(size)::value; ++j)
            gradient[j] = v.m[j] == 0.0f ? 0.0f : scale * (v.m[j] * v.w[j]) * (sigmoid(v.z[j]) - v.t[j]);
        store_vector(dz + at, gradient);
    });
}

}  // namespace

#define FOR_TYPE(suffix, T)                                                                           \
    extern "C" __global__ void __launch_bounds__(threads) masked_bce_##suffix(                        \
        MaskedBceParams p, const T* __restrict__ logits, const T* __restrict__ targets,               \
        const T* __restrict__ mask, const T* __restrict__ weights, float* __restrict__ partial) {     \
        forward<T>(p, {logits, targets, mask, weights}, partial);                                     \
    }                                                                                                 \
    EXPORT_KERNEL(masked_bce_##suffix);                                                               \
    extern "C" __global__ void __launch_bounds__(threads) masked_bce_backward_##suffix(               \
        MaskedBceParams p, const T* __restrict__ logits, const T* __restrict__ targets,               \
        const T* __restrict__ mask, const T* __restrict__ weights, const float* __restrict__ result,  \
        const T* __restrict__ cotangent, T* __restrict__ dz) {                                    \
        backward<T>(p, {logits, targets, mask, weights}, result, cotangent, dz);                      \
    }                                                                                                 \
    EXPORT_KERNEL(masked_bce_backward_##suffix);                                                      \
    extern "C" __global__ void __launch_bounds__(threads)                                             \
    masked_bce_mean_##suffix(MeanParams p, const float* partial, float* result, T* loss) {            \
        mean_of_partial<threads, 2>(p.blocks, partial, result, loss);                                 \
    }                                                                                                 \
    EXPORT_KERNEL(masked_bce_mean_##suffix)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
