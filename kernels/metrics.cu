// Counting right answers: top-k hits and the confusion matrix of rows of logits; sums over batches.
//
// Mathematics. In a row of logits class a stands before class b if z_a > z_b, or z_a = z_b and a < b; a
// NaN stands before every number. With the rank of the label y, the number of classes before it,
//   top_k      counts += (rows, rows whose rank is below k₀, rows whose rank is below k₁),
//   confusion  counts[y, a] += 1 for the row's first class a.
// Rows whose label is ignored, or is no class, do not count. Over the batches of an epoch,
//   sums      loss += rows · mean loss of the batch,  right += hits of k₀,
// in double precision and in the order of the batches, which is what the host would compute. The first
// batch with a loss that is not finite is remembered by its number, and from it on nothing is added.
//
// Shapes. z: [rows, classes]; y: [rows] of i32; counts, which grow from batch to batch and are zeroed by
// their owner: [3], or [classes, classes], of i32 (2^31 − 1 at most in one cell). loss: one number of the
// logits' type; number: the batch's, 64 bits; total: one double; whole: the right answers and 1 + the number
// of the batch remembered, or 0, 64 bits each. `sums` takes the counts of top_k and leaves zeros.
//
// Method. As in softmax_cross_entropy.cu: `lanes` threads share a row, and a chunk of 256/lanes rows goes
// through shared memory. Integers are added atomically, so the order does not matter. A block gathers
// the counts of its chunks in shared memory first, unless the confusion matrix is too large for it:
// neighbouring pixels mostly count in the same cell.
//
// Launch. sums: one thread. top_k: one chunk a block; confusion: at most 1024 blocks that share the chunks. Block 256;
// shared memory: the chunk (staged) and classes² · 4 bytes (gathered).
//
// Cost. One comparison for each logit, one read of z.

#include "include/rows.cuh"
#include "include/params/metrics.h"

namespace {

constexpr unsigned threads = 256;
constexpr unsigned everyone = 0xFFFFFFFFu;

// Whether class a, of logit `za`, stands before class b.
__device__ __forceinline__ bool before(float za, unsigned a, float zb, unsigned b) {
    const bool a_is_nan = za != za, b_is_nan = zb != zb;
    if (a_is_nan || b_is_nan) return a_is_nan && (!b_is_nan || a < b);
    return za > zb || (za == zb && a < b);
}

// A thread's row of a chunk, and whether it counts.
struct Row {
    unsigned lane, index, label;
    bool counts;

