// The projection of a semantic bottleneck: a few concepts out of many channels, with its loss and vjp.
//
// Mathematics. z = x·Wᵀ + b, p = σ(z), and on request the masked binary cross-entropy of masked_bce.cu,
//   loss = Σ m w ℓ(z, t) / Σ m.
// With the cotangents dp of p (or none) and g of the loss (or none):
//   dz = dp · p (1 − p) + g / Σ m · m w (p − t),   dx = dz·W,   dW = dzᵀ·x,   db = Σ_rows dz.
//
// Shapes. x, dx: [rows, channels], rows the pixels of a batch of maps, 2048 or 4096 channels; W, dW:
// [concepts, channels], about 70 concepts; b, db: [concepts]; z, p, t, m, w, dp: [rows, concepts]; dz: the
// same, with columns of 0 up to a multiple of 16 bytes. All but sums are of the storage type: z is rounded
// to it first, and p, loss and dz are made of what is stored; so are dx, dW and db of dz. Without σ, p is z.
//
// These kernels do the products in f32 by FFMA, in order: for f32, and for channels that are no whole
// vectors. The others are those of sb_projection_mma.cu, on tensor cores. What is elementwise serves both.
//
// Method. Blocks of 256 threads, 16 by 16, keep a tile of the result in registers and go through the
// common axis 32 at a time, both operands' pieces in shared memory as f32; products are fmaf.
//   forward    a block has 64 rows and up to 80 concepts: all of them, so x is read once. Bias, σ and the
//              loss's sums follow while z is in registers.
//   dz         elementwise.
//   dx         a tile of 64 rows by 128 channels; dx is written once, dz and W come from L2.
//   dw         a tile of up to 80 concepts by 128 channels over one part of the rows, so x is read once.
//   sum        adds the parts in order, to dW and db: no atomics, the same bits in every run.
//   mean       the loss, from the blocks' sums.
//
// Launch. forward ⌈rows/64⌉ · ⌈concepts/80⌉ blocks; dx ⌈rows/64⌉ · ⌈channels/128⌉; dw ⌈channels/128⌉ ·
// ⌈concepts/80⌉ · parts; static shared memory 19, 25 and 26 KiB.
//
// Cost. 2 · rows · channels · concepts FLOPs forward and twice that backward. Bytes: x once forward, x
// and dx once backward; all else is smaller by channels / concepts. With 70 concepts that is 35 FLOPs for
// a byte of f32 x: more than FMA units do in the time memory takes (about 20 on sm_80 and sm_90), so these
// kernels are bound by FMA.

#include "include/concepts.cuh"
#include "include/mean.cuh"
#include "include/params/mean.h"

