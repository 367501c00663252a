// The tiles of a convolution's products and the arithmetic that fills them: conv2d.cu says which there are.
#pragma once

#include "conv_operands.cuh"
#include "ffma.cuh"
#include "tensor_core.cuh"

// a, b: whether the operands' slabs lie along the depth (implicit_gemm.cuh).
template <bool a, bool b> struct ConvTiles {
    template <unsigned side, unsigned n> using Fused = Ffma<Slab<float, side, a>, Slab<float, side, b>, 8, n>;
    template <class T, unsigned side> using Mma = TensorCore<Slab<T, side, a>, Slab<T, side, b>, 2, side / 32>;

    using f32_128 = Fused<128, 8>;
    using f32_64 = Fused<64, 4>;
    using tf32_128 = Mma<float, 128>;
    using tf32_64 = Mma<float, 64>;
    using f16_128 = Mma<__half, 128>;
    using f16_64 = Mma<__half, 64>;
    using bf16_128 = Mma<__nv_bfloat16, 128>;
    using bf16_64 = Mma<__nv_bfloat16, 64>;
};

// KERNEL(suffix, type, whether operands move in vectors, blocks that share a multiprocessor, multiplication)
// for every kernel of a direction. `Tiles` is its ConvTiles.
#define CONV_TILES_OF(KERNEL, math, T)               \
    KERNEL(128_##math, T, true, 2, Tiles::math##_128); \
    KERNEL(64_##math, T, true, 4, Tiles::math##_64);   \
    KERNEL(scalar_##math, T, false, 3, Tiles::math##_64)

#define CONV_TILES(KERNEL)                    \
    CONV_TILES_OF(KERNEL, f32, float);        \
    CONV_TILES_OF(KERNEL, tf32, float);       \
    CONV_TILES_OF(KERNEL, f16, __half);       \
    CONV_TILES_OF(KERNEL, bf16, __nv_bfloat16)