    __device__ Row(const MetricsParams& p, const int* labels, unsigned chunk)
        : lane(threadIdx.x % p.lanes), index(threadIdx.x / p.lanes), label(0), counts(false) {
        const unsigned row = chunk * (threads / p.lanes) + index;
        if (row >= p.rows) return;
        const int found = labels[row];
        label = unsigned(found);
        counts = label < p.classes && !(p.has_ignored && found == p.ignored);
    }
};

template <class T>
__device__ void top_k(const MetricsParams& p, const T* __restrict__ logits, const int* __restrict__ labels,
                      int* __restrict__ counts) {
    SHARED(int, own, [3]);
    if (threadIdx.x < 3) own[threadIdx.x] = 0;
    __syncthreads();
    const T* rows = rows_of_block<threads>(logits, p.rows, p.classes, p.lanes, blockIdx.x, p.staged);
    const Row row(p, labels, blockIdx.x);
    unsigned rank = 0;
    if (row.counts) {
        const T* z = rows + size_t(row.index) * p.classes;
        const float mine = to_float(z[row.label]);
        for (unsigned c = row.lane; c < p.classes; c += p.lanes)
            rank += c != row.label && before(to_float(z[c]), c, mine, row.label);
    }
    for (unsigned by = p.lanes / 2; by > 0; by /= 2) rank += __shfl_xor_sync(everyone, rank, by);
    if (row.counts && row.lane == 0) {
        atomicAdd(&own[0], 1);
        if (rank < p.k[0]) atomicAdd(&own[1], 1);
        if (rank < p.k[1]) atomicAdd(&own[2], 1);
    }
    __syncthreads();
    if (threadIdx.x < 3) atomicAdd(&counts[threadIdx.x], own[threadIdx.x]);
}

template <class T>
__device__ void confusion(const MetricsParams& p, const T* __restrict__ logits, const int* __restrict__ labels,
                          int* __restrict__ counts) {
    // Behind the chunk.
    int* own = reinterpret_cast<int*>(dynamic_shared<unsigned char>() + p.tile);
    const unsigned cells = p.classes * p.classes;
    if (p.gathered)
        for (unsigned cell = threadIdx.x; cell < cells; cell += threads) own[cell] = 0;
    const unsigned chunks = (p.rows + threads / p.lanes - 1) / (threads / p.lanes);
    for (unsigned chunk = blockIdx.x; chunk < chunks; chunk += gridDim.x) {
        // The last chunk has been read, and `own` is ready.
        __syncthreads();
        const T* rows = rows_of_block<threads>(logits, p.rows, p.classes, p.lanes, chunk, p.staged);
        const Row row(p, labels, chunk);
        float best = 0.0f;
        // No class at all: any class stands before it.
        unsigned first = p.classes;
        if (row.counts) {
            const T* z = rows + size_t(row.index) * p.classes;
            for (unsigned c = row.lane; c < p.classes; c += p.lanes) {
                const float value = to_float(z[c]);
                if (first == p.classes || before(value, c, best, first)) best = value, first = c;
            }
        }
        for (unsigned by = p.lanes / 2; by > 0; by /= 2) {
            const float other = __shfl_xor_sync(everyone, best, by);
            const unsigned c = __shfl_xor_sync(everyone, first, by);
            if (c < p.classes && (first == p.classes || before(other, c, best, first))) best = other, first = c;
        }
        if (row.counts && row.lane == 0) atomicAdd(&(p.gathered ? own : counts)[row.label * p.classes + first], 1);
    }
    if (!p.gathered) return;
    __syncthreads();
    for (unsigned cell = threadIdx.x; cell < cells; cell += threads)
        if (own[cell] != 0) atomicAdd(&counts[cell], own[cell]);
}

template <class T>
__device__ void sums(const MetricsParams& p, const T* loss, const unsigned long long* number, int* counts,
                     double* total, unsigned long long* whole) {
    const double value = to_float(*loss);
    if (whole[1] == 0) {
        // A difference with itself is 0 unless the number is infinite or NaN.
        if (value - value == 0.0) {
            *total += value * double(p.rows);
            whole[0] += counts[1];
        } else {
            whole[1] = *number + 1;
        }
    }
    for (int i = 0; i < 3; ++i) counts[i] = 0;
}

}  // namespace

#define SUMS(suffix, T)                                                                          \
    extern "C" __global__ void __launch_bounds__(32)                                             \
    metrics_sums_##suffix(MetricsParams p, const T* loss, const unsigned long long* number,      \
                          int* counts, double* total, unsigned long long* whole) {               \
        sums(p, loss, number, counts, total, whole);                                             \
    }                                                                                            \
    EXPORT_KERNEL(metrics_sums_##suffix)

#define METRIC(name, suffix, T)                                                                  \
    extern "C" __global__ void __launch_bounds__(threads)                                        \
    metrics_##name##_##suffix(MetricsParams p, const T* logits, const int* labels, int* counts) { \
        name(p, logits, labels, counts);                                                         \
    }                                                                                            \
    EXPORT_KERNEL(metrics_##name##_##suffix)

#define FOR_TYPE(suffix, T)       \
    METRIC(top_k, suffix, T);     \
    METRIC(confusion, suffix, T); \
    SUMS(suffix, T)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