namespace {

constexpr int threads = 256, side = 16, depth = 32;
constexpr int tile_rows = 64, tile_concepts = 80, tile_channels = 128;

// `size` elements of which the first `count` are there; the others are 0. `aligned`: whether vectors are.
template <int size, class T>
__device__ __forceinline__ void load_some(const T* from, int count, bool aligned, float (&values)[size]) {
    if (aligned && count >= size) {
        load_vector(from, values);
    } else {
#pragma unroll
        for (int j = 0; j < size; ++j) values[j] = j < count ? to_float(from[j]) : 0.0f;
    }
}

// The numbers of a thread at one depth.
template <int count> __device__ __forceinline__ void from_shared(const float* at, float (&values)[count]) {
    if constexpr (count % 4 == 0) {
#pragma unroll
        for (int j = 0; j < count; j += 4) {
            const float4 four = *reinterpret_cast<const float4*>(at + j);
            values[j] = four.x, values[j + 1] = four.y, values[j + 2] = four.z, values[j + 3] = four.w;
        }
    } else {
#pragma unroll
        for (int j = 0; j < count; ++j) values[j] = at[j];
    }
}

// sum[i][j] += Σ_k a[k][R·ty + i] · b[k][C·tx + j].
template <int R, int C, int A, int B>
__device__ __forceinline__ void multiply(const float (&a)[depth][A], const float (&b)[depth][B], float (&sum)[R][C]) {
    const int tx = threadIdx.x % side, ty = threadIdx.x / side;
#pragma unroll 4
    for (int k = 0; k < depth; ++k) {
        float left[R], right[C];
        from_shared(&a[k][R * ty], left);
        from_shared(&b[k][C * tx], right);
#pragma unroll
        for (int i = 0; i < R; ++i)
#pragma unroll
            for (int j = 0; j < C; ++j) sum[i][j] = fmaf(left[i], right[j], sum[i][j]);
    }
}

// tile[k][row] = matrix[first + row][from + k] of [rows, columns]: turned, for an operand whose common
// axis runs fastest.
template <int rows_of_tile, class T, int width>
__device__ __forceinline__ void stage_turned(const T* matrix, int first, int rows, int from, int columns,
                                             bool aligned, float (&tile)[depth][width]) {
    constexpr int size = Vector<T>::size, vectors = depth / size;
    for (int at = threadIdx.x; at < rows_of_tile * vectors; at += threads) {
        const int row = at / vectors, k = at % vectors * size;
        const int count = first + row < rows ? columns - from - k : 0;
        float values[size];
        load_some(matrix + size_t(first + row) * columns + from + k, count, aligned, values);
#pragma unroll
        for (int j = 0; j < size; ++j) tile[k + j][row] = values[j];
    }
}

// tile[k][column] = matrix[from + k][first + column] of [rows, columns]; rows from `end` on count as 0.
template <int columns_of_tile, class T, int width>
__device__ __forceinline__ void stage(const T* matrix, int from, int end, int first, int columns, bool aligned,
                                      float (&tile)[depth][width]) {
    constexpr int size = Vector<T>::size, vectors = columns_of_tile / size;
    for (int at = threadIdx.x; at < depth * vectors; at += threads) {
        const int k = at / vectors, column = at % vectors * size;
        const int count = from + k < end ? columns - first - column : 0;
        float values[size];
        load_some(matrix + size_t(from + k) * columns + first + column, count, aligned, values);
#pragma unroll
        for (int j = 0; j < size; ++j) tile[k][column + j] = values[j];
    }
}

template <class T>
__device__ __forceinline__ void forward(const SbProjectionParams& p, const T* __restrict__ x,
                                        const T* __restrict__ weight, Concepts<T>& result, float* __restrict__ partial) {
    constexpr int R = tile_rows / side, C = tile_concepts / side;
    SHARED(float, a, [depth][tile_rows + 4]);
    SHARED(float, b, [depth][tile_concepts]);
    const int row = int(blockIdx.x / p.concept_tiles) * tile_rows;
    const int concept = int(blockIdx.x % p.concept_tiles) * tile_concepts;
    float sum[R][C] = {};
    for (int k = 0; k < int(p.channels); k += depth) {
        stage_turned<tile_rows>(x, row, p.rows, k, p.channels, p.aligned, a);
        stage_turned<tile_concepts>(weight, concept, p.concepts, k, p.channels, p.aligned, b);
        __syncthreads();
        multiply(a, b, sum);
        __syncthreads();
    }
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < C; ++j) {
            const int m = row + R * int(threadIdx.x / side) + i, c = concept + C * int(threadIdx.x % side) + j;
            if (m >= int(p.rows) || c >= int(p.concepts)) continue;
            const size_t at = size_t(m) * p.concepts + c;
            result.finish(sum[i][j], to_float(result.bias[c]), at, result.label(at));
        }
    result.template leave<threads>(partial);
}

