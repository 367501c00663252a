// Casts between storage types: y[i] = x[i], rounded to nearest even.
//
// Shapes. Flat arrays of any number of elements, on 16-byte boundaries.
//
// Method and geometry. `elementwise.cuh` through f32, which holds every f16, bf16 and u8 exactly, so
// that only the store rounds. A thread's pack has as many elements as fit 16 bytes of the wider type:
// its narrower side moves 4 or 8 bytes, contiguous over a warp all the same.
//
// Cost. No FLOPs. Bytes: elements · (width of x + width of y).

#include "include/elementwise.cuh"
#include "include/params/elementwise.h"

#define CAST(from, From, to, To)                                                        \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                   \
    cast_##from##_##to(ElementwiseParams p, const From* x, To* y) {                     \
        constexpr int width = 16 / (sizeof(From) > sizeof(To) ? sizeof(From) : sizeof(To)); \
        elementwise<width, 1>(p.elements, {x}, y, [](const float (&v)[1]) { return v[0]; }); \
    }                                                                                   \
    EXPORT_KERNEL(cast_##from##_##to)

CAST(f32, float, f16, __half);
CAST(f32, float, bf16, __nv_bfloat16);
CAST(f16, __half, f32, float);
CAST(f16, __half, bf16, __nv_bfloat16);
CAST(bf16, __nv_bfloat16, f32, float);
CAST(bf16, __nv_bfloat16, f16, __half);
CAST(u8, uint8_t, f32, float);
