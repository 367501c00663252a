// Matrix products of a warpgroup on the tensor cores (wgmma, sm_90a): D = A·B + D.
//
// A warpgroup is 128 threads from a multiple of 128. D has 64 rows and N columns in f32; thread t of the
// warpgroup holds N/2 of them: register r is row 16·(t/32) + t%32/4 + 8·(r/2%2), column
// 8·(r/4) + 2·(t%4) + r%2. A (64 x k) and B (k x N) lie in shared memory, k is 32 bytes: 16 elements of
// bf16 or f16, 8 of f32, whose low 13 bits are passed over (tf32). Both are named by descriptors of
// 128-byte-swizzled tiles, as TMA writes them:
//   K-major   rows are rows of A or columns of B, 128 bytes of k each; to step along k, advance the
//             descriptor by 32 bytes.
//   MN-major  rows are steps of k, 64 rows of A or columns of B each (the operand is stored transposed);
//             to step along k by 16, advance by 16 rows, 2048 bytes. Elements of 16 bits only.
//
// The products run beside the threads. wgmma_fence comes before the first of a batch, wgmma_commit
// after the last; registers of D and tiles are free again after the wgmma_wait that covers the batch.
#pragma once

#include "barrier.cuh"

// How an operand lies in shared memory.
enum class Major { k, mn };

// The operand that begins at `tile`: groups of 8 rows lie `stride` bytes apart; of an MN-major operand,
// 64 elements and the next 64 lie `leading` bytes apart.
__device__ __forceinline__ uint64_t matrix_descriptor(const void* tile, unsigned leading = 16, unsigned stride = 1024) {
    constexpr uint64_t swizzle_128 = uint64_t(1) << 62;
    const uint64_t start = shared_address(tile) >> 4 & 0x3FFF;
    return swizzle_128 | uint64_t(stride >> 4) << 32 | uint64_t(leading >> 4) << 16 | start;
}

// The same operand, `bytes` further on.
__device__ __forceinline__ uint64_t advance(uint64_t descriptor, unsigned bytes) { return descriptor + (bytes >> 4); }

__device__ __forceinline__ void wgmma_fence() {
#ifdef __CUDACC__
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#else
    ::emulator::matrix_fence();
#endif
}

__device__ __forceinline__ void wgmma_commit() {
#ifdef __CUDACC__
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#else
    ::emulator::matrix_commit();
#endif
}

// Waits until at most `pending` batches, the youngest ones, are still running.
template <int pending> __device__ __forceinline__ void wgmma_wait() {
#ifdef __CUDACC__
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(pending) : "memory");
#else
    ::emulator::matrix_wait(pending);
#endif
}

// Waits for all batches, after which `d` may be used: the compiler must not read it earlier.
template <int registers> __device__ __forceinline__ void wgmma_finish(float (&d)[registers]) {
    wgmma_wait<0>();
#ifdef __CUDACC__
#pragma unroll
    for (int r = 0; r < registers; ++r) asm volatile("" : "+f"(d[r])::"memory");
#else
    (void)d;
#endif
}

// More or fewer registers for each thread of this warpgroup, a multiple of 8.
template <int registers> __device__ __forceinline__ void raise_registers() {
#ifdef __CUDACC__
    asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(registers));
#endif
}
template <int registers> __device__ __forceinline__ void lower_registers() {
#ifdef __CUDACC__
    asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(registers));
#endif
}

#ifdef __CUDACC__

// Operands 0 to n-1 as text, and as constraints on d[0] to d[n-1].
#define WGMMA_FIVE(tens, a, b, c, d, e) \
    "%" tens #a ", %" tens #b ", %" tens #c ", %" tens #d ", %" tens #e ", "
#define WGMMA_TEN(tens) WGMMA_FIVE(tens, 0, 1, 2, 3, 4) WGMMA_FIVE(tens, 5, 6, 7, 8, 9)
#define WGMMA_30 WGMMA_TEN("") WGMMA_TEN("1") WGMMA_TEN("2")
#define WGMMA_60 WGMMA_30 WGMMA_TEN("3") WGMMA_TEN("4") WGMMA_TEN("5")
#define WGMMA_120 \
    WGMMA_60 WGMMA_TEN("6") WGMMA_TEN("7") WGMMA_TEN("8") WGMMA_TEN("9") WGMMA_TEN("10") WGMMA_TEN("11")
