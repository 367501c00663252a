// Tensor cores of sm_80 and later: fragments from shared memory (ldmatrix), products (mma.sync).
//
// All 32 lanes of a warp take part. Where an element lies: kernels/emulator/tensor_core.h.
#pragma once

#include "cuda.cuh"

#ifndef __CUDACC__
#include "tensor_core.h"
#endif

// Four matrices of 8 rows of 16 bytes. Lane l names row l % 8 of matrix l / 8, in shared memory, on a
// 16-byte boundary, and gets word l % 4 of row l / 4 of each.
__device__ __forceinline__ void load_matrices(unsigned (&words)[4], const char* row CALL_SITE) {
#ifdef __CUDACC__
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
#else
    uint4 mine = *reinterpret_cast<const uint4*>(row);
    ::emulator::Quad all = ::emulator::load_matrices({{mine.x, mine.y, mine.z, mine.w}}, false, site);
    for (int i = 0; i < 4; ++i) words[i] = all.word[i];
#endif
}

// The same with each matrix transposed, as 8 by 8 elements of 16 bits.
__device__ __forceinline__ void load_matrices_transposed(unsigned (&words)[4], const char* row CALL_SITE) {
#ifdef __CUDACC__
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(row));
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(words[0]), "=r"(words[1]), "=r"(words[2]), "=r"(words[3])
                 : "r"(address)
                 : "memory");
#else
    uint4 mine = *reinterpret_cast<const uint4*>(row);
    ::emulator::Quad all = ::emulator::load_matrices({{mine.x, mine.y, mine.z, mine.w}}, true, site);
    for (int i = 0; i < 4; ++i) words[i] = all.word[i];
#endif
}

// f32 rounded to tf32 (10 bits of significand), to nearest, ties away from zero.
__device__ __forceinline__ unsigned to_tf32(float value) {
#ifdef __CUDACC__
    unsigned word;
    asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(word) : "f"(value));
    return word;
#else
    unsigned word = __float_as_uint(value);
    if ((word & 0x7FFFFFFFu) > 0x7F800000u) return 0x7FFFFFFFu;  // NaN
    return (word + 0x1000u) & ~0x1FFFu;
#endif
}

// c += a · b, 16 x 8 results. The depth is 16 for 16-bit elements and 8 for tf32 (T = float).
template <class T>
__device__ __forceinline__ void multiply_matrices(float (&c)[4], const unsigned (&a)[4],
                                                  const unsigned (&b)[2] CALL_SITE);

#ifdef __CUDACC__
#define MMA(T, shape)                                                                                     \
    template <>                                                                                           \
    __device__ __forceinline__ void multiply_matrices<T>(float (&c)[4], const unsigned (&a)[4],           \
                                                         const unsigned (&b)[2]) {                        \
        asm volatile("mma.sync.aligned." shape " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
                     : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])                                     \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));                 \
    }
MMA(__half, "m16n8k16.row.col.f32.f16.f16.f32")
MMA(__nv_bfloat16, "m16n8k16.row.col.f32.bf16.bf16.f32")
MMA(float, "m16n8k8.row.col.f32.tf32.tf32.f32")
#undef MMA
#else
template <class T>
void multiply_matrices(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], ::emulator::Site site) {
    ::emulator::multiply_matrices<T>(c, a, b, site);
}
#endif
