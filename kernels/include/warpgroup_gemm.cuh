// A matrix product on sm_90a: the copy engine fills stages of shared memory, two warpgroups empty them.
//
// D = A·B. A block of 384 threads makes tiles of 128 x N results, one after the other. The common axis is
// walked in steps of 128 bytes: 64 elements of 16 bits, 32 of f32. A stage holds one step of A and B as
// 128-byte-swizzled rows of 128 bytes. Which way the common axis runs in them may differ: along the bytes of a
// row (K-major), or from row to row (MN-major, 16-bit elements only). wgmma takes either.
//
// Warpgroup 0 gives its registers away; its first thread asks the copy engine for one step after the other.
// Warpgroups 1 and 2 multiply, 64 rows each. Each stage has two barriers: `full` (the copies' bytes have
// come), `empty` (eight warps are done reading). The producer runs ahead over the ends of tiles, so the next
// tile loads while this one is written.
//
// Results leave through shared memory in slices of 32 columns, since registers hold fragments of two
// neighbours and stores should be 16 bytes a thread.
#pragma once

#include "epilogue.cuh"
#include "tma.cuh"
#include "wgmma.cuh"

// Not an unnamed namespace: where the kernels are only traps, the compiler would name all that is unused.
namespace warpgroup_gemm {

inline constexpr unsigned block_threads = 384, tile_rows = 128, group_rows = 64, row_bytes = 128;
inline constexpr unsigned part_bytes = group_rows * row_bytes;  // 64 rows: what one MN-major load brings
inline constexpr unsigned a_bytes = tile_rows * row_bytes;      // of a stage
inline constexpr unsigned consumers = 2, consumer_warps = 8;
inline constexpr unsigned slice = 32, slice_pitch = 40;  // columns; 40 words: no bank conflicts of fragments

// Elements of the common axis in a step.
template <class T> constexpr unsigned step = row_bytes / sizeof(T);

template <unsigned N> struct Shared {
    static constexpr unsigned b_bytes = N * row_bytes, stage_bytes = a_bytes + b_bytes;
    static constexpr unsigned stages = N == 256 ? 4 : N == 128 ? 6 : 8;
    unsigned char a[stages][a_bytes], b[stages][b_bytes];
    float slices[consumers][group_rows * slice_pitch];
    float2 quarters[consumers][4 * slice];  // of statistics
    Barrier full[stages], empty[stages];
};

// Tiles lie on 1 KiB boundaries; dynamic shared memory need not begin on one. All threads come here.
template <unsigned N> __device__ __forceinline__ Shared<N>& shared_stages() {
    auto* start = dynamic_shared<unsigned char>();
    auto& shared = *reinterpret_cast<Shared<N>*>(start + (1024 - shared_address(start) % 1024) % 1024);
    if (threadIdx.x == 0) {
        for (unsigned i = 0; i < Shared<N>::stages; ++i) {
            barrier_init(&shared.full[i], 1);
            barrier_init(&shared.empty[i], consumer_warps);
        }
        barrier_init_fence();
    }
    __syncthreads();
    return shared;
}

// The stage in turn, and the parity of its barriers' phases.
template <unsigned stages> struct Turn {
    unsigned stage = 0, parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == stages) stage = 0, parity ^= 1;
    }
};

// Two warpgroups: multiply what is in the stages. Returns with all stages of the tile given back.
template <class T, unsigned N, Major a_major, Major b_major>
__device__ __forceinline__ void multiply(Shared<N>& shared, Turn<Shared<N>::stages>& turn, unsigned group,
                                         unsigned steps, float (&acc)[N / 2]) {
    // To the next 32 bytes of the common axis: along a row, or 16 rows down.
    constexpr unsigned a_next = a_major == Major::k ? 32 : 16 * row_bytes;
    constexpr unsigned b_next = b_major == Major::k ? 32 : 16 * row_bytes;
    const bool speaks = threadIdx.x % 32 == 0;
    unsigned last = 0;
    for (unsigned i = 0; i < steps; ++i, turn.next()) {
        barrier_wait(&shared.full[turn.stage], turn.parity);
        const uint64_t a = matrix_descriptor(shared.a[turn.stage] + group * part_bytes, part_bytes);
        const uint64_t b = matrix_descriptor(shared.b[turn.stage], part_bytes);
        wgmma_fence();
#pragma unroll
        for (unsigned k = 0; k < row_bytes / 32; ++k)
            wgmma<T, N, a_major, b_major>(acc, advance(a, k * a_next), advance(b, k * b_next), i + k > 0);
        wgmma_commit();
        wgmma_wait<1>();  // the step before this one is done
        if (i > 0 && speaks) barrier_arrive(&shared.empty[last]);
        last = turn.stage;
    }
    wgmma_finish(acc);
    if (steps > 0 && speaks) barrier_arrive(&shared.empty[last]);
}

