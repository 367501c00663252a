// Batch normalisation (Ioffe, Szegedy 2015) of a [rows, channels] matrix, channels innermost, with an
// optional residual sum and rectifier; training and evaluation, forward and backward.
//
// Mathematics. With μ and σ² of each channel over the N rows (training) or given (evaluation),
//     i = 1/√(σ² + ε),  scale = γ·i,  shift = β − μ·scale,
//     v = x·scale + shift (+ residual),  y = max(v, 0) or v.
// Backward, with g = dy where the rectifier let v through, else 0:
//     dresidual = g,  dβ = Σ g,  dγ = i · Σ g·(x − μ),
//     dx = scale·g                                            in evaluation,
//     dx = scale·(g − dβ/N) − scale·i²/N · Σ g·(x − μ) · (x − μ)  in training.
// The gate comes from the saved output y where there is one (with a residual there must be), else from
// v, recomputed with the same roundings.
//
// Shapes. x, y, residual and their gradients: [rows, channels] of f32, f16 or bf16. All that belongs
// to a channel is f32: γ, β, μ, running statistics, coefficients, gradients. In scratch: partials
// [slabs, 2, channels].
//
// Method. Reductions have two stages and a fixed order, so two runs agree bit for bit:
//   statistics      Four rows at a time: their mean, their squared deviations from it, merged into
//                   what the thread has (Chan, Golub, LeVeque 1979); then a tree over the block. No
//                   difference of large squares is ever taken, so a mean far from 0 costs no digits.
//   finish          A block joins the slabs of 32 channels in f64: first the mean, then the squared
//                   deviations from it. It writes all that `apply` and the backward pass need, and
//                   blends the running statistics: r ← (1 − m)·r + m·(μ, unbiased σ²).
//   coefficients    The same from given statistics: those of evaluation, or of a convolution's epilogue.
//   apply           y from x: one read, one write.
//   backward_sums   Σ g and Σ g·(x − μ) of each slab; backward_finish joins them in f64.
//   backward        dx, and dresidual. dx may be dy.
//   blend           r ← (1 − m)·r + m·b for one vector, in f64.
// `scalar` kernels take one channel a thread, where channels do not divide into 16-byte vectors.
//
// Geometry. `columns.cuh`; finish: 32 channels a block, 32 threads for each.
//
// Cost of rows · channels elements of `width` bytes. Training forward: 3 · width bytes (two reads of
// x, one write), about 7 FLOPs; evaluation 2 · width, 2 FLOPs. Backward: 5 · width (twice x and dy, one
// write), about 12 FLOPs. The gate from y adds two reads, a residual one read and one write.

#include "include/columns.cuh"
#include "include/tree.cuh"
#include "include/params/batch_norm.h"

