// What the wrappers of include/barrier.cuh, include/tma.cuh and include/wgmma.cuh call in the emulator.
#pragma once

#include "emulator.h"

struct TensorMapParams;

namespace emulator {

// barriers.cpp
void mbarrier_init(void* barrier, unsigned arrivals, Site site);
void mbarrier_init_fence();
// `bytes`: what bulk copies will bring in this phase, told before the arrival counts.
void mbarrier_arrive(void* barrier, unsigned bytes, Site site);
void mbarrier_wait(void* barrier, unsigned parity, Site site);
void named_barrier(unsigned id, unsigned threads, Site site);
void proxy_fence();

// bulk.cpp: coordinates and, for im2col maps, offsets come as in PTX, the innermost axis first.
void bulk_load(void* shared, const TensorMapParams* map, void* barrier, unsigned rank,
               const int* coordinates, const unsigned short* offsets, Site site);

// wgmma.cpp
struct MatrixKind {
    unsigned n;
    enum { bf16, f16, tf32 } element;
    bool a_transposed, b_transposed;
    bool operator==(const MatrixKind& other) const {
        return n == other.n && element == other.element && a_transposed == other.a_transposed &&
               b_transposed == other.b_transposed;
    }
};
// The address of dynamic shared memory as instructions take it: from its start.
unsigned shared_address(const void* pointer);
void matrix_fence();
void matrix_multiply(MatrixKind kind, float* accumulator, uint64_t a, uint64_t b, bool accumulate, Site site);
void matrix_commit();
void matrix_wait(unsigned pending);

}  // namespace emulator
