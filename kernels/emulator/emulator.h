// The CUDA a kernel sees when the host's C++ compiler reads it: qualifiers, indices, vector types,
// barriers, warp operations, integer atomics, shared memory. Kernels reach it through
// include/cuda.cuh. How the emulator runs and what it checks: docs/emulator.md.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#include "float16.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static const
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __grid_constant__

// Functions of the emulator itself: the memory they touch is checked where they say so.
#define EMULATOR_UNCHECKED __attribute__((noinline, no_sanitize("thread")))

struct uint2 { unsigned x, y; };
struct uint3 { unsigned x, y, z; };
struct alignas(16) uint4 { unsigned x, y, z, w; };
struct alignas(8) float2 { float x, y; };
struct alignas(16) float4 { float x, y, z, w; };
inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

namespace emulator {

using Index3 = uint3;

// A place in a kernel's source, for reports.
struct Site {
    const char* file = nullptr;
    int line = 0;
    constexpr Site() = default;
    constexpr Site(const char* file, int line) : file(file), line(line) {}
    bool operator==(const Site& other) const {
        return line == other.line && std::strcmp(file, other.file) == 0;
    }
};
// As a default argument: the place of the call.
#define EMULATOR_SITE ::emulator::Site(__builtin_FILE(), __builtin_LINE())

// What the lanes of one warp operation laid on the table, readable until the last one has read.
struct Exchange {
    unsigned char data[32][64];
    int readers;
};

void block_barrier(Site site);
// Waits until every lane of `mask` has come to the same place with the same mask.
Exchange* warp_exchange(unsigned mask, const void* payload, size_t bytes, bool orders_memory,
                        Site site);
void release(Exchange* exchange);
unsigned lane();

void copy_async(void* shared, const void* global, size_t bytes, size_t filled, Site site);
void copy_commit();
void copy_wait(unsigned pending);

void* dynamic_shared_memory();
void check_atomic(void* address, size_t bytes, const void* code);

// A `SHARED` array: one per declaration, NaN at the start of every block.
class SharedPlace {
public:
    constexpr SharedPlace(size_t bytes, const char* name, Site site)
        : bytes_(bytes), name_(name), site_(site) {}
    void* memory();

private:
    size_t bytes_;
    const char* name_;
    Site site_;
    void* memory_ = nullptr;
    uint64_t block_ = 0;
};

using Invoker = void (*)(void** arguments);
// Makes a kernel known by name; `EXPORT_KERNEL` declares one of these.
struct Registration {
    Registration(const char* name, const char* file, Invoker invoke);
};

template <auto kernel> struct Call;
template <class... P, void (*kernel)(P...)> struct Call<kernel> {
    template <size_t... I> static void unpack(void** arguments, std::index_sequence<I...>) {
        (void)arguments;
        kernel(*static_cast<std::remove_cv_t<P>*>(arguments[I])...);
    }
    static void invoke(void** arguments) { unpack(arguments, std::index_sequence_for<P...>{}); }
};

template <class T> T shuffle(unsigned mask, T value, unsigned from, Site site) {
    Exchange* exchange = warp_exchange(mask, &value, sizeof(T), false, site);
    T result;
    std::memcpy(&result, exchange->data[from & 31], sizeof(T));
    release(exchange);
    return result;
}

template <class T, class F>
EMULATOR_UNCHECKED T atomic(T* address, F next) {
    static_assert(std::is_integral_v<T>, "floating-point atomics would make results depend on order");
    check_atomic(address, sizeof(T), __builtin_return_address(0));
    T old = *address;
    *address = next(old);
    return old;
}

}  // namespace emulator

extern ::emulator::Index3 threadIdx, blockIdx, blockDim, gridDim;
constexpr int warpSize = 32;

inline void __syncthreads(::emulator::Site site = EMULATOR_SITE) { ::emulator::block_barrier(site); }
inline void __syncwarp(unsigned mask = ~0u, ::emulator::Site site = EMULATOR_SITE) {
    ::emulator::release(::emulator::warp_exchange(mask, "", 1, true, site));
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from, ::emulator::Site site = EMULATOR_SITE) {
    return ::emulator::shuffle(mask, value, unsigned(from), site);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int bits, ::emulator::Site site = EMULATOR_SITE) {
    return ::emulator::shuffle(mask, value, ::emulator::lane() ^ unsigned(bits), site);
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned by, ::emulator::Site site = EMULATOR_SITE) {
    unsigned from = ::emulator::lane() + by;
    return ::emulator::shuffle(mask, value, from < 32 ? from : ::emulator::lane(), site);
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned by, ::emulator::Site site = EMULATOR_SITE) {
    unsigned lane = ::emulator::lane();
    return ::emulator::shuffle(mask, value, lane >= by ? lane - by : lane, site);
}
inline unsigned __ballot_sync(unsigned mask, bool vote, ::emulator::Site site = EMULATOR_SITE) {
    ::emulator::Exchange* exchange = ::emulator::warp_exchange(mask, &vote, 1, false, site);
    unsigned votes = 0;
    for (unsigned i = 0; i < 32; ++i)
        if (mask >> i & 1) votes |= unsigned(exchange->data[i][0] != 0) << i;
    ::emulator::release(exchange);
    return votes;
}

template <class T> T atomicAdd(T* a, std::common_type_t<T> v) {
    return ::emulator::atomic(a, [v](T old) { return T(old + v); });
}
template <class T> T atomicMax(T* a, std::common_type_t<T> v) {
    return ::emulator::atomic(a, [v](T old) { return std::max(old, v); });
}
template <class T> T __ldg(const T* address) { return *address; }

inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
inline int __clz(int bits) { return bits ? __builtin_clz(unsigned(bits)) : 32; }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
using std::max;
using std::min;

// A static array in shared memory: SHARED(float, tile, [32][33]);
#define SHARED(type, name, dimensions)                                                      \
    static ::emulator::SharedPlace name##_place(sizeof(type dimensions), #name, EMULATOR_SITE); \
    typedef type name##_array dimensions;                                                   \
    name##_array& name = *static_cast<name##_array*>(name##_place.memory())