#define WGMMA_TEXT_32 WGMMA_30 "%30, %31"
#define WGMMA_TEXT_64 WGMMA_60 "%60, %61, %62, %63"
#define WGMMA_TEXT_128 WGMMA_120 WGMMA_FIVE("12", 0, 1, 2, 3, 4) "%125, %126, %127"
#define WGMMA_4(i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3])
#define WGMMA_16(i) WGMMA_4(i), WGMMA_4(i + 4), WGMMA_4(i + 8), WGMMA_4(i + 12)
#define WGMMA_OPERANDS_32 WGMMA_16(0), WGMMA_16(16)
#define WGMMA_OPERANDS_64 WGMMA_OPERANDS_32, WGMMA_16(32), WGMMA_16(48)
#define WGMMA_OPERANDS_128 WGMMA_OPERANDS_64, WGMMA_16(64), WGMMA_16(80), WGMMA_16(96), WGMMA_16(112)

// a_, b_: numbers of the operands that are descriptors; s_: whether D is added to; turns: whether the operands
// are transposed, where the instruction asks.
#define WGMMA_ASM(shape, type, count, a_, b_, s_, turns)                                                     \
    asm volatile("{\n.reg .pred add;\nsetp.ne.b32 add, %" s_ ", 0;\n"                                        \
                 "wgmma.mma_async.sync.aligned." shape ".f32." type "." type " {" WGMMA_TEXT_##count "}, %" a_ \
                 ", %" b_ ", add, 1, 1" turns ";\n}"                                                         \
                 : WGMMA_OPERANDS_##count                                                                    \
                 : "l"(a), "l"(b), "r"(int(accumulate)), "n"(int(a_major == Major::mn)), "n"(int(b_major == Major::mn)))

// k: of the instruction; turns(first, second): the text of the two operands.
#define WGMMA_TYPE(k, type, turns)                                                                           \
    if constexpr (N == 64) WGMMA_ASM("m64n64" k, type, 32, "32", "33", "34", turns("35", "36"));             \
    else if constexpr (N == 128) WGMMA_ASM("m64n128" k, type, 64, "64", "65", "66", turns("67", "68"));      \
    else WGMMA_ASM("m64n256" k, type, 128, "128", "129", "130", turns("131", "132"))
#define WGMMA_EITHER_MAJOR(a_, b_) ", %" a_ ", %" b_
#define WGMMA_K_MAJOR(a_, b_) ""

#endif

// One step along k of a batch; `accumulate`: whether D is added to or replaced.
template <class T, int N, Major a_major = Major::k, Major b_major = Major::k>
__device__ __forceinline__ void wgmma(float (&d)[N / 2], uint64_t a, uint64_t b, bool accumulate CALL_SITE) {
    static_assert(N == 64 || N == 128 || N == 256, "columns of a product");
    constexpr bool is_bf16 = std::is_same<T, __nv_bfloat16>::value, is_tf32 = std::is_same<T, float>::value;
    static_assert(is_bf16 || is_tf32 || std::is_same<T, __half>::value, "elements of a product");
    static_assert(!is_tf32 || (a_major == Major::k && b_major == Major::k), "tf32 is not transposed");
#ifdef __CUDACC__
    if constexpr (is_bf16) {
        WGMMA_TYPE("k16", "bf16", WGMMA_EITHER_MAJOR);
    } else if constexpr (is_tf32) {
        WGMMA_TYPE("k8", "tf32", WGMMA_K_MAJOR);
    } else {
        WGMMA_TYPE("k16", "f16", WGMMA_EITHER_MAJOR);
    }
#else
    using Kind = ::emulator::MatrixKind;
    constexpr auto element = is_bf16 ? Kind::bf16 : is_tf32 ? Kind::tf32 : Kind::f16;
    ::emulator::matrix_multiply({N, element, a_major == Major::mn, b_major == Major::mn}, d, a, b, accumulate, site);
#endif
}
