// Barriers of some threads of a block, and between threads and the asynchronous units (sm_90).
//
// A Barrier (mbarrier) lies in shared memory and goes through phases. A phase ends when `arrivals`
// threads have arrived and the bytes announced in it have been copied; its parity is that of its
// number, from 0. Waiting for parity p returns once the phase of that parity has ended: of a new
// barrier, at once for parity 1. What a thread did before it arrived is visible to whoever waited.
#pragma once

#include "cuda.cuh"

#ifndef __CUDACC__
#include "hopper.h"
#endif

// Whether this compilation may use what only sm_90a has. A kernel's body stands in `if constexpr` on it:
// other targets get one that traps, so that one fatbin serves all.
#if !defined(__CUDACC__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
constexpr bool on_sm90a = true;
#else
constexpr bool on_sm90a = false;
#endif

// Ends the launch with an error.
__device__ __forceinline__ void trap() {
#ifdef __CUDACC__
    asm volatile("trap;");
#else
    __builtin_trap();
#endif
}

struct alignas(8) Barrier {
    uint64_t state;
};

#ifdef __CUDACC__
// A pointer as instructions on shared memory take it.
__device__ __forceinline__ unsigned shared_address(const void* pointer) {
    return static_cast<unsigned>(__cvta_generic_to_shared(pointer));
}
#else
using ::emulator::shared_address;
#endif

// One thread, once; other threads may use the barrier after a fence and a block barrier.
__device__ __forceinline__ void barrier_init(Barrier* barrier, unsigned arrivals CALL_SITE) {
#ifdef __CUDACC__
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals) : "memory");
#else
    ::emulator::mbarrier_init(barrier, arrivals, site);
#endif
}

// Makes the barriers this thread initialised known to the copy engine.
__device__ __forceinline__ void barrier_init_fence() {
#ifdef __CUDACC__
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
#else
    ::emulator::mbarrier_init_fence();
#endif
}

__device__ __forceinline__ void barrier_arrive(Barrier* barrier CALL_SITE) {
#ifdef __CUDACC__
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#else
    ::emulator::mbarrier_arrive(barrier, 0, site);
#endif
}

// Arrives, and announces that copies will bring `bytes` in this phase. Before they are issued.
__device__ __forceinline__ void barrier_arrive_expect(Barrier* barrier, unsigned bytes CALL_SITE) {
#ifdef __CUDACC__
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
#else
    ::emulator::mbarrier_arrive(barrier, bytes, site);
#endif
}

__device__ __forceinline__ void barrier_wait(Barrier* barrier, unsigned parity CALL_SITE) {
#ifdef __CUDACC__
    unsigned done;
    do {
        asm volatile(
            "{\n.reg .pred done;\n"
            "mbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
            "selp.b32 %0, 1, 0, done;\n}"
            : "=r"(done)
            : "r"(shared_address(barrier)), "r"(parity)
            : "memory");
    } while (!done);
#else
    ::emulator::mbarrier_wait(barrier, parity, site);
#endif
}

// A block barrier of the `threads` threads (whole warps) that come to the same number, 1 to 15.
__device__ __forceinline__ void named_barrier(unsigned number, unsigned threads CALL_SITE) {
#ifdef __CUDACC__
    asm volatile("bar.sync %0, %1;" ::"r"(number), "r"(threads) : "memory");
#else
    ::emulator::named_barrier(number, threads, site);
#endif
}

// Opens this thread's writes to shared memory to the tensor cores and the copy engine. Before the
// barrier that hands them over.
__device__ __forceinline__ void proxy_fence() {
#ifdef __CUDACC__
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#else
    ::emulator::proxy_fence();
#endif
}
