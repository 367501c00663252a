// Global average pooling (GAP): the mean of a map over its positions, and its vjp.
//
// Mathematics. y[n, c] = 1/P Σ_i x[n, i, c], and dx[n, i, c] = dy[n, c] / P, with P positions.
//
// Shapes. x, dx: [batch, positions, channels] (NHWC, positions = H·W); y, dy: [batch, channels].
//
// Method. Both directions share one geometry. A block has one image and `columns` vectors of its
// channels (16 bytes each; one element in the `scalar` kernels, for channels that do not divide into
// vectors). Its 256 threads are `columns` wide and 256/columns slices high; slice s has the positions
// s, s + slices, .... Forward, a thread adds up its positions, and the slices are added by a balanced
// tree in shared memory: an order that depends on the map's shape alone, so an image's mean does not
// depend on its batch. Backward, a thread loads dy once and writes its positions.
//   The planner makes slices so that a thread has about 8 positions: 8 slices for 7x7 maps, 1 for 2x2,
// never more than 64, so that a row of the block still covers 64 bytes, two sectors.
//
// Launch. grid batch · ⌈vectors / columns⌉, block 256; static shared memory 256 · 16 bytes (f32) or
// 256 · 32 (f16, bf16).
//
// Cost. Forward batch · positions · channels additions and one read of x; backward one write of dx.
// The rest is smaller by `positions`. Sums are in f32; a result is rounded once.

#include "include/numbers.cuh"
#include "include/tree.cuh"
#include "include/params/global_avg_pool.h"

namespace {

constexpr unsigned threads = 256;

// A thread's place in the geometry above.
template <int size> struct Place {
    unsigned slices, slice, channel;
    size_t image;
    bool inside;

    __device__ explicit Place(const GlobalAvgPoolParams& p)
        : slices(threads / p.columns), slice(threadIdx.x / p.columns),
          channel((blockIdx.x % p.blocks * p.columns + threadIdx.x % p.columns) * size),
          image(blockIdx.x / p.blocks), inside(channel < p.channels) {}
};

template <class T, int size>
__device__ void forward(const GlobalAvgPoolParams& p, const T* __restrict__ x, T* __restrict__ y) {
    const Place<size> place(p);
    float sums[size] = {};
    if (place.inside) {
        const T* column = x + place.image * p.positions * p.channels + place.channel;
#pragma unroll 4
        for (unsigned i = place.slice; i < p.positions; i += place.slices) {
            float values[size];
            load_vector(column + size_t(i) * p.channels, values);
#pragma unroll
            for (int j = 0; j < size; ++j) sums[j] += values[j];
        }
    }
    tree_sum<threads>(sums, p.columns);
    if (place.slice > 0 || !place.inside) return;
#pragma unroll
    for (int j = 0; j < size; ++j) sums[j] /= float(p.positions);
    store_vector(y + place.image * p.channels + place.channel, sums);
}

template <class T, int size>
__device__ void backward(const GlobalAvgPoolParams& p, const T* __restrict__ dy, T* __restrict__ dx) {
    const Place<size> place(p);
    if (!place.inside) return;
    float values[size];
    load_vector(dy + place.image * p.channels + place.channel, values);
#pragma unroll
    for (int j = 0; j < size; ++j) values[j] /= float(p.positions);
    T* column = dx + place.image * p.positions * p.channels + place.channel;
    for (unsigned i = place.slice; i < p.positions; i += place.slices)
        store_vector(column + size_t(i) * p.channels, values);
}

}  // namespace

#define GLOBAL_AVG_POOL(name, direction, T, size)                                              \
    extern "C" __global__ void __launch_bounds__(threads)                                      \
    global_avg_pool_##name(GlobalAvgPoolParams p, const T* __restrict__ from, T* __restrict__ to) { \
        direction<T, size>(p, from, to);                                                       \
    }                                                                                          \
    EXPORT_KERNEL(global_avg_pool_##name)

#define FOR_TYPE(suffix, T)                                               \
    GLOBAL_AVG_POOL(vector_##suffix, forward, T, Vector<T>::size);        \
    GLOBAL_AVG_POOL(scalar_##suffix, forward, T, 1);                      \
    GLOBAL_AVG_POOL(backward_vector_##suffix, backward, T, Vector<T>::size); \
    GLOBAL_AVG_POOL(backward_scalar_##suffix, backward, T, 1)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
