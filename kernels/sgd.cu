// Stochastic gradient descent with momentum over flat arrays, f32 weights, and loss scaling.
//
// Mathematics, as in PyTorch. With learning rate λ, momentum μ, weight decay δ and loss scale s:
//     g ← gradient/s + δ·w,  v ← μ·v + g,  w ← w − λ·v   (Nesterov: w ← w − λ·(g + μ·v)).
// Every product and sum is rounded on its own, in the order of src/cpu/sgd.rs: for f32 gradients and
// s = 1 the two agree to the last bit. s is a power of two, so that dividing by it is exact.
//
// Shapes. weights, velocities: [elements] of f32. gradient: the same of f32, f16 or bf16. copy: the new
// weights rounded to the gradient's type, for the next forward pass; null for none. All on 16-byte boundaries.
//
// Method.
//   sgd          One pass, four elements a thread. Where `found` is not null and not 0, nothing changes.
//   sgd_check    Sets `found` to 1 if any gradient is infinite or NaN; it must have been 0. Whoever finds
//                one says so by an integer maximum, so the flag does not depend on the order of threads.
//
// Geometry. sgd: grid ceil(elements / 1024), block 256. sgd_check: as `elementwise.cuh`.
//
// Cost. 4 FLOPs an element (Nesterov 6, scaling 1). Bytes: 16 + width of the gradient (and of the copy);
// sgd_check reads the gradient once more.

#include "include/elementwise.cuh"
#include "include/params/sgd.h"

namespace {

struct Sgd {
    float lr, momentum, decay, unscale;
    bool nesterov;

    __device__ __forceinline__ void step(float& w, float& v, float gradient) const {
        float g = gradient * unscale + decay * w;
        v = momentum * v + g;
        float direction = nesterov ? g + momentum * v : v;
        w -= lr * direction;
    }
};

template <class T>
__device__ void update(const SgdParams& p, float* __restrict__ w, float* __restrict__ v, const T* __restrict__ gradient,
                       T* __restrict__ copy, const unsigned* __restrict__ found) {
    if (found && *found) return;
    const Sgd sgd = {p.lr, p.momentum, p.decay, p.unscale, p.nesterov != 0};
    const size_t at = (size_t(blockIdx.x) * ELEMENTWISE_THREADS + threadIdx.x) * 4;
    if (at + 4 <= p.elements) {
        Pack<float, 4> weights, velocities;
        Pack<T, 4> gradients;
        weights.load(w + at), velocities.load(v + at), gradients.load(gradient + at);
        float own_w[4], own_v[4], own_g[4];
        weights.unpack(own_w), velocities.unpack(own_v), gradients.unpack(own_g);
#pragma unroll
        for (int i = 0; i < 4; ++i) sgd.step(own_w[i], own_v[i], own_g[i]);
        weights.pack(own_w), velocities.pack(own_v);
        weights.store(w + at), velocities.store(v + at);
        if (copy) {
            gradients.pack(own_w);
            gradients.store(copy + at);
        }
        return;
    }
#pragma unroll 1
    for (size_t i = at; i < p.elements; ++i) {
        float own_w = w[i], own_v = v[i];
        sgd.step(own_w, own_v, to_float(gradient[i]));
        w[i] = own_w, v[i] = own_v;
        if (copy) copy[i] = round_to<T>(own_w);
    }
}

// NaN and infinity have all bits of the exponent set.
__device__ __forceinline__ bool is_finite(float value) { return (__float_as_uint(value) & 0x7F800000u) != 0x7F800000u; }

template <class T> __device__ void check(const SgdParams& p, const T* __restrict__ gradient, unsigned* found) {
    constexpr int width = Vector<T>::size, stride = ELEMENTWISE_THREADS * width;
    size_t at = size_t(blockIdx.x) * (ELEMENTWISE_STEPS * stride) + threadIdx.x * width;
    bool finite = true;
#pragma unroll
    for (int step = 0; step < ELEMENTWISE_STEPS; ++step, at += stride) {
        if (at + width <= p.elements) {
            Pack<T, width> pack;
            pack.load(gradient + at);
            float values[width];
            pack.unpack(values);
#pragma unroll
            for (int i = 0; i < width; ++i) finite = finite && is_finite(values[i]);
        } else {
#pragma unroll 1
            for (size_t i = at; i < p.elements; ++i) finite = finite && is_finite(to_float(gradient[i]));
        }
    }
    if (!finite) atomicMax(found, 1u);
}

}  // namespace

#define SGD(suffix, T)                                                                                 \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                  \
    sgd_##suffix(SgdParams p, float* __restrict__ weights, float* __restrict__ velocities,             \
                 const T* __restrict__ gradient, T* __restrict__ copy, const unsigned* __restrict__ found) { \
        update<T>(p, weights, velocities, gradient, copy, found);                                      \
    }                                                                                                  \
    EXPORT_KERNEL(sgd_##suffix);                                                                       \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                  \
    sgd_check_##suffix(SgdParams p, const T* __restrict__ gradient, unsigned* found) {                 \
        check<T>(p, gradient, found);                                                                  \
    }                                                                                                  \
    EXPORT_KERNEL(sgd_check_##suffix)

SGD(f32, float);
SGD(f16, __half);
SGD(bf16, __nv_bfloat16);