// Hands the 64 x N results of a warpgroup out by slices: put(i, column, eight values) for rows t/4 (i = 0)
// and 32 + t/4 (i = 1) of thread t, then look(slice, its first column), while the 64 rows of the slice lie in
// shared memory, then, before the next slice is looked at, look.done(first column).
template <unsigned N, class Put, class Look>
__device__ __forceinline__ void scatter(float* staging, unsigned group, const float (&acc)[N / 2], Put put,
                                        Look look) {
    const unsigned t = threadIdx.x % 128;
    float* fragment = staging + (t / 32 * 16 + t % 32 / 4) * slice_pitch + t % 4 * 2;
#pragma unroll
    for (unsigned first = 0; first < N; first += slice) {
#pragma unroll
        for (unsigned r = 0; r < slice / 2; r += 2) {
            const float2 pair = make_float2(acc[first / 2 + r], acc[first / 2 + r + 1]);
            *reinterpret_cast<float2*>(fragment + r / 2 % 2 * 8 * slice_pitch + r / 4 * 8) = pair;
        }
        named_barrier(1 + group, 128);
#pragma unroll
        for (unsigned i = 0; i < 2; ++i) {
            float values[8];
            load_floats(staging + (i * 32 + t / 4) * slice_pitch + t % 4 * 8, values);
            put(i, first + t % 4 * 8, values);
        }
        look(staging, first);
        named_barrier(1 + group, 128);
        look.done(first);
    }
}

// Mean and Σ (y - mean)² of the columns of a warpgroup's rows, as they are stored: epilogue.cuh. A thread
// takes 16 rows of a column; the first warp joins the four quarters, in their order.
template <class T> struct ColumnStatistics {
    float* out;  // of this tile: two floats for each of its columns; null: nothing is done
    const T* bias;
    unsigned rows, columns;  // that are there
    float2* quarters;

    __device__ __forceinline__ float count(unsigned quarter) const {
        return rows > 16 * quarter ? float(min(rows - 16 * quarter, 16u)) : 0.0f;
    }
    __device__ __forceinline__ void operator()(const float* staging, unsigned first) const {
        const unsigned column = threadIdx.x % 32, quarter = threadIdx.x % 128 / 32;
        if (!out || first + column >= columns) return;
        const float more = bias ? to_float(bias[first + column]) : 0.0f, n = count(quarter);
        float values[16], sum = 0.0f, squares = 0.0f;
#pragma unroll
        for (unsigned i = 0; i < 16; ++i) {
            const float value = staging[(16 * quarter + i) * slice_pitch + column];
            values[i] = to_float(round_to<T>(value + more));
            if (float(i) < n) sum += values[i];
        }
        const float mean = sum / fmaxf(n, 1.0f);
#pragma unroll
        for (unsigned i = 0; i < 16; ++i)
            if (float(i) < n) squares = fmaf(values[i] - mean, values[i] - mean, squares);
        quarters[threadIdx.x % 128] = make_float2(mean, squares);
    }
    __device__ __forceinline__ void done(unsigned first) const {
        const unsigned column = threadIdx.x % 128;
        if (!out || column >= slice || first + column >= columns) return;
        Moments all{0.0f, 0.0f, 0.0f};
#pragma unroll
        for (unsigned quarter = 0; quarter < 4; ++quarter) {
            const float2 found = quarters[quarter * slice + column];
            all.join({count(quarter), found.x, found.y});
        }
        *reinterpret_cast<float2*>(out + 2 * (first + column)) = make_float2(all.mean, all.squares);
    }
};

}  // namespace warpgroup_gemm
