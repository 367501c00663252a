// The one header every kernel starts from. nvcc reads CUDA's own headers; the host compiler reads
// the emulator's. What differs between the two goes through a wrapper with two bodies, here and in
// the headers beside this one, so that kernels themselves contain no inline PTX and no #ifdef.
#pragma once

#ifdef __CUDACC__

#include <cstdint>
#include <cuda_bf16.h>
#include <cuda_fp16.h>

// A static array in shared memory: SHARED(float, tile, [32][33]);
#define SHARED(type, name, dimensions) __shared__ type name dimensions
// Makes a kernel known to the emulator; nvcc finds it by its extern "C" name.
#define EXPORT_KERNEL(name) static_assert(true, "")
// Last parameter of a wrapper: the place that calls it, for the emulator's reports.
#define CALL_SITE

// Shared memory whose size the launch decides.
template <class T> __device__ __forceinline__ T* dynamic_shared() {
    extern __shared__ __align__(128) unsigned char whatwhere_dynamic_shared[];
    return reinterpret_cast<T*>(whatwhere_dynamic_shared);
}

#else

#include "emulator.h"

#define EXPORT_KERNEL(name)                                        \
    static const ::emulator::Registration name##_registration(    \
        #name, __FILE__, ::emulator::Call<&name>::invoke)

#define CALL_SITE , ::emulator::Site site = EMULATOR_SITE

template <class T> T* dynamic_shared() {
    return static_cast<T*>(::emulator::dynamic_shared_memory());
}

#endif

// As many elements as fit 16 bytes, the widest access of one thread: one LDG.128 or STG.128.
template <class T> struct alignas(16) Vector {
    static constexpr int size = 16 / sizeof(T);
    T element[size];
};
