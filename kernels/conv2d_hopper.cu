// Convolution on the tensor cores of sm_90a: implicit GEMM with the copy engine and wgmma.
//
// Mathematics. With x [N, H, W, C], filters w [K, R, S, C], dy like y [N, P, Q, K], stride σ, padding π,
// dilation δ:
//   fprop   y[n, p, q, k]  = Σ_rsc x[n, σp + δr − π, σq + δs − π, c] · w[k, r, s, c]  (+ b[k] + z[n, p, q, k], ReLU)
//   dgrad   dx[n, h, w, c] = Σ_rsk dy[n, (h + π − δr)/σ, (w + π − δs)/σ, k] · w[k, r, s, c], where σ divides
//   wgrad   dw[k, r, s, c] = Σ_npq dy[n, p, q, k] · x[n, σp + δr − π, σq + δs − π, c]
// Elements are bf16 or f16; products are exact, sums are f32; each result is rounded once.
//
// Products. Each pass is D = A·B with the common axis cut into steps of 64 (128 bytes):
//            rows of D           columns    a step of the common axis
//   fprop    pixels of y         k          a tap, 64 channels of x
//   dgrad    pixels of dx        c          a tap, 64 channels of dy
//   wgrad    k                   c of a tap 64 pixels of y
// No matrix of A or B exists. The copy engine gathers their tiles: pixels of a tap by im2col maps, whose
// zeros beyond the border are the padding; filters by 3-d tiles [k][tap][c]. All tiles are rows of 128
// bytes, 128-byte swizzled. What differs is which way the common axis runs in them: along the bytes of
// a row (K-major: x and dy of fprop and dgrad, w of fprop) or from row to row (MN-major: w of dgrad, both
// of wgrad). wgmma takes either, so nothing is transposed anywhere.
//
// Strided dgrad. Pixels (h, w) of one residue class modulo σ see the same taps, those with σ | h + π − δr,
// and their dy lie one pixel apart: a class is a convolution of stride 1 with some of the taps, written
// to every σ-th pixel. One launch for each class, none of whose products is with an inserted zero. A
// class without taps is filled with zeros.
//
// Blocks. 384 threads, one block a multiprocessor, which walks over tiles of 128 x N results (N = 64,
// 128, 256) until there are none. Warpgroup 0 gives its registers away; its first thread keeps the copy
// engine busy. Warpgroups 1 and 2 multiply, 64 rows each. Between them are stages of shared memory with
// two mbarriers each: `full` (the copies' bytes have come), `empty` (eight warps are done reading). The
// producer runs ahead over the ends of tiles, so the next tile loads while this one is written.
// Results leave through shared memory in slices of 32 columns: registers hold fragments, and stores are
// 16 bytes a thread.
//
// Split-K. wgrad has few results and a long common axis: its steps are divided among `splits` tiles,
// which write f32 parts [split][k][tap][c]; conv2d_hopper_sum adds them in order of the splits. There are
// no atomics, and two runs are equal bit for bit.
//
// Cost. FLOPs: 2·N·P·Q·K·R·S·C for each pass. Bytes from DRAM, at least: x, w and y once each. From L2: for
// each tile and step (128 + N)·128 bytes, that is, 128·N·64·2 FLOPs for (128 + N)·128 bytes: 43 FLOPs a
// byte at N = 64, 64 at 128, 85 at 256. wgrad adds 8 bytes a split and filter element, in f32.
//
// Everything said here of sm_90a (layouts, descriptors, im2col, which waits order what) is our reading
// of the PTX manual, agrees with the emulator, which has the same reading, and waits for a GPU.

#include "include/numbers.cuh"
#include "include/tma.cuh"
#include "include/wgmma.cuh"
#include "include/params/conv2d_hopper.h"