namespace {

template <int width> __device__ __forceinline__ Walk<width> walk_of(const BatchNormParams& p) {
    return Walk<width>(p.rows, p.channels, p.vectors, p.slab_rows);
}

// Mean and squared deviations of `count` rows, joined with those of others.
template <int width> struct Moments {
    float value[2 * width + 1];  // means, squared deviations, count

    __device__ __forceinline__ static void merge(float (&own)[2 * width + 1],
                                                 const float (&other)[2 * width + 1]) {
        float count = own[2 * width], more = other[2 * width];
        if (more == 0.0f) return;
        float total = count + more, share = more / total;
#pragma unroll
        for (int c = 0; c < width; ++c) {
            float delta = other[c] - own[c];
            own[c] += delta * share;
            own[width + c] += other[width + c] + delta * delta * (count * share);
        }
        own[2 * width] = total;
    }
};

template <class T, int width>
__device__ void statistics(const BatchNormParams& p, const T* __restrict__ x, float* __restrict__ partials) {
    const Walk<width> walk = walk_of<width>(p);
    Moments<width> all = {};
    walk.template down<4>([&](auto steps, unsigned row) {
        constexpr int rows = decltype(steps)::value;
        Pack<T, width> packs[rows];
#pragma unroll
        for (int s = 0; s < rows; ++s) packs[s].load(x + walk.at(row, s));
        Moments<width> chunk = {};
        chunk.value[2 * width] = rows;
#pragma unroll
        for (int s = 0; s < rows; ++s) {
            float values[width];
            packs[s].unpack(values);
#pragma unroll
            for (int c = 0; c < width; ++c) chunk.value[c] += values[c];
        }
#pragma unroll
        for (int c = 0; c < width; ++c) chunk.value[c] *= 1.0f / rows;
        if constexpr (rows > 1) {
#pragma unroll
            for (int s = 0; s < rows; ++s) {
                float values[width];
                packs[s].unpack(values);
#pragma unroll
                for (int c = 0; c < width; ++c) {
                    float deviation = values[c] - chunk.value[c];
                    chunk.value[width + c] = fmaf(deviation, deviation, chunk.value[width + c]);
                }
            }
        }
        Moments<width>::merge(all.value, chunk.value);
    });
    tree_merge<COLUMN_THREADS>(all.value, p.vectors, Moments<width>::merge);
    if (!walk.concludes(p.vectors)) return;
    float* out = partials + size_t(blockIdx.y) * 2 * p.channels + walk.channel;
#pragma unroll
    for (int c = 0; c < width; ++c) out[c] = all.value[c], out[p.channels + c] = all.value[width + c];
}

template <class T, int width>
__device__ void apply(const BatchNormParams& p, const T* x, const T* residual, const float* scales,
                      const float* shifts, T* y) {
    const Walk<width> walk = walk_of<width>(p);
    float scale[width], shift[width];
    walk.load(scales, scale), walk.load(shifts, shift);
    walk.template down<4>([&](auto steps, unsigned row) {
        constexpr int rows = decltype(steps)::value;
        Pack<T, width> packs[rows], more[rows];
#pragma unroll
        for (int s = 0; s < rows; ++s) packs[s].load(x + walk.at(row, s));
        if (residual) {
#pragma unroll
            for (int s = 0; s < rows; ++s) more[s].load(residual + walk.at(row, s));
        }
#pragma unroll
        for (int s = 0; s < rows; ++s) {
            float values[width], others[width];
            packs[s].unpack(values);
            if (residual) more[s].unpack(others);
#pragma unroll
            for (int c = 0; c < width; ++c) {
                values[c] = values[c] * scale[c] + shift[c];
                if (residual) values[c] += others[c];
                if (p.relu && values[c] < 0.0f) values[c] = 0.0f;
            }
            packs[s].pack(values);
            packs[s].store(y + walk.at(row, s));
        }
    });
}

// What reached v: dy, or 0 where the rectifier stopped v. y is null where v is to be recomputed.
template <class T, int width, int rows> struct Gated {
    Pack<T, width> x[rows], dy[rows], y[rows];

    __device__ __forceinline__ Gated(const Walk<width>& walk, unsigned row, const T* xs, const T* ys, const T* dys) {
#pragma unroll
        for (int s = 0; s < rows; ++s) {
            x[s].load(xs + walk.at(row, s)), dy[s].load(dys + walk.at(row, s));
            if (ys) y[s].load(ys + walk.at(row, s));
        }
    }
    __device__ __forceinline__ void unpack(int s, bool relu, bool saved, const float (&scale)[width],
                                           const float (&shift)[width], float (&xs)[width], float (&g)[width]) const {
        x[s].unpack(xs), dy[s].unpack(g);
        if (!relu) return;
        float v[width];
        if (saved) y[s].unpack(v);
#pragma unroll
        for (int c = 0; c < width; ++c) {
            if (!saved) v[c] = xs[c] * scale[c] + shift[c];
            if (v[c] <= 0.0f) g[c] = 0.0f;
        }
    }
};

template <class T, int width>
__device__ void backward_sums(const BatchNormParams& p, const T* __restrict__ x, const T* __restrict__ y,
                              const T* __restrict__ dy, const float* __restrict__ means,
                              const float* __restrict__ scales, const float* __restrict__ shifts,
                              float* __restrict__ partials) {
    const Walk<width> walk = walk_of<width>(p);
    float mean[width], scale[width], shift[width], sums[2 * width] = {};
    walk.load(means, mean), walk.load(scales, scale), walk.load(shifts, shift);
    walk.template down<2>([&](auto steps, unsigned row) {
        constexpr int rows = decltype(steps)::value;
        Gated<T, width, rows> gated(walk, row, x, y, dy);
#pragma unroll
        for (int s = 0; s < rows; ++s) {
            float xs[width], g[width];
            gated.unpack(s, p.relu, y != nullptr, scale, shift, xs, g);
#pragma unroll
            for (int c = 0; c < width; ++c) {
                sums[c] += g[c];
                sums[width + c] = fmaf(g[c], xs[c] - mean[c], sums[width + c]);
            }
        }
    });
    tree_sum<COLUMN_THREADS>(sums, p.vectors);
    if (!walk.concludes(p.vectors)) return;
    float* out = partials + size_t(blockIdx.y) * 2 * p.channels + walk.channel;
#pragma unroll
    for (int c = 0; c < width; ++c) out[c] = sums[c], out[p.channels + c] = sums[width + c];
}

// slopes: [2, channels], of x − μ and constant.
template <class T, int width>
__device__ void backward(const BatchNormParams& p, const T* x, const T* y, const T* dy, const float* means,
                         const float* scales, const float* shifts, const float* slopes, T* dx, T* dresidual) {
    const Walk<width> walk = walk_of<width>(p);
    float mean[width], scale[width], shift[width], slope[width], constant[width];
    walk.load(means, mean), walk.load(scales, scale), walk.load(shifts, shift);
    walk.load(slopes, slope), walk.load(slopes + p.channels, constant);
    walk.template down<2>([&](auto steps, unsigned row) {
        constexpr int rows = decltype(steps)::value;
        Gated<T, width, rows> gated(walk, row, x, y, dy);
#pragma unroll
        for (int s = 0; s < rows; ++s) {
            float xs[width], g[width];
            gated.unpack(s, p.relu, y != nullptr, scale, shift, xs, g);
            Pack<T, width> packed;
            if (dresidual) {
                packed.pack(g);
                packed.store(dresidual + walk.at(row, s));
            }
#pragma unroll
            for (int c = 0; c < width; ++c)
                xs[c] = scale[c] * g[c] + slope[c] * (xs[c] - mean[c]) + constant[c];
            packed.pack(xs);
            packed.store(dx + walk.at(row, s));
        }
    });
}

constexpr int FINISH_CHANNELS = 32, FINISH_THREADS = 1024;

// This thread's channel, and the slabs it joins: first, first + 32, ...
__device__ __forceinline__ unsigned finish_channel() {
    return blockIdx.x * FINISH_CHANNELS + threadIdx.x % FINISH_CHANNELS;
}

// Everything that follows from the statistics of channel c.
__device__ __forceinline__ void write_coefficients(const BatchNormParams& p, unsigned c, float mean, float variance,
                                                   const float* gamma, const float* beta, float* inverse_std,
                                                   float* scale, float* shift) {
    float inverse = float(1.0 / sqrt(double(variance) + p.epsilon));
    float factor = inverse * gamma[c];
    inverse_std[c] = inverse, scale[c] = factor, shift[c] = beta[c] - mean * factor;
}

// The unbiased variance.
__device__ __forceinline__ float corrected(const BatchNormParams& p, float variance) {
    return float(double(variance) * (double(p.rows) / (double(p.rows) - 1.0)));
}

__device__ __forceinline__ float blended(double momentum, float old, float batch) {
    return float((1.0 - momentum) * double(old) + momentum * double(batch));
}

}  // namespace

