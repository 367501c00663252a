// Softmax cross-entropy with integer labels, and its vjp.
//
// Mathematics. For rows i of logits z and labels y, over the rows whose label is not ignored,
//   loss = Σ_i ℓ_i / Σ_i w_{y_i},   ℓ_i = Σ_c t_ic (lse_i − z_ic),   lse_i = ln Σ_c exp z_ic,
//   t_ic = (1 − ε) w_{y_i} [c = y_i] + ε/C · w_c,
//   dz_ic = g / Σ_j w_{y_j} · (p_ic Σ_k t_ik − t_ic),   p_ic = exp(z_ic − lse_i),
// with class weights w (all 1 without), label smoothing ε and the loss's cotangent g.
//
// Shapes. z, dz: [rows, classes], rows the pixels of a batch of maps or just its images; y: [rows] of
// i32; w: [classes] of f32 or null; `statistics`: [rows, 2] of f32, a row's maximum m and ln Σ exp(z − m).
// `result`: [3] of f32: the loss, Σ w, and how many labels were neither a class nor ignored. Such a row
// makes the loss NaN and gets no gradient; so does a batch in which no row counts. Loss and cotangent are
// scalars of the logits' type.
//
// Method.
//   rows      `lanes` neighbouring threads share a row, so that each has about 6 logits; a block has
//             256/lanes rows. Rows lie one after another, whatever their length, so the block first
//             copies them to shared memory 16 bytes at a time (rows too long for that are read in place).
//             With d_c = z_c − m ≤ 0 the loss is a sum of terms t_c (ln Σ exp d − d_c) ≥ 0: nothing
//             cancels, however large the logits. The block's rows are added by a balanced tree.
//   mean      one block adds the blocks' sums and divides.
//   backward  a thread has 16 bytes of dz, which may lie in several rows.
//             Where the network is sure, Σ exp d = 1 + r with a small r. ln Σ exp d = log1p(r) keeps its
//             digits, and so does p − 1 = expm1(d − ln Σ exp d), the labelled class's gradient.
//
// Launch. rows: ⌈rows · lanes / 256⌉ blocks of 256, shared memory 256/lanes · classes elements;
// mean: one block of 256; backward: ⌈rows · classes / vector / 256⌉ blocks of 256.
//
// Cost. Forward one read of z, an exponential for each logit; backward one read of z, one write of dz
// and an exponential for each. Of these, `rows` is bound by memory for 16 classes and more.

#include "include/mean.cuh"
#include "include/numbers.cuh"
#include "include/rows.cuh"
#include "include/params/mean.h"
#include "include/params/softmax_cross_entropy.h"

