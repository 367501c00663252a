// Global average pooling and the fully connected layer behind it in one pass: the head of a classifier.
//
// Mathematics. With P positions,
//     m[n, c] = 1/P Σ_i x[n, i, c],   y[n, k] = b[k] + Σ_c w[k, c] · m[n, c],   then max(·, 0) if asked.
//
// Shapes. x: [batch, positions, channels] (NHWC, positions = H·W); w: [outputs, channels]; b: [outputs] or
// null; m: [batch, channels], which the gradient of w needs; y: [batch, outputs].
//
// Method. A block takes up to 4 images, pools them and multiplies what it has on chip with all of w.
//   pooling   A thread takes a vector of channels (16 bytes; one element in the `scalar` kernels) of an
//             image and every `slices`th of its positions; the slices' sums lie in shared memory and are
//             added in their order. Slices are as many as keep the threads busy where channels are
//             few; they depend on the map alone, so an image's mean does not depend on its batch.
//   product   A warp takes every 16th output. Its lanes share the channels, in vectors; each element of w
//             is read once and multiplied with all images of the block. Then lanes join in a tree.
// m is rounded to its storage type before the product, as if it had been read back: with or without this
// kernel the same numbers are multiplied.
//
// Launch. grid ⌈batch / images⌉, block 512; dynamic shared memory slices · 4 · channels · 4 bytes.
//
// Cost. batch · channels · (positions + 2 · outputs) FLOPs. Bytes: x once, m and y once; w once for each
// block, from L2. That is less than a pooling and a product of their own only while w is no longer than a
// few times what the block reads of x: the planner says whether it is. Forms with more outputs than
// that are better off with their own product, whose tiles share w among 64 or 128 images.

#include "include/numbers.cuh"
#include "include/params/gap_linear.h"

namespace {

constexpr unsigned THREADS = 512, WARPS = THREADS / 32, IMAGES = 4;

// Sums of slices, [slices, IMAGES, channels]; in the end the first slice holds the means.
template <class T, int width>
__device__ void pool(const GapLinearParams& p, const T* __restrict__ x, size_t first, unsigned images,
                     float* sums, T* __restrict__ pooled) {
    const unsigned vectors = p.channels / width;
    for (unsigned item = threadIdx.x; item < images * p.slices * vectors; item += THREADS) {
        const unsigned channel = item % vectors * width, slice = item / vectors % p.slices;
        const unsigned image = item / vectors / p.slices;
        const T* column = x + (first + image) * p.positions * p.channels + channel;
        float own[width] = {};
#pragma unroll 8
        for (unsigned i = slice; i < p.positions; i += p.slices) {
            float values[width];
            load_vector(column + size_t(i) * p.channels, values);
#pragma unroll
            for (int c = 0; c < width; ++c) own[c] += values[c];
        }
        float* to = sums + size_t(slice * IMAGES + image) * p.channels + channel;
#pragma unroll
        for (int c = 0; c < width; ++c) to[c] = own[c];
    }
    __syncthreads();
    const unsigned row = IMAGES * p.channels;
    for (unsigned item = threadIdx.x; item < row; item += THREADS) {
        float mean = 0.0f;
        if (item < images * p.channels) {
            for (unsigned slice = 0; slice < p.slices; ++slice) mean += sums[slice * row + item];
            const T rounded = round_to<T>(mean / float(p.positions));
            pooled[first * p.channels + item] = rounded;
            mean = to_float(rounded);
        }
        sums[item] = mean;
    }
    __syncthreads();
}

template <class T, int width>
__device__ void forward(const GapLinearParams& p, const T* __restrict__ x, const T* __restrict__ w,
                        const T* __restrict__ bias, T* __restrict__ pooled, T* __restrict__ y) {
    float* const means = dynamic_shared<float>();
    const size_t first = size_t(blockIdx.x) * p.images;
    const unsigned images = min(p.images, unsigned(p.batch - first));
    pool<T, width>(p, x, first, images, means, pooled);
    const unsigned lane = threadIdx.x % 32;
    for (unsigned k = threadIdx.x / 32; k < p.outputs; k += WARPS) {
        const T* row = w + size_t(k) * p.channels;
        float sums[IMAGES] = {};
        for (unsigned c = lane * width; c < p.channels; c += 32 * width) {
            float weights[width];
            load_vector(row + c, weights);
#pragma unroll
            for (unsigned image = 0; image < IMAGES; ++image) {
#pragma unroll
                for (int part = 0; part < width; part += width < 4 ? 1 : 4) {
                    constexpr int step = width < 4 ? 1 : 4;
                    float values[step];
                    load_vector(means + image * p.channels + c + part, values);
#pragma unroll
                    for (int e = 0; e < step; ++e) sums[image] = fmaf(weights[part + e], values[e], sums[image]);
                }
            }
        }
#pragma unroll
        for (unsigned half = 16; half > 0; half /= 2) {
#pragma unroll
            for (unsigned image = 0; image < IMAGES; ++image)
                sums[image] += __shfl_down_sync(~0u, sums[image], half);
        }
        if (lane > 0) continue;
#pragma unroll
        for (unsigned image = 0; image < IMAGES; ++image) {
            float value = sums[image] + (bias ? to_float(bias[k]) : 0.0f);
            if (p.relu && value < 0.0f) value = 0.0f;
            if (image < images) y[(first + image) * p.outputs + k] = round_to<T>(value);
        }
    }
}

}  // namespace

#define GAP_LINEAR(suffix, T, width)                                                                 \
    extern "C" __global__ void __launch_bounds__(THREADS)                                            \
    gap_linear_##suffix(GapLinearParams p, const T* __restrict__ x, const T* __restrict__ w,         \
                        const T* __restrict__ bias, T* __restrict__ pooled, T* __restrict__ y) {     \
        forward<T, width>(p, x, w, bias, pooled, y);                                                 \
    }                                                                                                \
    EXPORT_KERNEL(gap_linear_##suffix)

GAP_LINEAR(vector_f32, float, 4);
GAP_LINEAR(vector_f16, __half, 8);
GAP_LINEAR(vector_bf16, __nv_bfloat16, 8);
GAP_LINEAR(scalar_f32, float, 1);
GAP_LINEAR(scalar_f16, __half, 1);
GAP_LINEAR(scalar_bf16, __nv_bfloat16, 1);