// A thread has one element of a row of dz, columns beyond the concepts included.
template <class T>
__device__ void logit_gradient(const SbProjectionParams& p, const T* __restrict__ logits,
                               const T* __restrict__ targets, const T* __restrict__ mask,
                               const T* __restrict__ weights, const T* __restrict__ concept_cotangent,
                               const float* __restrict__ result, const T* __restrict__ cotangent,
                               T* __restrict__ dz) {
    const unsigned i = blockIdx.x * threads + threadIdx.x, row = i / p.pitch, concept = i % p.pitch;
    if (row >= p.rows) return;
    float gradient = 0.0f;
    if (concept < p.concepts) {
        const size_t at = size_t(row) * p.concepts + concept;
        const float activation = sigmoid(to_float(logits[at]));
        if (concept_cotangent) {
            gradient = to_float(concept_cotangent[at]);
            if (p.activated) gradient *= activation * (1.0f - activation);
        }
        if (mask) {
            const float known = to_float(mask[at]), share = weights ? to_float(weights[at]) : 1.0f;
            const float scale = to_float(*cotangent) / result[1];
            if (known != 0.0f) gradient += scale * (known * share) * (activation - to_float(targets[at]));
        }
    }
    dz[i] = round_to<T>(gradient);
}

template <class T>
__device__ void input_gradient(const SbProjectionParams& p, const T* __restrict__ dz,
                               const T* __restrict__ weight, T* __restrict__ dx) {
    constexpr int R = tile_rows / side, C = tile_channels / side, size = Vector<T>::size;
    SHARED(float, a, [depth][tile_rows + 4]);
    SHARED(float, b, [depth][tile_channels]);
    const int row = int(blockIdx.x / p.channel_tiles) * tile_rows;
    const int channel = int(blockIdx.x % p.channel_tiles) * tile_channels;
    float sum[R][C] = {};
    for (int k = 0; k < int(p.concepts); k += depth) {
        stage_turned<tile_rows>(dz, row, p.rows, k, p.pitch, true, a);
        stage<tile_channels>(weight, k, p.concepts, channel, p.channels, p.aligned, b);
        __syncthreads();
        multiply(a, b, sum);
        __syncthreads();
    }
    const int first = channel + C * int(threadIdx.x % side);
#pragma unroll
    for (int i = 0; i < R; ++i) {
        const int m = row + R * int(threadIdx.x / side) + i;
        if (m >= int(p.rows)) continue;
        T* to = dx + size_t(m) * p.channels + first;
#pragma unroll
        for (int j = 0; j < C; j += size) {
            float values[size];
#pragma unroll
            for (int e = 0; e < size; ++e) values[e] = sum[i][j + e];
            if (p.aligned && first + j < int(p.channels)) {
                store_vector(to + j, values);
            } else {
                for (int e = 0; e < size; ++e)
                    if (first + j + e < int(p.channels)) to[j + e] = round_to<T>(values[e]);
            }
        }
    }
}

// partial: [parts][concepts · channels], gradients of W from one part's rows each, then [parts][concepts] of b.
template <class T>
__device__ void weight_gradient(const SbProjectionParams& p, const T* __restrict__ dz,
                                const T* __restrict__ x, float* __restrict__ partial) {
    constexpr int R = tile_concepts / side, C = tile_channels / side;
    SHARED(float, a, [depth][tile_concepts]);
    SHARED(float, b, [depth][tile_channels]);
    const int channel = int(blockIdx.x % p.channel_tiles) * tile_channels;
    const int concept = int(blockIdx.x / p.channel_tiles % p.concept_tiles) * tile_concepts;
    const unsigned part = blockIdx.x / p.channel_tiles / p.concept_tiles;
    const int start = int(part * p.rows_per_part), end = min(start + int(p.rows_per_part), int(p.rows));
    float sum[R][C] = {}, of_bias = 0.0f;
    for (int m = start; m < end; m += depth) {
        stage<tile_concepts>(dz, m, end, concept, p.pitch, true, a);
        stage<tile_channels>(x, m, end, channel, p.channels, p.aligned, b);
        __syncthreads();
        multiply(a, b, sum);
        if (channel == 0 && threadIdx.x < tile_concepts)
            for (int k = 0; k < depth; ++k) of_bias += a[k][threadIdx.x];
        __syncthreads();
    }
    const size_t weights = size_t(p.concepts) * p.channels;
    float* to = partial + part * weights;
#pragma unroll
    for (int i = 0; i < R; ++i)
#pragma unroll
        for (int j = 0; j < C; ++j) {
            const int c = concept + R * int(threadIdx.x / side) + i, d = channel + C * int(threadIdx.x % side) + j;
            if (c < int(p.concepts) && d < int(p.channels)) to[size_t(c) * p.channels + d] = sum[i][j];
        }
    const unsigned c = concept + threadIdx.x;
    if (channel == 0 && threadIdx.x < tile_concepts && c < p.concepts)
        partial[p.parts * weights + size_t(part) * p.concepts + c] = of_bias;
}

