// Slabs multiplied by FFMA, in true f32: every product and sum is one fmaf, in the order of the depth.
//
// A thread makes m × n results. A warp's lanes lie 8 across (columns) by 4 (rows), so the 8 lanes of
// one shared-memory phase read one vector of A and 8 neighbouring vectors of B. Operands lie along the
// depth or across it (implicit_gemm.cuh), and what one 16-byte read brings differs:
//   along   four depths of one row: the thread's rows are lane, lane + step, lane + 2 step, ...
//   across  four rows of one depth: the thread's rows come in fours of neighbours.
// Either way a thread reads m + n vectors for 4 m n products.
#pragma once

#include "implicit_gemm.cuh"

template <class A_, class B_, unsigned m, unsigned n> class Ffma {
public:
    using A = A_;
    using B = B_;
    static constexpr unsigned down = A::extent / m, across = B::extent / n, threads = down * across;
    static_assert(down % 8 == 0 && across % 8 == 0 && threads % 32 == 0, "whole warps of 4 by 8 lanes");

    __device__ __forceinline__ Ffma() {
        unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
        row_ = warp / (across / 8) * 4 + lane / 8;
        column_ = warp % (across / 8) * 8 + lane % 8;
#pragma unroll
        for (unsigned i = 0; i < m; ++i)
#pragma unroll
            for (unsigned j = 0; j < n; ++j) sums_[i][j] = 0.0f;
    }

    __device__ __forceinline__ void slab(const char* a, const char* b) {
#pragma unroll 1
        for (unsigned four = 0; four < 4; ++four) {
            float4 rows[m];
            if constexpr (A::along) {
#pragma unroll
                for (unsigned i = 0; i < m; ++i) rows[i] = vector(a, A::at(row_, four) + A::skip(i * down / 8));
            }
            if constexpr (B::along) {
                static_assert(A::along, "B along the depth is read together with A along the depth");
#pragma unroll
                for (unsigned j = 0; j < n; ++j) {
                    float4 column = vector(b, B::at(column_, four) + B::skip(j * across / 8));
#pragma unroll
                    for (unsigned d = 0; d < 4; ++d)
#pragma unroll
                        for (unsigned i = 0; i < m; ++i)
                            sums_[i][j] = fmaf(part(rows[i], d), part(column, d), sums_[i][j]);
                }
            } else {
#pragma unroll
                for (unsigned d = 0; d < 4; ++d) {
                    float4 columns[n / 4];
                    if constexpr (!A::along) across_depth<A, m>(rows, a, 4 * four + d, row_, down);
                    across_depth<B, n>(columns, b, 4 * four + d, column_, across);
#pragma unroll
                    for (unsigned i = 0; i < m; ++i)
#pragma unroll
                        for (unsigned j = 0; j < n; ++j) {
                            float x = A::along ? part(rows[i], d) : part(rows[i / 4], i % 4);
                            sums_[i][j] = fmaf(x, part(columns[j / 4], j % 4), sums_[i][j]);
                        }
                }
            }
        }
    }

    __device__ __forceinline__ void stage(const Staged<A::extent, B::extent>& tile) const {
#pragma unroll
        for (unsigned i = 0; i < m; ++i)
#pragma unroll
            for (unsigned j = 0; j < n; ++j)
                tile(place<A>(i, row_, down), place<B>(j, column_, across)) = sums_[i][j];
    }

private:
    __device__ __forceinline__ static float4 vector(const char* slab, unsigned at) {
        return *reinterpret_cast<const float4*>(slab + at);
    }
    __device__ __forceinline__ static float part(const float4& four, unsigned i) {
        return i == 0 ? four.x : i == 1 ? four.y : i == 2 ? four.z : four.w;
    }
    // The thread's elements of one depth of an operand that lies across.
    template <class Operand, unsigned count>
    __device__ __forceinline__ static void across_depth(float4* fours, const char* slab, unsigned depth,
                                                        unsigned mine, unsigned step) {
#pragma unroll
        for (unsigned f = 0; f < count / 4; ++f)
            fours[f] = vector(slab, Operand::at(depth, mine) + f * step * 16);
    }
    // Row (or column) of the tile that the thread's number i is.
    template <class Operand>
    __device__ __forceinline__ static unsigned place(unsigned i, unsigned mine, unsigned step) {
        if constexpr (Operand::along) return mine + i * step;
        return (mine + i / 4 * step) * 4 + i % 4;
    }

    unsigned row_, column_;
    float sums_[m][n];
};
