// Elementwise sum of two arrays: the residual connection, with an optional rectifier after it.
//
// Mathematics. y[i] = a[i] + b[i], or max(a[i] + b[i], 0). The f32 sum of two 16-bit numbers has more than
// twice their precision, so storing it rounds as one addition would: results are correctly rounded.
// The vjp of the sum is the identity for both; of the rectifier, `relu_backward`. With y = a the
// kernel is the sum of gradients, a += b.
//
// Shapes. Flat arrays of any number of elements, on 16-byte boundaries. y may be a or b.
//
// Method and geometry. `elementwise.cuh`: 16 bytes a thread, four times.
//
// Cost. elements FLOPs. Bytes: 3 · elements · width.

#include "include/elementwise.cuh"
#include "include/params/elementwise.h"

#define ADD(suffix, T)                                                                         \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                          \
    add_##suffix(ElementwiseParams p, const T* a, const T* b, T* y) {                          \
        elementwise<Vector<T>::size, 2>(p.elements, {a, b}, y, [](const float (&v)[2]) {       \
            return v[0] + v[1];                                                                \
        });                                                                                    \
    }                                                                                          \
    EXPORT_KERNEL(add_##suffix);                                                               \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                          \
    add_relu_##suffix(ElementwiseParams p, const T* a, const T* b, T* y) {                     \
        elementwise<Vector<T>::size, 2>(p.elements, {a, b}, y, [](const float (&v)[2]) {       \
            float sum = v[0] + v[1];                                                           \
            return sum < 0.0f ? 0.0f : sum;                                                    \
        });                                                                                    \
    }                                                                                          \
    EXPORT_KERNEL(add_relu_##suffix)

ADD(f32, float);
ADD(f16, __half);
ADD(bf16, __nv_bfloat16);