namespace {

constexpr unsigned threads = 256;
constexpr unsigned everyone = 0xFFFFFFFFu;

__device__ __forceinline__ bool is_ignored(const SoftmaxCrossEntropyParams& p, int label) {
    return p.has_ignored && label == p.ignored;
}
__device__ __forceinline__ bool is_class(const SoftmaxCrossEntropyParams& p, int label) {
    return label >= 0 && unsigned(label) < p.classes;
}
__device__ __forceinline__ float weight_of(const float* weights, unsigned c) { return weights ? weights[c] : 1.0f; }

template <class T>
__device__ void loss_of_rows(const SoftmaxCrossEntropyParams& p, const T* __restrict__ logits,
                             const int* __restrict__ labels, const float* __restrict__ weights,
                             float* __restrict__ statistics, float* __restrict__ partial) {
    const T* rows = rows_of_block<threads>(logits, p.rows, p.classes, p.lanes, blockIdx.x, p.staged);
    const unsigned lane = threadIdx.x % p.lanes, row = threadIdx.x / p.lanes;
    const unsigned index = blockIdx.x * (threads / p.lanes) + row;
    const bool inside = index < p.rows;
    // Threads without a row have no classes, but take part in the exchanges.
    const unsigned classes = inside ? p.classes : 0;
    const T* z = rows + size_t(row) * p.classes;

    float most = -INFINITY;
    for (unsigned c = lane; c < classes; c += p.lanes) most = fmaxf(most, to_float(z[c]));
    for (unsigned by = p.lanes / 2; by > 0; by /= 2) most = fmaxf(most, __shfl_xor_sync(everyone, most, by));

    float rest = 0.0f, largest = 0.0f, smooth_weight = 0.0f, smooth_depth = 0.0f;
    for (unsigned c = lane; c < classes; c += p.lanes) {
        const float depth = to_float(z[c]) - most, weight = weight_of(weights, c);
        if (depth == 0.0f) {
            largest += 1.0f;
        } else {
            rest += expf(depth);
        }
        smooth_weight += weight;
        smooth_depth -= weight * depth;
    }
    for (unsigned by = p.lanes / 2; by > 0; by /= 2) {
        rest += __shfl_xor_sync(everyone, rest, by);
        largest += __shfl_xor_sync(everyone, largest, by);
        smooth_weight += __shfl_xor_sync(everyone, smooth_weight, by);
        smooth_depth += __shfl_xor_sync(everyone, smooth_depth, by);
    }

    float own[3] = {};
    if (inside && lane == 0) {
        // The largest logit adds exactly 1 to Σ exp d, which would swallow the rest of a sure row.
        const float log_sum = log1pf(rest + (largest - 1.0f));
        statistics[2 * size_t(index)] = most;
        statistics[2 * size_t(index) + 1] = log_sum;
        const int label = labels[index];
        if (!is_ignored(p, label)) {
            if (is_class(p, label)) {
                const float weight = weight_of(weights, label);
                own[0] = p.hard * weight * (log_sum - (to_float(z[label]) - most));
                if (p.smooth > 0.0f) own[0] += p.smooth * (smooth_weight * log_sum + smooth_depth);
                own[1] = weight;
            } else {
                own[0] = NAN;
                own[2] = 1.0f;
            }
        }
    }
    store_partial<threads>(own, partial);
}

template <class T>
__device__ void backward(const SoftmaxCrossEntropyParams& p, const T* __restrict__ logits,
                         const int* __restrict__ labels, const float* __restrict__ weights,
                         const float* __restrict__ statistics, const float* __restrict__ result,
                         const T* __restrict__ cotangent, T* __restrict__ dz) {
    constexpr unsigned size = Vector<T>::size;
    const unsigned elements = p.rows * p.classes, at = (blockIdx.x * threads + threadIdx.x) * size;
    if (at >= elements) return;
    const float scale = to_float(*cotangent) / result[1];
    const bool whole = elements - at >= size;
    float values[size] = {};
    if (whole) {
        load_vector(logits + at, values);
    } else {
        for (unsigned j = 0; j < size; ++j)
            if (at + j < elements) values[j] = to_float(logits[at + j]);
    }
    unsigned row = at / p.classes, c = at - row * p.classes;
#pragma unroll
    for (unsigned j = 0; j < size; ++j) {
        if (row < p.rows) {
            const int label = labels[row];
            if (is_ignored(p, label) || !is_class(p, label)) {
                values[j] = 0.0f;
            } else {
                const float depth = values[j] - statistics[2 * size_t(row)];
                const float log_p = depth - statistics[2 * size_t(row) + 1];
                const float smooth = p.smooth * weight_of(weights, c);
                const float total = p.hard * weight_of(weights, label) + p.smooth_sum;
                values[j] = scale * (c == unsigned(label) ? total * expm1f(log_p) + (p.smooth_sum - smooth)
                                                          : total * expf(log_p) - smooth);
            }
            if (++c == p.classes) c = 0, ++row;
        }
    }
    if (whole) {
        store_vector(dz + at, values);
    } else {
        for (unsigned j = 0; j < size; ++j)
            if (at + j < elements) dz[at + j] = round_to<T>(values[j]);
    }
}

}  // namespace

#define FOR_TYPE(suffix, T)                                                                             \
    extern "C" __global__ void __launch_bounds__(threads) softmax_cross_entropy_rows_##suffix(          \
        SoftmaxCrossEntropyParams p, const T* logits, const int* labels, const float* weights,          \
        float* statistics, float* partial) {                                                            \
        loss_of_rows(p, logits, labels, weights, statistics, partial);                                  \
    }                                                                                                   \
    EXPORT_KERNEL(softmax_cross_entropy_rows_##suffix);                                                 \
    extern "C" __global__ void __launch_bounds__(threads) softmax_cross_entropy_backward_##suffix(      \
        SoftmaxCrossEntropyParams p, const T* logits, const int* labels, const float* weights,          \
        const float* statistics, const float* result, const T* cotangent, T* dz) {                  \
        backward(p, logits, labels, weights, statistics, result, cotangent, dz);                        \
    }                                                                                                   \
    EXPORT_KERNEL(softmax_cross_entropy_backward_##suffix);                                             \
    extern "C" __global__ void __launch_bounds__(threads)                                               \
    softmax_cross_entropy_mean_##suffix(MeanParams p, const float* partial, float* result, T* loss) {   \
        mean_of_partial<threads, 3>(p.blocks, partial, result, loss);                                   \
    }                                                                                                   \
    EXPORT_KERNEL(softmax_cross_entropy_mean_##suffix)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