// Not an unnamed namespace: where the kernels are only traps, the compiler would name all that is unused.
namespace conv2d_hopper {

inline constexpr unsigned tile_rows = 128, step = 64, row_bytes = 128;
inline constexpr unsigned part_bytes = 64 * row_bytes;        // what one MN-major load brings
inline constexpr unsigned a_bytes = tile_rows * row_bytes;    // of a stage
inline constexpr unsigned consumers = 2, consumer_warps = 8;
inline constexpr unsigned slice = 32, slice_pitch = 40;       // columns; 40 words: no bank conflicts of fragments
inline constexpr unsigned slice_floats = 64 * slice_pitch;

enum class Pass { fprop, dgrad, wgrad };

// What one tile of a pass is: where its results go, what is summed.
struct Tile {
    unsigned row, column;        // of its first result
    unsigned tap[2];             // wgrad
    unsigned split;              // wgrad
    unsigned first, steps;       // wgrad: steps of 64 pixels; else all taps and channels
};

template <Pass pass, unsigned N> __device__ __forceinline__ Tile tile_of(const Conv2dHopperParams& p, unsigned index) {
    Tile tile{};
    tile.column = index % p.column_tiles * N;
    unsigned rest = index / p.column_tiles;
    if constexpr (pass == Pass::wgrad) {
        tile.tap[1] = rest % p.taps[1], rest /= p.taps[1];
        tile.tap[0] = rest % p.taps[0], rest /= p.taps[0];
        tile.split = rest % p.splits, rest /= p.splits;
        tile.first = tile.split * p.steps_per_split;
        tile.steps = min(p.steps_per_split, p.steps - tile.first);
    } else {
        tile.steps = p.taps[0] * p.taps[1] * p.steps;
    }
    tile.row = rest * tile_rows;
    return tile;
}

// A position of the product's pixels: its image and its base pixel.
struct Pixel {
    int n, h, w;
};

__device__ __forceinline__ Pixel pixel_of(const Conv2dHopperParams& p, unsigned index) {
    const unsigned line = index / p.positions[1], column = index % p.positions[1];
    return {int(line / p.positions[0]), int(line % p.positions[0] * p.stride[0]) + p.lower[0],
            int(column * p.stride[1]) + p.lower[1]};
}

template <unsigned N> struct Shared {
    static constexpr unsigned b_bytes = N * row_bytes, stage_bytes = a_bytes + b_bytes;
    static constexpr unsigned stages = N == 256 ? 4 : N == 128 ? 6 : 8;
    unsigned char a[stages][a_bytes], b[stages][b_bytes];
    float slices[consumers][slice_floats];
    Barrier full[stages], empty[stages];
};

// The stage in turn, and the parity of its barriers' phases.
template <unsigned stages> struct Turn {
    unsigned stage = 0, parity = 0;
    __device__ __forceinline__ void next() {
        if (++stage == stages) stage = 0, parity ^= 1;
    }
};

// One thread: asks for the tiles of every step, as stages become free.
template <Pass pass, unsigned N>
__device__ __forceinline__ void produce(const Conv2dHopperParams& p, const TensorMap& a, const TensorMap& b,
                                        Shared<N>& shared) {
    Turn<Shared<N>::stages> turn;
    tma_prefetch(a);
    tma_prefetch(b);
    for (unsigned index = blockIdx.x; index < p.tiles; index += gridDim.x) {
        const Tile tile = tile_of<pass, N>(p, index);
        unsigned channel = 0, r = 0, s = 0;
        Pixel at = pixel_of(p, tile.row);
        for (unsigned i = 0; i < tile.steps; ++i, turn.next()) {
            unsigned char *to_a = shared.a[turn.stage], *to_b = shared.b[turn.stage];
            Barrier* full = &shared.full[turn.stage];
            barrier_wait(&shared.empty[turn.stage], turn.parity ^ 1);
            barrier_arrive_expect(full, Shared<N>::stage_bytes);
            if constexpr (pass == Pass::wgrad) {
                const unsigned pixel = (tile.first + i) * step;
                at = pixel_of(p, pixel);
                const auto right = (unsigned short)(tile.tap[1] * p.dilation[1]);
                const auto down = (unsigned short)(tile.tap[0] * p.dilation[0]);
                for (unsigned j = 0; j < tile_rows / 64; ++j)
                    tma_load(to_a + j * part_bytes, a, full, int(tile.row + 64 * j), int(pixel));
                for (unsigned j = 0; j < N / 64; ++j)
                    tma_load_im2col(to_b + j * part_bytes, b, full, int(tile.column + 64 * j), at.w, at.h, at.n, right,
                                    down);
            } else {
                const int tap = p.first_tap + int(r) * p.tap_stride[0] + int(s) * p.tap_stride[1];
                tma_load_im2col(to_a, a, full, int(channel * step), at.w, at.h, at.n,
                                (unsigned short)(s * p.dilation[1]), (unsigned short)(r * p.dilation[0]));
                if constexpr (pass == Pass::fprop) {
                    tma_load(to_b, b, full, int(channel * step), tap, int(tile.column));
                } else {
                    for (unsigned j = 0; j < N / 64; ++j)
                        tma_load(to_b + j * part_bytes, b, full, int(tile.column + 64 * j), tap, int(channel * step));
                }
                if (++channel == p.steps) channel = 0, ++s;
                if (s == p.taps[1]) s = 0, ++r;
            }
        }
    }
}

// Two warpgroups: multiply what is in the stages. Returns with all stages of the tile given back.
template <class T, unsigned N, Major a_major, Major b_major>
__device__ __forceinline__ void multiply(Shared<N>& shared, Turn<Shared<N>::stages>& turn, unsigned group,
                                         unsigned steps, float (&acc)[N / 2]) {
    // To the next 16 of the common axis: along a row, or 16 rows down.
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
        for (unsigned k = 0; k < step / 16; ++k)
            wgmma<T, N, a_major, b_major>(acc, advance(a, k * a_next), advance(b, k * b_next), i + k > 0);
        wgmma_commit();
        wgmma_wait<1>();  // the step before this one is done
        if (i > 0 && speaks) barrier_arrive(&shared.empty[last]);
        last = turn.stage;
    }
    wgmma_finish(acc);
    if (steps > 0 && speaks) barrier_arrive(&shared.empty[last]);
}

