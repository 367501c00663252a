// Slabs multiplied by tensor cores (mma.sync): f16, bf16, or f32 rounded to tf32; sums in f32.
//
// `down` × `across` warps divide the tile. One step of the depth is two vectors of a slab that lies along it:
// 16 elements of 16 bits, or 8 of f32. A warp loads the fragments of its rows and columns for a step, then
// makes all products of the two.
//
//   along            ldmatrix: rows of 16 bytes are what a fragment is made of, for either width
//   across, 16 bits  ldmatrix.trans turns 8 depths × 8 rows as they are read
//   across, f32      four-byte loads, since ldmatrix turns 16-bit elements only
//
// The permutation of vectors in a slab (implicit_gemm.cuh) makes all three free of bank conflicts.
#pragma once

#include "implicit_gemm.cuh"
#include "mma.cuh"

template <class A_, class B_, unsigned down, unsigned across> class TensorCore {
public:
    using A = A_;
    using B = B_;
    using T = typename A::Element;
    static constexpr unsigned threads = 32 * down * across, steps = 2;
    // Of a warp, in fragments: 16 rows of A, twice 8 columns of B.
    static constexpr unsigned m = A::extent / down / 16, n = B::extent / across / 16;
    // Steps unrolled. The four-byte loads need an address each: two steps of them run out of registers.
    static constexpr unsigned together = A::along || sizeof(T) == 2 ? steps : 1;

    __device__ __forceinline__ TensorCore() {
        const unsigned warp = threadIdx.x / 32;
        row_ = warp / across * m * 16;
        column_ = warp % across * n * 16;
#pragma unroll
        for (unsigned i = 0; i < m; ++i)
#pragma unroll
            for (unsigned j = 0; j < 2 * n; ++j)
#pragma unroll
                for (unsigned e = 0; e < 4; ++e) sums_[i][j][e] = 0.0f;
    }

    __device__ __forceinline__ void slab(const char* a, const char* b) {
#pragma unroll together
        for (unsigned step = 0; step < steps; ++step) {
            unsigned rows[m][4], columns[n][4];
#pragma unroll
            for (unsigned i = 0; i < m; ++i) fragment<A, true>(rows[i], a, row_ + 16 * i, step);
#pragma unroll
            for (unsigned j = 0; j < n; ++j) fragment<B, false>(columns[j], b, column_ + 16 * j, step);
#pragma unroll
            for (unsigned j = 0; j < n; ++j)
#pragma unroll
                for (unsigned i = 0; i < m; ++i) {
                    const unsigned left[2] = {columns[j][0], columns[j][1]};
                    const unsigned right[2] = {columns[j][2], columns[j][3]};
                    multiply_matrices<T>(sums_[i][2 * j], rows[i], left);
                    multiply_matrices<T>(sums_[i][2 * j + 1], rows[i], right);
                }
        }
    }

    __device__ __forceinline__ void stage(const Staged<A::extent, B::extent>& tile) const {
        const unsigned lane = threadIdx.x % 32;
#pragma unroll
        for (unsigned i = 0; i < m; ++i)
#pragma unroll
            for (unsigned j = 0; j < 2 * n; ++j)
#pragma unroll
                for (unsigned half = 0; half < 2; ++half) {
                    float* pair = &tile(row_ + 16 * i + 8 * half + lane / 4, column_ + 8 * j + lane % 4 * 2);
                    *reinterpret_cast<float2*>(pair) =
                        make_float2(sums_[i][j][2 * half], sums_[i][j][2 * half + 1]);
                }
    }

private:
    // 16 rows (or columns) from `first` on, one step of the depth. Quarters of a fragment of A are ordered rows
    // first, (0-7, 8-15), then depth; those of two neighbouring fragments of B depth first.
    template <class Operand, bool rows_first>
    __device__ __forceinline__ static void fragment(unsigned (&words)[4], const char* slab, unsigned first,
                                                    unsigned step) {
        const unsigned lane = threadIdx.x % 32, matrix = lane / 8;
        const unsigned lower = rows_first ? matrix % 2 : matrix / 2, later = rows_first ? matrix / 2 : matrix % 2;
        if constexpr (Operand::along) {
            const unsigned at = Operand::at(lower * 8 + lane % 8, 2 * step + later);
            load_matrices(words, slab + at + Operand::skip(first / 8));
            if constexpr (sizeof(T) == 4) round_words(words);
        } else if constexpr (sizeof(T) == 2) {
            const unsigned at = Operand::at(later * 8 + lane % 8, first / 8 + lower);
            load_matrices_transposed(words, slab + at + Operand::skip(2 * step));
        } else {
#pragma unroll
            for (unsigned quarter = 0; quarter < 4; ++quarter) {
                const unsigned below = rows_first ? quarter % 2 : quarter / 2;
                const unsigned after = rows_first ? quarter / 2 : quarter % 2;
                const unsigned element = first + 8 * below + lane / 4;
                const unsigned at = Operand::at(lane % 4 + 4 * after, element / 4) + Operand::skip(step);
                const float value = *reinterpret_cast<const float*>(slab + at + element % 4 * 4);
                words[quarter] = to_tf32(value);
            }
        }
    }
    __device__ __forceinline__ static void round_words(unsigned (&words)[4]) {
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) words[i] = to_tf32(__uint_as_float(words[i]));
    }

    unsigned row_, column_;
    float sums_[m][2 * n][4];
};
