// Kernels with one mistake each in the use of sm_90's barriers, copy engine and matrix products.
// tests/emulator_catches.rs runs them as it does those of planted.cu; nvcc never sees this file.
//
// The copying ones bring two tiles of 8 rows of 64 bf16 each through one stage of shared memory, twice,
// and add up what arrives; the multiplying ones square a 64 x 64 tile. One block of 128 threads, 24 KiB
// of dynamic shared memory.

#include "../include/numbers.cuh"
#include "../include/tma.cuh"
#include "../include/wgmma.cuh"

namespace {

constexpr unsigned tile_bytes = 8 * 128;

struct Barriers {
    Barrier full, empty;
};

void prepare(Barriers& barriers, unsigned readers, bool fence = true) {
    if (threadIdx.x == 0) {
        barrier_init(&barriers.full, 1);
        barrier_init(&barriers.empty, readers);
        if (fence) barrier_init_fence();
    }
    __syncthreads();
}

// Element (row, column) of a swizzled tile.
float element(const __nv_bfloat16* tile, unsigned row, unsigned column) {
    const unsigned chunk = column / 8 ^ row % 8;
    return to_float(tile[row * 64 + chunk * 8 + column % 8]);  // reads what was copied
}

float row_sum(const __nv_bfloat16* stage) {
    float sum = 0.0f;
    if (threadIdx.x < 16)
        for (unsigned column = 0; column < 64; ++column)
            sum += element(stage + threadIdx.x / 8 * 512, threadIdx.x % 8, column);
    return sum;
}

enum class Copying { right, no_wait, few_bytes, many_bytes, no_fence, overwrite, endless, unawaited };

void copy_sums(const TensorMap& map, float* sums, Copying mistake) {
    SHARED(Barriers, barriers, [1]);
    auto* stage = dynamic_shared<__nv_bfloat16>();
    prepare(*barriers, 128, mistake != Copying::no_fence);
    unsigned bytes = 2 * tile_bytes;
    if (mistake == Copying::few_bytes) bytes = tile_bytes;
    if (mistake == Copying::many_bytes) bytes = 3 * tile_bytes;
    const unsigned turns = mistake == Copying::unawaited ? 1 : 2;
    float sum = 0.0f;
    for (unsigned turn = 0; turn < turns; ++turn) {
        if (threadIdx.x == 0) {
            if (mistake != Copying::overwrite) barrier_wait(&barriers->empty, turn % 2 ^ 1);  // of a free stage
            barrier_arrive_expect(&barriers->full, bytes);
            tma_load(stage, map, &barriers->full, 0, int(turn) * 16);
            tma_load(stage + 512, map, &barriers->full, 0, int(turn) * 16 + 8);
        }
        if (mistake == Copying::no_wait) {
            __syncthreads();  // which is not what the copy reports to
        } else if (mistake != Copying::unawaited) {
            barrier_wait(&barriers->full, turn % 2);  // where consumers wait
        }
        if (mistake != Copying::unawaited) sum += row_sum(stage);
        if (mistake != Copying::endless || threadIdx.x != 127) barrier_arrive(&barriers->empty);
    }
    if (threadIdx.x < 16) sums[threadIdx.x] = sum;
}

}  // namespace

#define COPYING(name)                                                                   \
    extern "C" __global__ void planted_copy_##name(const TensorMap map, float* sums) {  \
        copy_sums(map, sums, Copying::name);                                            \
    }                                                                                   \
    EXPORT_KERNEL(planted_copy_##name)
COPYING(right);
COPYING(no_wait);
COPYING(few_bytes);
COPYING(many_bytes);
COPYING(no_fence);
COPYING(overwrite);
COPYING(endless);
COPYING(unawaited);

namespace {

enum class Squaring { right, no_wait, no_wgmma_fence, no_proxy_fence, early_release, another, unawaited };

// D = X·Xᵗ of a 64 x 64 tile that the copy engine brings, or, for the proxy fence, the threads write.
void square(const TensorMap& map, float* d, Squaring mistake) {
    SHARED(Barriers, barriers, [1]);
    auto* tile = dynamic_shared<__nv_bfloat16>();
    const bool by_hand = mistake == Squaring::no_proxy_fence;
    prepare(*barriers, 128);
    if (by_hand) {
        for (unsigned i = threadIdx.x; i < 4096; i += 128) tile[i] = round_to<__nv_bfloat16>(1.0f);
        __syncthreads();  // but the writes are not open to the tensor cores
    } else if (threadIdx.x == 0) {
        barrier_arrive_expect(&barriers->full, 64 * 128);
        for (int part = 0; part < 8; ++part) tma_load(tile + part * 512, map, &barriers->full, 0, part * 8);
    }
    if (!by_hand) barrier_wait(&barriers->full, 0);
    float acc[32] = {};
    const uint64_t operand = matrix_descriptor(tile);
    if (mistake != Squaring::no_wgmma_fence) wgmma_fence();
    for (unsigned k = 0; k < 4; ++k) {
        const uint64_t step = advance(operand, mistake == Squaring::another ? threadIdx.x / 64 * 32 : k * 32);
        wgmma<__nv_bfloat16, 64>(acc, step, step, true);  // all four steps
    }
    wgmma_commit();
    if (mistake == Squaring::early_release) {
        // Hands the tile back while the products may still read it.
        barrier_arrive(&barriers->empty);
        if (threadIdx.x == 0) {
            barrier_wait(&barriers->empty, 0);
            barrier_arrive_expect(&barriers->full, tile_bytes);
            tma_load(tile, map, &barriers->full, 0, 0);  // over the tile
        }
    }
    if (mistake == Squaring::unawaited) return;
    if (mistake != Squaring::no_wait) wgmma_wait<0>();
    const unsigned row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
    for (unsigned r = 0; r < 32; ++r)
        d[(row + r / 2 % 2 * 8) * 64 + r / 4 * 8 + column + r % 2] = acc[r];  // reads the accumulator
    wgmma_wait<0>();
}

}  // namespace

#define SQUARING(name)                                                                \
    extern "C" __global__ void planted_square_##name(const TensorMap map, float* d) { \
        square(map, d, Squaring::name);                                               \
    }                                                                                 \
    EXPORT_KERNEL(planted_square_##name)
SQUARING(right);
SQUARING(no_wait);
SQUARING(no_wgmma_fence);
SQUARING(no_proxy_fence);
SQUARING(early_release);
SQUARING(another);
SQUARING(unawaited);

// Two warps of four exchange numbers at a named barrier; the mistake lets the other two read as well.
extern "C" __global__ void planted_named_barrier(float* y) {
    SHARED(float, numbers, [64]);
    if (threadIdx.x < 64) {
        numbers[threadIdx.x] = float(threadIdx.x);
        named_barrier(1, 64);
        y[threadIdx.x] = numbers[63 - threadIdx.x];
    } else {
        named_barrier(2, 64);
        y[threadIdx.x] = numbers[threadIdx.x - 64];  // mistake: met other warps than the writers
    }
}
EXPORT_KERNEL(planted_named_barrier);