// Hands the 64 x N results of a warpgroup out as put(i, column, eight values), row after row by slices:
// thread t gets rows t/4 (i = 0) and 32 + t/4 (i = 1).
template <unsigned N, class F>
__device__ __forceinline__ void scatter(float* staging, unsigned group, const float (&acc)[N / 2], F put) {
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
            const float* from = staging + (i * 32 + t / 4) * slice_pitch + t % 4 * 8;
            const float4 low = *reinterpret_cast<const float4*>(from);
            const float4 high = *reinterpret_cast<const float4*>(from + 4);
            float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
            put(i, first + t % 4 * 8, values);
        }
        named_barrier(1 + group, 128);
    }
}

// Where the channels of position `index` begin in the output.
__device__ __forceinline__ size_t output_of(const Conv2dHopperParams& p, unsigned index) {
    const unsigned line = index / p.positions[1], q = index % p.positions[1];
    const unsigned n = line / p.positions[0], row = line % p.positions[0];
    const size_t image = size_t(n) * p.output[0] + p.output_first[0] + row * p.output_stride[0];
    return (image * p.output[1] + p.output_first[1] + q * p.output_stride[1]) * p.columns;
}

template <class T, unsigned N>
__device__ __forceinline__ void write_pixels(const Conv2dHopperParams& p, const Tile& tile, Shared<N>& shared,
                                             unsigned group, const float (&acc)[N / 2], const T* bias,
                                             const T* residual, T* y) {
    const unsigned row = tile.row + group * 64 + threadIdx.x % 128 / 4;
    const size_t pixel[2] = {output_of(p, row), output_of(p, row + 32)};
    scatter<N>(shared.slices[group], group, acc, [&](unsigned i, unsigned column, float (&values)[8]) {
        column += tile.column;
        if (row + 32 * i >= p.rows || column >= p.columns) return;
        Pack<T, 8> pack;
        float more[8];
        if (bias) {
            pack.load(bias + column);
            pack.unpack(more);
#pragma unroll
            for (int j = 0; j < 8; ++j) values[j] += more[j];
        }
        if (residual) {
            pack.load(residual + pixel[i] + column);
            pack.unpack(more);
#pragma unroll
            for (int j = 0; j < 8; ++j) values[j] += more[j];
        }
        if (p.relu) {
#pragma unroll
            for (int j = 0; j < 8; ++j) values[j] = values[j] < 0.0f ? 0.0f : values[j];
        }
        pack.pack(values);
        pack.store(y + pixel[i] + column);
    });
}

template <unsigned N>
__device__ __forceinline__ void write_filters(const Conv2dHopperParams& p, const Tile& tile, Shared<N>& shared,
                                              unsigned group, const float (&acc)[N / 2], float* parts) {
    const unsigned row = tile.row + group * 64 + threadIdx.x % 128 / 4;
    const unsigned tap = tile.tap[0] * p.taps[1] + tile.tap[1], taps = p.taps[0] * p.taps[1];
    scatter<N>(shared.slices[group], group, acc, [&](unsigned i, unsigned column, float (&values)[8]) {
        column += tile.column;
        if (row + 32 * i >= p.rows || column >= p.columns) return;
        const size_t filter = size_t(tile.split) * p.rows + row + 32 * i;
        float* to = parts + (filter * taps + tap) * p.columns + column;
        *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
        *reinterpret_cast<float4*>(to + 4) = make_float4(values[4], values[5], values[6], values[7]);
    });
}

// Tiles lie on 1 KiB boundaries; dynamic shared memory need not begin on one.
template <unsigned N> __device__ __forceinline__ Shared<N>& shared_stages() {
    auto* start = dynamic_shared<unsigned char>();
    return *reinterpret_cast<Shared<N>*>(start + (1024 - shared_address(start) % 1024) % 1024);
}

