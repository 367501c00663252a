// Kernels with one mistake each, of the kinds people make. tests/emulator_catches.rs runs them and
// asks the emulator to name each mistake and its line; nvcc never sees this file.
//
// All but the last three are meant to reverse 64 numbers: y[i] = x[63 - i], one block of 64 threads.

#include "../include/copy.cuh"
#include "../include/mma.cuh"

extern "C" __global__ void planted_nothing(const float* x, float* y) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
EXPORT_KERNEL(planted_nothing);

extern "C" __global__ void planted_missing_barrier(const float* x, float* y) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    y[threadIdx.x] = tile[63 - threadIdx.x];  // mistake: no barrier before this line
}
EXPORT_KERNEL(planted_missing_barrier);

extern "C" __global__ void planted_missing_warp_barrier(const float* x, float* y) {
    SHARED(float, tile, [64]);
    unsigned warp = threadIdx.x & 32;
    tile[threadIdx.x] = x[63 - threadIdx.x];
    __syncwarp();
    float swapped = tile[warp + (31 ^ (threadIdx.x & 31))];
    tile[threadIdx.x] = swapped;  // mistake: its neighbour may not have read it yet
    __syncwarp();
    y[threadIdx.x] = tile[warp + (31 ^ (threadIdx.x & 31))];
}
EXPORT_KERNEL(planted_missing_warp_barrier);

extern "C" __global__ void planted_missing_wait(const float* x, float* y) {
    SHARED(float4, tile, [16]);
    if (threadIdx.x < 16) copy_async_16(&tile[threadIdx.x], x + 4 * threadIdx.x);
    copy_async_commit();
    copy_async_wait<1>();  // mistake: leaves one group under way, and there is only one
    __syncthreads();
    y[threadIdx.x] = reinterpret_cast<float*>(tile)[63 - threadIdx.x];  // so this may come too early
    copy_async_wait<0>();
}
EXPORT_KERNEL(planted_missing_wait);

extern "C" __global__ void planted_shared_overrun(const float* x, float* y) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x + 1] = x[threadIdx.x];  // mistake: the last thread writes behind the array
    __syncthreads();
    y[threadIdx.x] = tile[64 - threadIdx.x];
}
EXPORT_KERNEL(planted_shared_overrun);

extern "C" __global__ void planted_dynamic_overrun(const float* x, float* y) {
    float* tile = dynamic_shared<float>();
    tile[threadIdx.x] = x[threadIdx.x];  // mistake, if the launch gave fewer than 256 bytes
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
EXPORT_KERNEL(planted_dynamic_overrun);

extern "C" __global__ void planted_out_of_bounds(const float* x, float* y) {
    if (threadIdx.x > 64) return;
    y[64 - threadIdx.x] = x[threadIdx.x];  // mistake: thread 0 writes y[64]
}
EXPORT_KERNEL(planted_out_of_bounds);

extern "C" __global__ void planted_uninitialised(const float* x, float* y) {
    SHARED(float, tile, [64]);
    if (threadIdx.x > 0) tile[threadIdx.x] = x[threadIdx.x];
    __syncthreads();
    y[threadIdx.x] = tile[63 - threadIdx.x];  // mistake: tile[0] was never written
}
EXPORT_KERNEL(planted_uninitialised);

extern "C" __global__ void planted_divergent_barrier(const float* x, float* y) {
    SHARED(float, tile, [64]);
    if (threadIdx.x < 32) {
        tile[threadIdx.x] = x[threadIdx.x];
        __syncthreads();
    } else {
        tile[threadIdx.x] = x[threadIdx.x];
        __syncthreads();  // mistake: not the barrier the other half waits at
    }
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
EXPORT_KERNEL(planted_divergent_barrier);

extern "C" __global__ void planted_early_return(const float* x, float* y) {
    SHARED(float, tile, [64]);
    tile[threadIdx.x] = x[threadIdx.x];
    if (threadIdx.x == 63) return;
    __syncthreads();  // mistake: a barrier after one thread left
    y[threadIdx.x] = tile[63 - threadIdx.x];
}
EXPORT_KERNEL(planted_early_return);

extern "C" __global__ void planted_lost_lane(const float* x, float* y) {
    float value = x[threadIdx.x];
    if (threadIdx.x % 32 == 5) return;
    y[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, value, 31);  // mistake: lane 5 is in the mask and gone
}
EXPORT_KERNEL(planted_lost_lane);

extern "C" __global__ void planted_block_race(const float* x, float* y) {
    y[threadIdx.x] = x[threadIdx.x] + float(blockIdx.x);  // mistake: every block writes the same place
}
EXPORT_KERNEL(planted_block_race);

extern "C" __global__ void planted_livelock(const float* x, float* y) {
    const volatile float* flag = y;
    y[threadIdx.x] = x[threadIdx.x];
    while (flag[threadIdx.x] != -1.0f) {}  // mistake: nobody ever writes -1
}
EXPORT_KERNEL(planted_livelock);

extern "C" __global__ void planted_early_load_matrices(const float* x, float* y) {
    SHARED(float4, tile, [64]);
    copy_async_16_or_zero(&tile[threadIdx.x], x + threadIdx.x % 16 * 4, true);
    copy_async_commit();
    unsigned words[4];
    load_matrices(words, reinterpret_cast<const char*>(&tile[threadIdx.x]));  // mistake: nobody waited
    copy_async_wait<0>();
    y[threadIdx.x] = __uint_as_float(words[0]);
}
EXPORT_KERNEL(planted_early_load_matrices);
