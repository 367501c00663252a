// Convolution on the tensor cores of sm_90a: implicit GEMM with the copy engine and wgmma.
//
// Mathematics. With x [N, H, W, C], filters w [K, R, S, C], dy like y [N, P, Q, K], stride σ, padding π,
// dilation δ:
//   fprop   y[n, p, q, k]  = Σ_rsc x[n, σp + δr − π, σq + δs − π, c] · w[k, r, s, c]  (+ the epilogue)
//   dgrad   dx[n, h, w, c] = Σ_rsk dy[n, (h + π − δr)/σ, (w + π − δs)/σ, k] · w[k, r, s, c], where σ divides
//   wgrad   dw[k, r, s, c] = Σ_npq dy[n, p, q, k] · x[n, σp + δr − π, σq + δs − π, c]
// Elements are bf16, f16, or f32 of which the tensor cores read tf32: the low 13 bits are cut off, not
// rounded. Sums are f32. What happens to them then: include/epilogue.cuh.
//
// Products. Each pass is D = A·B with the common axis cut into steps of 128 bytes, 64 elements of 16 bits:
//            rows of D           columns    a step of the common axis
//   fprop    pixels of y         k          a tap, 64 channels of x
//   dgrad    pixels of dx        c          a tap, 64 channels of dy
//   wgrad    k                   c of a tap 64 pixels of y
// No matrix of A or B exists. The copy engine gathers their tiles: pixels of a tap by im2col maps, whose
// zeros beyond the border are the padding; filters by 3-d tiles [k][tap][c]. Where maps have one pixel and
// filters one tap (a linear layer; a 1x1 convolution of stride 1, planned as such), A is a matrix and its
// tiles are plain 2-d ones. The common axis runs along the rows of x and dy in fprop and dgrad and of w in
// fprop, from row to row of w in dgrad and of both operands of wgrad; 16-bit wgmma takes either, so nothing
// is transposed. That of tf32 does not: dgrad then is fprop's kernel on filters that
// conv2d_hopper_transpose_filters turned, and wgrad is left to mma.sync (conv2d_wgrad.cu).
//
// Strided dgrad. Pixels (h, w) of one residue class modulo σ see the same taps, those with σ | h + π − δr,
// and their dy lie one pixel apart: a class is a convolution of stride 1 with some of the taps, written
// to every σ-th pixel. One launch for each class, none of whose products is with an inserted zero. A
// class without taps is filled with zeros.
//
// Blocks. 384 threads, one block a multiprocessor, which walks over tiles of 128 x N results (N = 64,
// 128, 256), columns fastest, until there are none; how a tile is made: include/warpgroup_gemm.cuh.
//
// Parts. Where tiles are too few to fill the GPU (always in wgrad), the steps of each are divided among
// `parts` tiles, which write f32 sums [part][result]; conv2d_finish adds them in order. There are no atomics,
// and two runs are equal bit for bit.
//
// Cost. FLOPs: 2·N·P·Q·K·R·S·C for each pass. Bytes from DRAM, at least: x, w and y once each. From L2: for
// each tile and step (128 + N)·128 bytes, for 128·N·64·2 FLOPs in 16 bits: 43 FLOPs a byte at N = 64, 64 at
// 128, 85 at 256, half as many in tf32. Parts add 8 bytes each and element of the result.
//
// Everything said here of sm_90a (layouts, descriptors, im2col, which waits order what) is our reading
// of the PTX manual, agrees with the emulator, which has the same reading, and waits for a GPU.

#include "include/warpgroup_gemm.cuh"
#include "include/params/conv2d_hopper.h"