template <class T>
__device__ void sum_of_parts(const SbProjectionParams& p, const float* __restrict__ partial, T* __restrict__ dw,
                             T* __restrict__ db) {
    const size_t weights = size_t(p.concepts) * p.channels;
    const size_t at = size_t(blockIdx.x) * threads + threadIdx.x;
    if (at >= weights + p.concepts) return;
    const bool of_weights = at < weights;
    const float* from = of_weights ? partial + at : partial + p.parts * weights + (at - weights);
    const size_t step = of_weights ? weights : p.concepts;
    float sum = 0.0f;
    for (unsigned part = 0; part < p.parts; ++part) sum += from[part * step];
    if (of_weights) {
        dw[at] = round_to<T>(sum);
    } else {
        db[at - weights] = round_to<T>(sum);
    }
}

}  // namespace

#define KERNEL(name, arguments, ...)                                        \
    extern "C" __global__ void __launch_bounds__(threads) name arguments { \
        __VA_ARGS__;                                                        \
    }                                                                       \
    EXPORT_KERNEL(name)

#define FOR_TYPE(suffix, T)                                                                                   \
    KERNEL(sb_projection_##suffix,                                                                            \
           (SbProjectionParams p, const T* __restrict__ x, const T* __restrict__ weight,                      \
            const T* __restrict__ bias, const T* __restrict__ targets, const T* __restrict__ mask,            \
            const T* __restrict__ weights, T* __restrict__ logits, T* __restrict__ concepts,                  \
            float* __restrict__ partial),                                                                     \
           Concepts<T> result(p, bias, targets, mask, weights, logits, concepts);                             \
           forward(p, x, weight, result, partial));                                                           \
    KERNEL(sb_projection_mean_##suffix, (MeanParams p, const float* partial, float* result, T* loss),         \
           mean_of_partial<threads, 2>(p.blocks, partial, result, loss));                                     \
    KERNEL(sb_projection_dz_##suffix,                                                                         \
           (SbProjectionParams p, const T* __restrict__ logits, const T* __restrict__ targets,                \
            const T* __restrict__ mask, const T* __restrict__ weights, const T* __restrict__ cotangents,      \
            const float* __restrict__ result, const T* __restrict__ cotangent, T* __restrict__ dz),           \
           logit_gradient(p, logits, targets, mask, weights, cotangents, result, cotangent, dz));             \
    KERNEL(sb_projection_dx_##suffix,                                                                         \
           (SbProjectionParams p, const T* __restrict__ dz, const T* __restrict__ weight,                     \
            T* __restrict__ dx),                                                                              \
           input_gradient(p, dz, weight, dx));                                                                \
    KERNEL(sb_projection_dw_##suffix,                                                                         \
           (SbProjectionParams p, const T* __restrict__ dz, const T* __restrict__ x,                          \
            float* __restrict__ partial),                                                                     \
           weight_gradient(p, dz, x, partial));                                                               \
    KERNEL(sb_projection_sum_##suffix,                                                                        \
           (SbProjectionParams p, const float* __restrict__ partial, T* __restrict__ dw, T* __restrict__ db), \
           sum_of_parts(p, partial, dw, db))

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
