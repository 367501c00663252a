// Concatenation along the channels, and its vjp: columns of one matrix copied into columns of another.
//
// Mathematics. to[r, to_start + j] = from[r, from_start + j] for all rows r and j < length. Forward,
// `from` is a part and `to` the whole, one launch for each part; backward they change places.
//
// Shapes. from: [rows, from_width], to: [rows, to_width]. Elements are moved, never computed with, so
// widths, starts and length are counted in units of 16 bytes where all of them are whole, else in
// elements (b32: f32; b16: f16 and bf16).
//
// Method and geometry. A thread moves four units, a block's stride apart, all loads first.
// grid ceil(rows · length / 1024), block 256.
//
// Cost. No FLOPs. Bytes: 2 · rows · length · width.

#include "include/cuda.cuh"
#include "include/params/concat.h"

namespace {

constexpr int THREADS = 256, STEPS = 4;

template <class Unit>
__device__ void copy(const ConcatParams& p, const Unit* __restrict__ from, Unit* __restrict__ to) {
    const unsigned first = blockIdx.x * (THREADS * STEPS) + threadIdx.x;
    Unit units[STEPS];
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        unsigned i = first + step * THREADS, row = i / p.length;
        if (i < p.units) units[step] = from[size_t(row) * p.from_width + p.from_start + (i - row * p.length)];
    }
#pragma unroll
    for (int step = 0; step < STEPS; ++step) {
        unsigned i = first + step * THREADS, row = i / p.length;
        if (i < p.units) to[size_t(row) * p.to_width + p.to_start + (i - row * p.length)] = units[step];
    }
}

}  // namespace

#define CONCAT(suffix, Unit)                                                                      \
    extern "C" __global__ void __launch_bounds__(THREADS)                                         \
    concat_##suffix(ConcatParams p, const Unit* __restrict__ from, Unit* __restrict__ to) {       \
        copy<Unit>(p, from, to);                                                                  \
    }                                                                                             \
    EXPORT_KERNEL(concat_##suffix)

CONCAT(b128, uint4);
CONCAT(b32, uint32_t);
CONCAT(b16, uint16_t);
