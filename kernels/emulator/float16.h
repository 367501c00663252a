// CUDA's 16-bit floating-point types and their conversions, rounding to nearest even as the GPU does;
// every NaN becomes 0x7FFF, as there. Kernels convert and compute in f32: there is no arithmetic here.
#pragma once

#include <cstdint>
#include <cstring>

struct __half { uint16_t bits; };
struct __nv_bfloat16 { uint16_t bits; };
struct alignas(4) __half2 { __half x, y; };
struct alignas(4) __nv_bfloat162 { __nv_bfloat16 x, y; };

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, sizeof bits);
    return bits;
}
inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}
inline __half __ushort_as_half(unsigned short bits) { return {bits}; }
inline unsigned short __half_as_ushort(__half value) { return value.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return {bits}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 value) { return value.bits; }

inline float __half2float(__half half) {
    unsigned sign = (half.bits & 0x8000u) << 16, magnitude = half.bits & 0x7FFFu;
    // As the top of an f32 the number is too small by 2^112; subnormals come out right as well.
    float value = __uint_as_float(magnitude << 13) * 0x1p112f;
    if (magnitude >= 0x7C00) value = __uint_as_float(0x7F800000u | magnitude << 13);
    return __uint_as_float(__float_as_uint(value) | sign);
}

inline __half __float2half_rn(float value) {
    unsigned bits = __float_as_uint(value), sign = bits >> 16 & 0x8000u, magnitude = bits & 0x7FFFFFFFu;
    if (magnitude > 0x7F800000u) return {0x7FFF};
    if (magnitude >= 0x477FF000u) return {uint16_t(sign | 0x7C00u)};  // 65520 and more: infinity
    if (magnitude < 0x38800000u) {
        // Below 2^-14: as a multiple of 2^-24, which adding 1/2 in f32 rounds for us (u = 2^-24 there).
        float rounded = __uint_as_float(magnitude) + 0.5f;
        return {uint16_t(sign | (__float_as_uint(rounded) - 0x3F000000u))};
    }
    magnitude += 0xFFFu + (magnitude >> 13 & 1);
    return {uint16_t(sign | ((magnitude >> 13) - (112u << 10)))};
}

inline float __bfloat162float(__nv_bfloat16 value) { return __uint_as_float(unsigned(value.bits) << 16); }

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
    unsigned bits = __float_as_uint(value);
    if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return {0x7FFF};
    return {uint16_t((bits + 0x7FFFu + (bits >> 16 & 1)) >> 16)};
}

inline __half2 __floats2half2_rn(float low, float high) {
    return {__float2half_rn(low), __float2half_rn(high)};
}
inline __nv_bfloat162 __floats2bfloat162_rn(float low, float high) {
    return {__float2bfloat16_rn(low), __float2bfloat16_rn(high)};
}
