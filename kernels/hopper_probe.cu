// Probes of sm_90a: what the copy engine and the tensor cores do, laid open for tests.
//
// No operation needs these kernels. They exist because everything that uses sm_90a rests on the same few
// readings of the PTX manual: how a swizzled tile lies in shared memory, what im2col copies, what a
// matrix descriptor names, which register holds which result. Each probe does one of these things and
// writes down what came of it; tests/kernels/hopper_probe.rs compares with plain loops, in the emulator
// and, where there is one, on a GPU.
//
//   tile       a 2-d or 3-d tile of 16-bit elements, as it lies in shared memory
//   im2col     the same for an im2col tile
//   product    D = A·B of 64 x k and k x N, k of 128 bytes, for both directions in which either may be stored
//
// One block of 128 threads. Costs do not matter.

#include "include/tma.cuh"
#include "include/wgmma.cuh"
#include "include/params/hopper_probe.h"

namespace {

// Fills `bytes` of dynamic shared memory by `issue`, and waits for them.
template <class F> __device__ __forceinline__ unsigned char* fetch(unsigned bytes, F issue) {
    SHARED(Barrier, arrived, [1]);
    auto* start = dynamic_shared<unsigned char>();
    start += (1024 - shared_address(start) % 1024) % 1024;
    if (threadIdx.x == 0) {
        barrier_init(arrived, 1);
        barrier_init_fence();
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        barrier_arrive_expect(arrived, bytes);
        issue(start, arrived);
    }
    barrier_wait(arrived, 0);
    return start;
}

template <class F> __device__ __forceinline__ void lay_open(const HopperProbeParams& p, uint16_t* out, F issue) {
    if constexpr (!on_sm90a) {
        trap();
    } else {
        auto* tile = reinterpret_cast<const uint16_t*>(fetch(p.bytes, issue));
        for (unsigned i = threadIdx.x; i < p.bytes / 2; i += blockDim.x) out[i] = tile[i];
    }
}

template <class T, int N, Major a_major, Major b_major>
__device__ __forceinline__ void product(const TensorMap& a, const TensorMap& b, float* d) {
    if constexpr (!on_sm90a) {
        trap();
    } else {
        constexpr unsigned part = 64 * 128;
        const unsigned char* tiles = fetch((64 + N) * 128, [&](unsigned char* to, Barrier* arrived) {
            tma_load(to, a, arrived, 0, 0);
            if constexpr (b_major == Major::k) {
                tma_load(to + part, b, arrived, 0, 0);
            } else {
                for (int j = 0; j < N / 64; ++j) tma_load(to + part + j * part, b, arrived, 64 * j, 0);
            }
        });
        const uint64_t left = matrix_descriptor(tiles, part), right = matrix_descriptor(tiles + part, part);
        float acc[N / 2] = {};
        wgmma_fence();
#pragma unroll
        for (unsigned k = 0; k < 4; ++k)
            wgmma<T, N, a_major, b_major>(acc, advance(left, k * (a_major == Major::k ? 32 : 2048)),
                                          advance(right, k * (b_major == Major::k ? 32 : 2048)), k > 0);
        wgmma_commit();
        wgmma_finish(acc);
        const unsigned row = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
#pragma unroll
        for (unsigned r = 0; r < N / 2; ++r)
            d[(row + r / 2 % 2 * 8) * N + r / 4 * 8 + column + r % 2] = acc[r];
    }
}

}  // namespace

extern "C" __global__ void __launch_bounds__(128) hopper_probe_tile2(HopperProbeParams p,
                                                                     const __grid_constant__ TensorMap map,
                                                                     uint16_t* out) {
    lay_open(p, out, [&](void* to, Barrier* arrived) { tma_load(to, map, arrived, p.at[0], p.at[1]); });
}
EXPORT_KERNEL(hopper_probe_tile2);

extern "C" __global__ void __launch_bounds__(128) hopper_probe_tile3(HopperProbeParams p,
                                                                     const __grid_constant__ TensorMap map,
                                                                     uint16_t* out) {
    lay_open(p, out, [&](void* to, Barrier* arrived) { tma_load(to, map, arrived, p.at[0], p.at[1], p.at[2]); });
}
EXPORT_KERNEL(hopper_probe_tile3);

extern "C" __global__ void __launch_bounds__(128) hopper_probe_im2col(HopperProbeParams p,
                                                                      const __grid_constant__ TensorMap map,
                                                                      uint16_t* out) {
    lay_open(p, out, [&](void* to, Barrier* arrived) {
        tma_load_im2col(to, map, arrived, p.at[0], p.at[1], p.at[2], p.at[3], (unsigned short)p.offset[0],
                        (unsigned short)p.offset[1]);
    });
}
EXPORT_KERNEL(hopper_probe_im2col);

#define PRODUCT(name, T, N, a_major, b_major)                                                        \
    extern "C" __global__ void __launch_bounds__(128) hopper_probe_product_##name(                   \
        const __grid_constant__ TensorMap a, const __grid_constant__ TensorMap b, float* d) {        \
        product<T, N, Major::a_major, Major::b_major>(a, b, d);                                      \
    }                                                                                                \
    EXPORT_KERNEL(hopper_probe_product_##name)

PRODUCT(kk_n64_bf16, __nv_bfloat16, 64, k, k);
PRODUCT(kk_n128_f16, __half, 128, k, k);
PRODUCT(kk_n256_bf16, __nv_bfloat16, 256, k, k);
PRODUCT(km_n128_bf16, __nv_bfloat16, 128, k, mn);
PRODUCT(mk_n64_f16, __half, 64, mn, k);
PRODUCT(mm_n256_bf16, __nv_bfloat16, 256, mn, mn);
PRODUCT(kk_n64_tf32, float, 64, k, k);
PRODUCT(kk_n128_tf32, float, 128, k, k);
PRODUCT(kk_n256_tf32, float, 256, k, k);