namespace conv2d_hopper {

using namespace warpgroup_gemm;

enum class Pass { fprop, dgrad, wgrad };

// What one tile of a pass is: where its results go, what is summed.
struct Tile {
    unsigned row, column;   // of its first result
    unsigned tap[2];        // wgrad
    unsigned part;
    unsigned first, steps;  // that this part sums
};

template <Pass pass, unsigned N> __device__ __forceinline__ Tile tile_of(const Conv2dHopperParams& p, unsigned index) {
    Tile tile{};
    tile.column = index % p.column_tiles * N;
    unsigned rest = index / p.column_tiles;
    size_t steps = p.steps;
    if constexpr (pass == Pass::wgrad) {
        tile.tap[1] = rest % p.taps[1], rest /= p.taps[1];
        tile.tap[0] = rest % p.taps[0], rest /= p.taps[0];
    } else {
        steps *= p.taps[0] * p.taps[1];
    }
    tile.part = rest % p.parts, rest /= p.parts;
    tile.first = unsigned(steps * tile.part / p.parts);
    tile.steps = unsigned(steps * (tile.part + 1) / p.parts) - tile.first;
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

// 128 bytes of channels from `channel` on, of the pixels that tap (r, s) sees from position `index` on.
__device__ __forceinline__ void load_pixels(const Conv2dHopperParams& p, void* to, const TensorMap& map,
                                            Barrier* full, unsigned channel, unsigned index, const Pixel& at,
                                            unsigned r, unsigned s) {
    if (p.flat) {
        tma_load(to, map, full, int(channel), int(index));
    } else {
        tma_load_im2col(to, map, full, int(channel), at.w, at.h, at.n, (unsigned short)(s * p.dilation[1]),
                        (unsigned short)(r * p.dilation[0]));
    }
}

// One thread: asks for the tiles of every step, as stages become free.
template <class T, Pass pass, unsigned N>
__device__ __forceinline__ void produce(const Conv2dHopperParams& p, const TensorMap& a, const TensorMap& b,
                                        Shared<N>& shared) {
    Turn<Shared<N>::stages> turn;
    tma_prefetch(a);
    tma_prefetch(b);
    for (unsigned index = blockIdx.x; index < p.tiles; index += gridDim.x) {
        const Tile tile = tile_of<pass, N>(p, index);
        unsigned channel = tile.first % p.steps, r = 0, s = 0;
        if (pass != Pass::wgrad && tile.steps > 0) {
            const unsigned tap = tile.first / p.steps;
            r = tap / p.taps[1], s = tap % p.taps[1];
        }
        const Pixel at = pixel_of(p, tile.row);
        for (unsigned i = 0; i < tile.steps; ++i, turn.next()) {
            unsigned char *to_a = shared.a[turn.stage], *to_b = shared.b[turn.stage];
            Barrier* full = &shared.full[turn.stage];
            barrier_wait(&shared.empty[turn.stage], turn.parity ^ 1);
            barrier_arrive_expect(full, Shared<N>::stage_bytes);
            if constexpr (pass == Pass::wgrad) {
                const unsigned pixel = (tile.first + i) * step<T>;
                const Pixel base = pixel_of(p, pixel);
                for (unsigned j = 0; j < tile_rows / 64; ++j)
                    tma_load(to_a + j * part_bytes, a, full, int(tile.row + 64 * j), int(pixel));
                for (unsigned j = 0; j < N / 64; ++j)
                    load_pixels(p, to_b + j * part_bytes, b, full, tile.column + 64 * j, pixel, base, tile.tap[0],
                                tile.tap[1]);
            } else {
                const int tap = p.first_tap + int(r) * p.tap_stride[0] + int(s) * p.tap_stride[1];
                load_pixels(p, to_a, a, full, channel * step<T>, tile.row, at, r, s);
                if constexpr (pass == Pass::fprop) {
                    tma_load(to_b, b, full, int(channel * step<T>), tap, int(tile.column));
                } else {
                    for (unsigned j = 0; j < N / 64; ++j)
                        tma_load(to_b + j * part_bytes, b, full, int(tile.column + 64 * j), tap,
                                 int(channel * step<T>));
                }
                if (++channel == p.steps) channel = 0, ++s;
                if (s == p.taps[1]) s = 0, ++r;
            }
        }
    }
}

// Element of the result at which row `index` of a tile begins.
template <Pass pass>
__device__ __forceinline__ size_t place_of(const Conv2dHopperParams& p, const Tile& tile, unsigned index) {
    const size_t part = size_t(tile.part) * p.elements;
    if constexpr (pass == Pass::wgrad)
        return part + ((size_t(index) * p.taps[0] + tile.tap[0]) * p.taps[1] + tile.tap[1]) * p.columns;
    const unsigned line = index / p.positions[1], q = index % p.positions[1];
    const unsigned n = line / p.positions[0], row = line % p.positions[0];
    const size_t image = size_t(n) * p.output[0] + p.output_first[0] + row * p.output_stride[0];
    return part + (image * p.output[1] + p.output_first[1] + q * p.output_stride[1]) * p.columns;
}

template <class T, unsigned N, Pass pass>
__device__ __forceinline__ void write_tile(const Conv2dHopperParams& p, const Tile& tile, Shared<N>& shared,
                                           unsigned group, const float (&acc)[N / 2], const Epilogue<T>& epilogue,
                                           float* statistics) {
    const unsigned first = tile.row + group * group_rows, row = first + threadIdx.x % 128 / 4;
    const size_t place[2] = {place_of<pass>(p, tile, row), place_of<pass>(p, tile, row + 32)};
    auto put = [&](unsigned i, unsigned column, const float (&values)[8]) {
        constexpr unsigned width = 16 / sizeof(T);
#pragma unroll
        for (unsigned e = 0; e < 8; e += width) {
            const unsigned at = tile.column + column + e;
            if (row + 32 * i >= p.rows || at >= p.columns) return;
            float some[width];
#pragma unroll
            for (unsigned j = 0; j < width; ++j) some[j] = values[e + j];
            epilogue.finish(some, place[i] + at, at);
        }
    };
    ColumnStatistics<T> look{nullptr, nullptr, 0, p.columns - tile.column, shared.quarters[group]};
    if (statistics && first < p.rows) {
        look.out = statistics + 2 * (size_t(first / group_rows) * p.columns + tile.column);
        look.bias = epilogue.bias ? epilogue.bias + tile.column : nullptr;
        look.rows = min(p.rows - first, group_rows);
    }
    scatter<N>(shared.slices[group], group, acc, put, look);
}

template <class T, unsigned N, Pass pass>
__device__ __forceinline__ void convolve(const Conv2dHopperParams& p, const TensorMap& a, const TensorMap& b,
                                         const Epilogue<T>& epilogue, float* statistics) {
    if constexpr (!on_sm90a) {
        trap();
    } else {
        constexpr Major a_major = pass == Pass::wgrad ? Major::mn : Major::k;
        constexpr Major b_major = pass == Pass::fprop ? Major::k : Major::mn;
        Shared<N>& shared = shared_stages<N>();
        if (threadIdx.x < 128) {
            lower_registers<40>();
            if (threadIdx.x == 0) produce<T, pass, N>(p, a, b, shared);
        } else {
            raise_registers<232>();
            const unsigned group = threadIdx.x / 128 - 1;
            Turn<Shared<N>::stages> turn;
            for (unsigned index = blockIdx.x; index < p.tiles; index += gridDim.x) {
                const Tile tile = tile_of<pass, N>(p, index);
                float acc[N / 2] = {};
                multiply<T, N, a_major, b_major>(shared, turn, group, tile.steps, acc);
                write_tile<T, N, pass>(p, tile, shared, group, acc, epilogue, statistics);
            }
        }
    }
}

}  // namespace conv2d_hopper

using namespace conv2d_hopper;

// [k][tap][c] to [c][tap][k]: 32 x 32 elements a block, which 256 threads read and write in vectors of four
// with a pitch of 33 words between, so that neither way meets bank conflicts. grid (c / 32, k / 32, taps).
extern "C" __global__ void __launch_bounds__(256) conv2d_hopper_transpose_filters(
    Conv2dTransposeParams p, const float* __restrict__ w, float* __restrict__ turned) {
    SHARED(float, tile, [32][33]);
    const unsigned line = threadIdx.x / 8, four = threadIdx.x % 8 * 4;
    unsigned k = blockIdx.y * 32 + line, c = blockIdx.x * 32 + four;
    float values[4];
    if (k < p.filters && c < p.channels) {
        load_vector(w + (size_t(k) * p.taps + blockIdx.z) * p.channels + c, values);
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) tile[line][four + i] = values[i];
    }
    __syncthreads();
    k = blockIdx.y * 32 + four, c = blockIdx.x * 32 + line;
    if (k < p.filters && c < p.channels) {
#pragma unroll
        for (unsigned i = 0; i < 4; ++i) values[i] = tile[four + i][line];
        store_vector(turned + (size_t(c) * p.taps + blockIdx.z) * p.filters + k, values);
    }
}
EXPORT_KERNEL(conv2d_hopper_transpose_filters);

