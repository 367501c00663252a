// Tiles of tensors from global to shared memory by the copy engine (cp.async.bulk.tensor, sm_90).
//
// One thread issues the copy of a whole tile. A TensorMap, made by the host and passed to the kernel by
// value as `const __grid_constant__ TensorMap`, says what the tensor and the tile are, and how the tile
// is swizzled. The copy reports its bytes to a barrier: announce them before (barrier_arrive_expect),
// wait for the barrier before touching the tile. Elements outside the tensor arrive as zeros and count
// as bytes. Coordinates are those of the tile's first element, the innermost axis first; they may be
// negative. The tile lies on a 128-byte boundary, a swizzled one on a 1 KiB boundary.
#pragma once

#include "barrier.cuh"
#include "params/tensor_map.h"

// 128 bytes that mean something to the copy engine only.
struct alignas(64) TensorMap {
#ifdef __CUDACC__
    unsigned char opaque[128];
#else
    TensorMapParams described;
#endif
};

#ifdef __CUDACC__
#define TMA_LOAD "cp.async.bulk.tensor."
#define TMA_TILED ".shared::cluster.global.tile.mbarrier::complete_tx::bytes"
#define TMA_IM2COL ".shared::cluster.global.im2col.mbarrier::complete_tx::bytes"
#endif

// Fetches the map itself, so that the first copy need not wait for it.
__device__ __forceinline__ void tma_prefetch(const TensorMap& map) {
#ifdef __CUDACC__
    asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
#else
    (void)map;
#endif
}

__device__ __forceinline__ void tma_load(void* tile, const TensorMap& map, Barrier* barrier, int x, int y CALL_SITE) {
#ifdef __CUDACC__
    asm volatile(TMA_LOAD "2d" TMA_TILED " [%0], [%1, {%3, %4}], [%2];" ::"r"(shared_address(tile)), "l"(&map),
                 "r"(shared_address(barrier)), "r"(x), "r"(y)
                 : "memory");
#else
    const int at[] = {x, y};
    ::emulator::bulk_load(tile, &map.described, barrier, 2, at, nullptr, site);
#endif
}

__device__ __forceinline__ void tma_load(void* tile, const TensorMap& map, Barrier* barrier, int x, int y,
                                         int z CALL_SITE) {
#ifdef __CUDACC__
    asm volatile(TMA_LOAD "3d" TMA_TILED " [%0], [%1, {%3, %4, %5}], [%2];" ::"r"(shared_address(tile)), "l"(&map),
                 "r"(shared_address(barrier)), "r"(x), "r"(y), "r"(z)
                 : "memory");
#else
    const int at[] = {x, y, z};
    ::emulator::bulk_load(tile, &map.described, barrier, 3, at, nullptr, site);
#endif
}

// Im2col of an NHWC tensor: base pixels from (w, h, n) on, read `right` and `down` pixels further.
__device__ __forceinline__ void tma_load_im2col(void* tile, const TensorMap& map, Barrier* barrier, int c, int w,
                                                int h, int n, unsigned short right, unsigned short down CALL_SITE) {
#ifdef __CUDACC__
    asm volatile(TMA_LOAD "4d" TMA_IM2COL " [%0], [%1, {%3, %4, %5, %6}], [%2], {%7, %8};" ::"r"(shared_address(tile)),
                 "l"(&map), "r"(shared_address(barrier)), "r"(c), "r"(w), "r"(h), "r"(n), "h"(right), "h"(down)
                 : "memory");
#else
    const int at[] = {c, w, h, n};
    const unsigned short offsets[] = {right, down};
    ::emulator::bulk_load(tile, &map.described, barrier, 4, at, offsets, site);
#endif
}