template <class T, unsigned N, Pass pass, class Out>
__device__ __forceinline__ void convolve(const Conv2dHopperParams& p, const TensorMap& a, const TensorMap& b,
                                         const T* bias, const T* residual, Out* out) {
    if constexpr (!on_sm90a) {
        trap();
    } else {
        constexpr Major a_major = pass == Pass::wgrad ? Major::mn : Major::k;
        constexpr Major b_major = pass == Pass::fprop ? Major::k : Major::mn;
        Shared<N>& shared = shared_stages<N>();
        if (threadIdx.x == 0) {
            for (unsigned i = 0; i < Shared<N>::stages; ++i) {
                barrier_init(&shared.full[i], 1);
                barrier_init(&shared.empty[i], consumer_warps);
            }
            barrier_init_fence();
        }
        __syncthreads();
        if (threadIdx.x < 128) {
            lower_registers<40>();
            if (threadIdx.x == 0) produce<pass, N>(p, a, b, shared);
        } else {
            raise_registers<232>();
            const unsigned group = threadIdx.x / 128 - 1;
            Turn<Shared<N>::stages> turn;
            for (unsigned index = blockIdx.x; index < p.tiles; index += gridDim.x) {
                const Tile tile = tile_of<pass, N>(p, index);
                float acc[N / 2] = {};
                multiply<T, N, a_major, b_major>(shared, turn, group, tile.steps, acc);
                if constexpr (pass == Pass::wgrad) {
                    write_filters<N>(p, tile, shared, group, acc, out);
                } else {
                    write_pixels<T, N>(p, tile, shared, group, acc, bias, residual, out);
                }
            }
        }
    }
}

// Eight elements a thread: the sum of their parts, in order.
template <class T>
__device__ __forceinline__ void sum_parts(unsigned long long elements, unsigned splits, const float* parts, T* out) {
    const size_t first = (size_t(blockIdx.x) * blockDim.x + threadIdx.x) * 8;
    if (first >= elements) return;
    float sums[8] = {};
    for (unsigned split = 0; split < splits; ++split) {
        const float* part = parts + split * elements + first;
        const float4 low = *reinterpret_cast<const float4*>(part), high = *reinterpret_cast<const float4*>(part + 4);
        const float values[8] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
        for (int j = 0; j < 8; ++j) sums[j] += values[j];
    }
    constexpr int width = 16 / sizeof(T);
#pragma unroll
    for (int j = 0; j < 8; j += width) {
        float values[width];
#pragma unroll
        for (int e = 0; e < width; ++e) values[e] = sums[j + e];
        Pack<T, width> pack;
        pack.pack(values);
        pack.store(out + first + j);
    }
}

}  // namespace conv2d_hopper

using namespace conv2d_hopper;

#define CONVOLVE(pass, suffix, T, N)                                                                    \
    extern "C" __global__ void __launch_bounds__(384, 1) conv2d_hopper_##pass##_n##N##_##suffix(        \
        Conv2dHopperParams p, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, \
        const T* __restrict__ bias, const T* __restrict__ residual, T* __restrict__ y) {                \
        convolve<T, N, Pass::pass>(p, a, b, bias, residual, y);                                         \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_hopper_##pass##_n##N##_##suffix)

#define WGRAD(suffix, T, N)                                                                             \
    extern "C" __global__ void __launch_bounds__(384, 1) conv2d_hopper_wgrad_n##N##_##suffix(           \
        Conv2dHopperParams p, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, \
        float* __restrict__ parts) {                                                                    \
        convolve<T, N, Pass::wgrad, float>(p, a, b, nullptr, nullptr, parts);                           \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_hopper_wgrad_n##N##_##suffix)

#define SUM(suffix, T)                                                                                  \
    extern "C" __global__ void __launch_bounds__(256) conv2d_hopper_sum_##suffix(                       \
        Conv2dHopperSumParams p, const float* __restrict__ parts, T* __restrict__ out) {                \
        sum_parts<T>(p.elements, p.splits, parts, out);                                                 \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_hopper_sum_##suffix)

CONVOLVE(fprop, bf16, __nv_bfloat16, 64);
CONVOLVE(fprop, bf16, __nv_bfloat16, 128);
CONVOLVE(fprop, bf16, __nv_bfloat16, 256);
CONVOLVE(fprop, f16, __half, 64);
CONVOLVE(fprop, f16, __half, 128);
CONVOLVE(fprop, f16, __half, 256);
CONVOLVE(dgrad, bf16, __nv_bfloat16, 64);
CONVOLVE(dgrad, bf16, __nv_bfloat16, 128);
CONVOLVE(dgrad, bf16, __nv_bfloat16, 256);
CONVOLVE(dgrad, f16, __half, 64);
CONVOLVE(dgrad, f16, __half, 128);
CONVOLVE(dgrad, f16, __half, 256);
WGRAD(bf16, __nv_bfloat16, 64);
WGRAD(bf16, __nv_bfloat16, 128);
WGRAD(bf16, __nv_bfloat16, 256);
WGRAD(f16, __half, 64);
WGRAD(f16, __half, 128);
WGRAD(f16, __half, 256);
SUM(bf16, __nv_bfloat16);
SUM(f16, __half);
SUM(f32, float);