#define BATCH_NORM(suffix, T, width)                                                                     \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)                                         \
    batch_norm_statistics_##suffix(BatchNormParams p, const T* __restrict__ x, float* __restrict__ partials) { \
        statistics<T, width>(p, x, partials);                                                            \
    }                                                                                                    \
    EXPORT_KERNEL(batch_norm_statistics_##suffix);                                                       \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)                                         \
    batch_norm_apply_##suffix(BatchNormParams p, const T* x, const T* residual, const float* scale,      \
                              const float* shift, T* y) {                                                \
        apply<T, width>(p, x, residual, scale, shift, y);                                                \
    }                                                                                                    \
    EXPORT_KERNEL(batch_norm_apply_##suffix);                                                            \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 2)                                      \
    batch_norm_backward_sums_##suffix(BatchNormParams p, const T* __restrict__ x, const T* __restrict__ y, \
                                      const T* __restrict__ dy, const float* __restrict__ mean,          \
                                      const float* __restrict__ scale, const float* __restrict__ shift,  \
                                      float* __restrict__ partials) {                                    \
        backward_sums<T, width>(p, x, y, dy, mean, scale, shift, partials);                              \
    }                                                                                                    \
    EXPORT_KERNEL(batch_norm_backward_sums_##suffix);                                                    \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS, 2)                                      \
    batch_norm_backward_##suffix(BatchNormParams p, const T* x, const T* y, const T* dy, const float* mean, \
                                 const float* scale, const float* shift, const float* slopes, T* dx,     \
                                 T* dresidual) {                                                         \
        backward<T, width>(p, x, y, dy, mean, scale, shift, slopes, dx, dresidual);                      \
    }                                                                                                    \
    EXPORT_KERNEL(batch_norm_backward_##suffix)

BATCH_NORM(f32, float, 4);
BATCH_NORM(f16, __half, 8);
BATCH_NORM(bf16, __nv_bfloat16, 8);
BATCH_NORM(scalar_f32, float, 1);
BATCH_NORM(scalar_f16, __half, 1);
BATCH_NORM(scalar_bf16, __nv_bfloat16, 1);

// Running statistics may be null.
extern "C" __global__ void __launch_bounds__(FINISH_THREADS)
batch_norm_finish(BatchNormParams p, const float* __restrict__ partials, const float* __restrict__ gamma,
                  const float* __restrict__ beta, float* __restrict__ mean, float* __restrict__ unbiased,
                  float* __restrict__ inverse_std, float* __restrict__ scale, float* __restrict__ shift,
                  float* __restrict__ running_mean, float* __restrict__ running_variance) {
    SHARED(double, centre, [FINISH_CHANNELS]);
    const unsigned c = finish_channel();
    const float* own = partials + c;
    const unsigned slabs = c < p.channels ? p.slabs : 0, first = threadIdx.x / FINISH_CHANNELS;
    auto count = [&](unsigned slab) { return double(min(p.slab_rows, p.rows - slab * p.slab_rows)); };

    double sum[1] = {0.0};
    for (unsigned slab = first; slab < slabs; slab += FINISH_THREADS / FINISH_CHANNELS)
        sum[0] += count(slab) * double(own[size_t(slab) * 2 * p.channels]);
    tree_sum<FINISH_THREADS>(sum, FINISH_CHANNELS);
    if (threadIdx.x < FINISH_CHANNELS) centre[threadIdx.x] = sum[0] / double(p.rows);
    __syncthreads();

    const double middle = centre[threadIdx.x % FINISH_CHANNELS];
    double squares[1] = {0.0};
    for (unsigned slab = first; slab < slabs; slab += FINISH_THREADS / FINISH_CHANNELS) {
        double deviation = double(own[size_t(slab) * 2 * p.channels]) - middle;
        squares[0] += double(own[(size_t(slab) * 2 + 1) * p.channels]) + count(slab) * deviation * deviation;
    }
    tree_sum<FINISH_THREADS>(squares, FINISH_CHANNELS);
    if (threadIdx.x >= FINISH_CHANNELS || c >= p.channels) return;

    const float average = float(middle), variance = float(squares[0] / double(p.rows));
    const float spread = corrected(p, variance);
    mean[c] = average, unbiased[c] = spread;
    write_coefficients(p, c, average, variance, gamma, beta, inverse_std, scale, shift);
    if (running_mean) running_mean[c] = blended(p.momentum, running_mean[c], average);
    if (running_variance) running_variance[c] = blended(p.momentum, running_variance[c], spread);
}
EXPORT_KERNEL(batch_norm_finish);

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_coefficients(BatchNormParams p, const float* __restrict__ mean, const float* __restrict__ variance,
                        const float* __restrict__ gamma, const float* __restrict__ beta,
                        float* __restrict__ inverse_std, float* __restrict__ scale, float* __restrict__ shift,
                        float* __restrict__ unbiased) {
    const unsigned c = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    if (c >= p.channels) return;
    write_coefficients(p, c, mean[c], variance[c], gamma, beta, inverse_std, scale, shift);
    if (unbiased) unbiased[c] = corrected(p, variance[c]);
}
EXPORT_KERNEL(batch_norm_coefficients);

// slopes: [2, channels], zero in evaluation.
extern "C" __global__ void __launch_bounds__(FINISH_THREADS)
batch_norm_backward_finish(BatchNormParams p, const float* __restrict__ partials,
                           const float* __restrict__ inverse_std, const float* __restrict__ scale,
                           float* __restrict__ dgamma, float* __restrict__ dbeta, float* __restrict__ slopes) {
    const unsigned c = finish_channel();
    const unsigned slabs = c < p.channels ? p.slabs : 0;
    double sums[2] = {0.0, 0.0};
    for (unsigned slab = threadIdx.x / FINISH_CHANNELS; slab < slabs; slab += FINISH_THREADS / FINISH_CHANNELS) {
        const float* own = partials + size_t(slab) * 2 * p.channels + c;
        sums[0] += double(own[0]), sums[1] += double(own[p.channels]);
    }
    tree_sum<FINISH_THREADS>(sums, FINISH_CHANNELS);
    if (threadIdx.x >= FINISH_CHANNELS || c >= p.channels) return;
    const float sum = float(sums[0]), product = float(sums[1]), inverse = inverse_std[c];
    dbeta[c] = sum, dgamma[c] = product * inverse;
    const float share = p.training ? float(1.0 / double(p.rows)) : 0.0f;
    slopes[c] = -scale[c] * inverse * inverse * product * share;
    slopes[p.channels + c] = -scale[c] * sum * share;
}
EXPORT_KERNEL(batch_norm_backward_finish);

extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)
batch_norm_blend(BatchNormParams p, const float* __restrict__ batch, float* __restrict__ running) {
    const unsigned c = blockIdx.x * COLUMN_THREADS + threadIdx.x;
    if (c < p.channels) running[c] = blended(p.momentum, running[c], batch[c]);
}
EXPORT_KERNEL(batch_norm_blend);
