// Asynchronous copies from global to shared memory (cp.async, sm_80 and later).
//
// The copy runs beside the thread that issued it: its target may be touched only after
// `copy_async_wait` by that thread, and by other threads only after a barrier beyond that.
#pragma once

#include "cuda.cuh"

// 16 bytes, both addresses on 16-byte boundaries. Bypasses L1 (cp.async.cg).
__device__ __forceinline__ void copy_async_16(void* shared, const void* global CALL_SITE) {
#ifdef __CUDACC__
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(address), "l"(global) : "memory");
#else
    ::emulator::copy_async(shared, global, 16, 16, site);
#endif
}

// 16 bytes, or 16 zero bytes where `there` is false; `global` is an address of the buffer either way.
__device__ __forceinline__ void copy_async_16_or_zero(void* shared, const void* global, bool there CALL_SITE) {
#ifdef __CUDACC__
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int filled = there ? 16 : 0;
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(address), "l"(global), "r"(filled)
                 : "memory");
#else
    ::emulator::copy_async(shared, global, 16, there ? 16 : 0, site);
#endif
}

// The same for 4 bytes, through L1 (cp.async.ca).
__device__ __forceinline__ void copy_async_4_or_zero(void* shared, const void* global, bool there CALL_SITE) {
#ifdef __CUDACC__
    unsigned address = static_cast<unsigned>(__cvta_generic_to_shared(shared));
    int filled = there ? 4 : 0;
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(address), "l"(global), "r"(filled)
                 : "memory");
#else
    ::emulator::copy_async(shared, global, 4, there ? 4 : 0, site);
#endif
}

// Closes a group: the copies this thread issued since the last one.
__device__ __forceinline__ void copy_async_commit() {
#ifdef __CUDACC__
    asm volatile("cp.async.commit_group;" ::: "memory");
#else
    ::emulator::copy_commit();
#endif
}

// Waits until at most `pending` groups of this thread, the youngest ones, are still under way.
template <int pending> __device__ __forceinline__ void copy_async_wait() {
#ifdef __CUDACC__
    asm volatile("cp.async.wait_group %0;" ::"n"(pending) : "memory");
#else
    ::emulator::copy_wait(pending);
#endif
}
