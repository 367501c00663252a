// What becomes of the sums of a matrix product on their way to memory; all products share it.
//
//   y[m, k] = f(scale[k] · (Σ + bias[k]) + shift[k] + residual[m, k])
//
// in f32, rounded once; f is the identity or ReLU. Bias, residual and the pair of scale and shift may each
// be left out. Scale and shift are f32: batch normalisation by known statistics is such a pair. Bias and
// residual have the type of y.
//
// Statistics of batch normalisation. With each tile of results, mean and Σ (y - mean)² of each of its
// columns can be left, of y as it is stored: with its bias, rounded. Deviations are taken from the tile's
// own mean, so nothing cancels however far the mean is from 0. Two sets of rows join (Chan, Golub, LeVeque
// 1979) as
//   n = n₁ + n₂, mean = mean₁ + (mean₂ - mean₁)·n₂/n, S = S₁ + S₂ + (mean₂ - mean₁)²·n₁·n₂/n,
// always in the same tree, so two runs agree bit for bit. `conv2d_statistics` joins the tiles.
#pragma once

#include "numbers.cuh"

// f32 values in accesses of 16 bytes at most.
template <unsigned width> __device__ __forceinline__ void load_floats(const float* from, float (&values)[width]) {
    constexpr unsigned four = width < 4 ? width : 4;
#pragma unroll
    for (unsigned e = 0; e < width; e += four) {
        float some[four];
        load_vector(from + e, some);
#pragma unroll
        for (unsigned i = 0; i < four; ++i) values[e + i] = some[i];
    }
}
template <unsigned width> __device__ __forceinline__ void store_floats(const float (&values)[width], float* to) {
    constexpr unsigned four = width < 4 ? width : 4;
#pragma unroll
    for (unsigned e = 0; e < width; e += four) {
        float some[four];
#pragma unroll
        for (unsigned i = 0; i < four; ++i) some[i] = values[e + i];
        store_vector(to + e, some);
    }
}

template <class T> struct Epilogue {
    T* result;
    float* parts;        // not null: f32 sums of this part of the depth go here instead, nothing added
    const float* scale;  // of a column; may be null
    const float* shift;  // not null where scale is not
    const T* bias;       // of a column; may be null
    const T* residual;   // like the result; may be null
    bool relu, wide;
    unsigned columns;  // of the product

    // A product that is its sums and nothing else.
    __device__ __forceinline__ static Epilogue plain(T* result, float* parts, bool wide, unsigned columns) {
        return {result, parts, nullptr, nullptr, nullptr, nullptr, false, wide, columns};
    }

    // Neighbours of one row, the first in `column`, at element `at` of the result.
    template <unsigned width>
    __device__ __forceinline__ void finish(float (&values)[width], size_t at, unsigned column) const {
        if (parts) {
            store_floats(values, parts + at);
            return;
        }
        if (bias) add(values, bias + column);
        if (scale) {
            float factor[width], more[width];
            load_floats(scale + column, factor);
            load_floats(shift + column, more);
#pragma unroll
            for (unsigned e = 0; e < width; ++e) values[e] = fmaf(values[e], factor[e], more[e]);
        }
        if (residual) add(values, residual + at);
        if (relu) {
            // Written so that NaN stays NaN.
#pragma unroll
            for (unsigned e = 0; e < width; ++e) values[e] = values[e] < 0.0f ? 0.0f : values[e];
        }
        store_vector(result + at, values);
    }

private:
    template <unsigned width> __device__ __forceinline__ static void add(float (&values)[width], const T* from) {
        float more[width];
        load_vector(from, more);
#pragma unroll
        for (unsigned e = 0; e < width; ++e) values[e] += more[e];
    }
};

// Some rows of a column: how many, their mean, Σ (y - mean)².
struct Moments {
    float count, mean, squares;

    __device__ __forceinline__ void join(const Moments& other) {
        if (other.count == 0.0f) return;
        float all = count + other.count, share = other.count / all, distance = other.mean - mean;
        mean = fmaf(distance, share, mean);
        squares += other.squares + distance * distance * count * share;
        count = all;
    }
};