#define FPROP(suffix, T, N)                                                                             \
    extern "C" __global__ void __launch_bounds__(block_threads, 1) conv2d_hopper_fprop_n##N##_##suffix( \
        Conv2dHopperParams p, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, \
        const float* __restrict__ scale, const float* __restrict__ shift, const T* __restrict__ bias,   \
        const T* __restrict__ residual, T* __restrict__ y, float* __restrict__ parts,                   \
        float* __restrict__ statistics) {                                                               \
        convolve<T, N, Pass::fprop>(                                                                    \
            p, a, b, {y, parts, scale, shift, bias, residual, p.relu != 0, true, p.columns}, statistics); \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_hopper_fprop_n##N##_##suffix)

#define GRADIENT(pass, suffix, T, N)                                                                    \
    extern "C" __global__ void __launch_bounds__(block_threads, 1) conv2d_hopper_##pass##_n##N##_##suffix( \
        Conv2dHopperParams p, const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, \
        T* __restrict__ result, float* __restrict__ parts) {                                            \
        convolve<T, N, Pass::pass>(p, a, b, Epilogue<T>::plain(result, parts, true, p.columns), nullptr); \
    }                                                                                                   \
    EXPORT_KERNEL(conv2d_hopper_##pass##_n##N##_##suffix)

#define TILES(KERNEL, ...)   \
    KERNEL(__VA_ARGS__, 64);  \
    KERNEL(__VA_ARGS__, 128); \
    KERNEL(__VA_ARGS__, 256)

TILES(FPROP, bf16, __nv_bfloat16);
TILES(FPROP, f16, __half);
TILES(FPROP, tf32, float);
TILES(GRADIENT, dgrad, bf16, __nv_bfloat16);
TILES(GRADIENT, dgrad, f16, __half);
TILES(GRADIENT, wgrad, bf16, __nv_bfloat16);
TILES(GRADIENT, wgrad, f16, __half);
