// Rectifier: y = max(x, 0), and its vjp.
//
// Mathematics. y[i] = x[i] < 0 ? 0 : x[i], so NaN stays NaN. Backward: dx[i] = y[i] > 0 ? dy[i] : 0; the
// derivative at 0 is 0, and the saved output is all that it needs.
//
// Shapes. Flat arrays of any number of elements, on 16-byte boundaries. dx may be dy.
//
// Method and geometry. `elementwise.cuh`: 16 bytes a thread, four times.
//
// Cost. No FLOPs worth the name. Bytes: forward 2, backward 3 times elements · width.

#include "include/elementwise.cuh"
#include "include/params/elementwise.h"

#define RELU(suffix, T)                                                                     \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                       \
    relu_##suffix(ElementwiseParams p, const T* x, T* y) {                                  \
        elementwise<Vector<T>::size, 1>(p.elements, {x}, y, [](const float (&v)[1]) {       \
            return v[0] < 0.0f ? 0.0f : v[0];                                               \
        });                                                                                 \
    }                                                                                       \
    EXPORT_KERNEL(relu_##suffix);                                                           \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                       \
    relu_backward_##suffix(ElementwiseParams p, const T* y, const T* dy, T* dx) {           \
        elementwise<Vector<T>::size, 2>(p.elements, {y, dy}, dx, [](const float (&v)[2]) {  \
            return v[0] > 0.0f ? v[1] : 0.0f;                                               \
        });                                                                                 \
    }                                                                                       \
    EXPORT_KERNEL(relu_backward_##suffix)

RELU(f32, float);
RELU(f16, __half);
RELU(bf16, __nv_bfloat16);
