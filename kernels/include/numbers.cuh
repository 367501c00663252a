// Storage types and what is computed from them: f32, f16, bf16 and u8 in memory, f32 in registers.
//
// A `Pack` is what one load or store instruction of a thread moves: up to 16 bytes, 4 f32 or 8 of a
// 16-bit type. Values are rounded to nearest even when packed.
#pragma once

#include "cuda.cuh"

__device__ __forceinline__ float to_float(float value) { return value; }
__device__ __forceinline__ float to_float(__half value) { return __half2float(value); }
__device__ __forceinline__ float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }
__device__ __forceinline__ float to_float(uint8_t value) { return float(value); }

template <class T> __device__ __forceinline__ T round_to(float value);
template <> __device__ __forceinline__ float round_to<float>(float value) { return value; }
template <> __device__ __forceinline__ __half round_to<__half>(float value) { return __float2half_rn(value); }
template <> __device__ __forceinline__ __nv_bfloat16 round_to<__nv_bfloat16>(float value) {
    return __float2bfloat16_rn(value);
}

// One 32-bit word of elements, as f32 and back.
__device__ __forceinline__ void unpack_word(unsigned word, float* values, float) {
    values[0] = __uint_as_float(word);
}
__device__ __forceinline__ void unpack_word(unsigned word, float* values, __half) {
    values[0] = __half2float(__ushort_as_half((unsigned short)(word & 0xFFFF)));
    values[1] = __half2float(__ushort_as_half((unsigned short)(word >> 16)));
}
__device__ __forceinline__ void unpack_word(unsigned word, float* values, __nv_bfloat16) {
    values[0] = __uint_as_float(word << 16);
    values[1] = __uint_as_float(word & 0xFFFF0000u);
}
__device__ __forceinline__ void unpack_word(unsigned word, float* values, uint8_t) {
#pragma unroll
    for (int i = 0; i < 4; ++i) values[i] = float(word >> 8 * i & 0xFF);
}
__device__ __forceinline__ unsigned pack_word(const float* values, float) {
    return __float_as_uint(values[0]);
}
__device__ __forceinline__ unsigned pack_word(const float* values, __half) {
    __half2 pair = __floats2half2_rn(values[0], values[1]);
    return unsigned(__half_as_ushort(pair.y)) << 16 | __half_as_ushort(pair.x);
}
__device__ __forceinline__ unsigned pack_word(const float* values, __nv_bfloat16) {
    __nv_bfloat162 pair = __floats2bfloat162_rn(values[0], values[1]);
    return unsigned(__bfloat16_as_ushort(pair.y)) << 16 | __bfloat16_as_ushort(pair.x);
}

// `n` neighbouring elements of type T as they are in memory; their address is a multiple of their size.
template <class T, int n> struct Pack {
    static constexpr int words = n * sizeof(T) / 4, per_word = 4 / sizeof(T);
    static_assert(words == 1 || words == 2 || words == 4, "one instruction moves 4, 8 or 16 bytes");
    unsigned word[words];

    __device__ __forceinline__ void load(const T* from) {
        if constexpr (words == 4) {
            uint4 raw = *reinterpret_cast<const uint4*>(from);
            word[0] = raw.x, word[1] = raw.y, word[2] = raw.z, word[3] = raw.w;
        } else if constexpr (words == 2) {
            uint2 raw = *reinterpret_cast<const uint2*>(from);
            word[0] = raw.x, word[1] = raw.y;
        } else {
            word[0] = *reinterpret_cast<const unsigned*>(from);
        }
    }
    __device__ __forceinline__ void store(T* to) const {
        if constexpr (words == 4) {
            *reinterpret_cast<uint4*>(to) = make_uint4(word[0], word[1], word[2], word[3]);
        } else if constexpr (words == 2) {
            *reinterpret_cast<uint2*>(to) = make_uint2(word[0], word[1]);
        } else {
            *reinterpret_cast<unsigned*>(to) = word[0];
        }
    }
    __device__ __forceinline__ void unpack(float (&values)[n]) const {
#pragma unroll
        for (int w = 0; w < words; ++w) unpack_word(word[w], values + w * per_word, T());
    }
    __device__ __forceinline__ void pack(const float (&values)[n]) {
#pragma unroll
        for (int w = 0; w < words; ++w) word[w] = pack_word(values + w * per_word, T());
    }
};

// A single element: tails, and channels that do not divide into vectors.
template <class T> struct Pack<T, 1> {
    T element;
    __device__ __forceinline__ void load(const T* from) { element = *from; }
    __device__ __forceinline__ void store(T* to) const { *to = element; }
    __device__ __forceinline__ void unpack(float (&values)[1]) const { values[0] = to_float(element); }
    __device__ __forceinline__ void pack(const float (&values)[1]) { element = round_to<T>(values[0]); }
};

// One access and its conversion.
template <class T, int size>
__device__ __forceinline__ void load_vector(const T* from, float (&values)[size]) {
    Pack<T, size> pack;
    pack.load(from);
    pack.unpack(values);
}
template <class T, int size>
__device__ __forceinline__ void store_vector(T* to, const float (&values)[size]) {
    Pack<T, size> pack;
    pack.pack(values);
    pack.store(to);
}
