// The products of a semantic bottleneck on tensor cores: projection with its loss, gradients of x and W.
//
// Mathematics, shapes and results: sb_projection.cu, which also has what is elementwise and what has no
// whole vectors. Operands are f16, bf16, or f32 rounded to tf32; sums are f32. Channels are a multiple of
// a 16-byte vector, and so is the pitch of dz, whose columns beyond the concepts are 0.
//
// Method. All three are the pipeline of include/implicit_gemm.cuh: slabs of 64 bytes of depth come by
// cp.async, several stages ahead, and warps multiply them by mma.sync.
//
//             A (down)            B (across)          depth      warps   stages
//   64, 256   W: 80 concepts      x: 64, 256 rows     channels   4, 8    8, 4
//   dx        dz: 128 rows        W: 128 channels     concepts   8       4
//   dw        dz: 80 concepts     x: 128 channels     rows       4       4
//
// Up to 80 concepts are one tile, so x is read once forward and once for dW, and dx is written once. The
// concepts lie down and not across since a staged tile wants multiples of 32 across. A warp has all 80
// concepts and 16 or 32 columns: 5 + 1 or 5 + 2 loads of fragments for 10 or 20 products.
//   forward    the staged tile becomes logits, concepts and the loss's sums, labels read 8 ahead.
//   dw         parts of the rows, whole slabs each, whose sums go to `partial`; sb_projection_sum adds them
//              in order. The blocks of the first channels also add up dz itself, for the bias.
//
// Launch. forward ⌈rows/R⌉ · ⌈concepts/80⌉ blocks: R = 256 where these are enough for every
// multiprocessor, else 64; dx ⌈rows/128⌉ · ⌈channels/128⌉; dw ⌈channels/128⌉ · ⌈concepts/80⌉ · parts.
// Dynamic shared memory 72, 84, 64 and 64 (tf32: 56) KiB.
//
// Cost. 2 · rows · channels · concepts FLOPs in each of the three, of which a tile of 80 does 80 / 70; a
// depth of 70 is 96 in slabs of 16-bit elements, 80 in those of tf32. Bytes: x once forward, once for dW;
// dx once; W once for each row tile, and the labels' [rows, concepts], from L2.
//
// Prediction, not measured, for 32,768 rows of 4,096 bf16 channels and 70 concepts at an H200's 4.8 TB/s:
// 268 MB of x in 56 us; 18.8 GFLOP (21.5 with the padding) want 43 us of mma.sync at 500 TFLOP/s, half the
// data sheet's rate, which is for wgmma. W adds 128 · 573 KB = 73 MB from L2, so about 65 us forward, as
// much for dx, and 75 us for dW with its 9 parts. Single images of 90 × 90 are 127 tiles of 64 rows, which
// read as much of W as of x: there L2 and not memory is the bound, about 25 us in place of 14.

#include "include/concepts.cuh"
#include "include/tensor_core.cuh"

namespace {

constexpr unsigned tile_concepts = 80, tile_side = 128;

// A slab that lies across the depth and whose extent is no multiple of 8 vectors: laid out as the next that
// is, since vectors are permuted among 8.
template <class T> constexpr unsigned whole_eights(unsigned extent) {
    const unsigned eight = 8 * 16 / sizeof(T);
    return (extent + eight - 1) / eight * eight;
}
template <class T, unsigned extent_> struct PaddedSlab : Slab<T, whole_eights<T>(extent_), false> {
    static constexpr unsigned extent = extent_;
};

// Slabs of a matrix whose rows run along the depth: Slab::extent of its `rows` from `first` on.
template <class Slab, unsigned threads> class RowsAlong {
    using T = typename Slab::Element;
    static constexpr unsigned vectors = Slab::extent * 4, step = threads / 4;
    static_assert(Slab::along && threads % 4 == 0, "rows along the depth, four vectors of each");

public:
    __device__ __forceinline__ RowsAlong(const T* matrix, unsigned pitch, unsigned first, unsigned rows)
        : matrix_(matrix), pitch_(pitch), row_(threadIdx.x / 4), last_(rows - first),
          depth_(threadIdx.x % 4 * Slab::per_vector), from_(matrix + size_t(first + row_) * pitch + depth_) {}

    __device__ __forceinline__ void load(char* slab) {
        const T* from = from_;
#pragma unroll
        for (unsigned j = 0; j * threads < vectors; ++j, from += size_t(step) * pitch_) {
            const unsigned row = row_ + j * step;
            if (vectors % threads != 0 && row >= Slab::extent) break;
            const bool there = row < last_ && depth_ < pitch_;
            copy_async_16_or_zero(slab + Slab::at(row, threadIdx.x % 4), there ? from : matrix_, there);
        }
        depth_ += Slab::depth;
        from_ += Slab::depth;
    }

private:
    const T* matrix_;
    unsigned pitch_, row_, last_, depth_;
    const T* from_;
};

// Slabs of a matrix whose rows are the depth, from row `begin` to before `end`: Slab::extent columns from
// `first` on.
template <class Slab, unsigned threads> class RowsAcross {
    using T = typename Slab::Element;
    static constexpr unsigned across = Slab::extent / Slab::per_vector, vectors = across * Slab::depth;
    static_assert(!Slab::along, "rows across the depth");

public:
    __device__ __forceinline__ RowsAcross(const T* matrix, unsigned pitch, unsigned begin, unsigned end,
                                          unsigned first)
        : matrix_(matrix), pitch_(pitch), at_(begin), end_(end), first_(first) {}

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j * threads < vectors; ++j) {
            const unsigned i = threadIdx.x + j * threads;
            if (vectors % threads != 0 && i >= vectors) break;
            const unsigned row = i / across, v = i % across, column = first_ + v * Slab::per_vector;
            const bool there = at_ + row < end_ && column < pitch_;
            const T* from = there ? matrix_ + size_t(at_ + row) * pitch_ + column : matrix_;
            copy_async_16_or_zero(slab + Slab::at(row, v), from, there);
        }
        at_ += Slab::depth;
    }

private:
    const T* matrix_;
    unsigned pitch_, at_, end_, first_;
};

__device__ __forceinline__ unsigned slabs_of(unsigned depth, unsigned per_slab) {
    return (depth + per_slab - 1) / per_slab;
}

// Rows of x across, concepts down.
template <class T, unsigned rows_>
using Projection = TensorCore<Slab<T, tile_concepts, true>, Slab<T, rows_, true>, 1, rows_ == 64 ? 4 : 8>;

template <class T, unsigned tile_rows, unsigned stages>
__device__ __forceinline__ void forward(const SbProjectionParams& p, const T* __restrict__ x,
                                        const T* __restrict__ weight, Concepts<T>& result,
                                        float* __restrict__ partial) {
    using Multiply = Projection<T, tile_rows>;
    constexpr unsigned threads = Multiply::threads, ahead = 8;
    const unsigned row = blockIdx.x / p.concept_tiles * tile_rows;
    const unsigned concept = blockIdx.x % p.concept_tiles * tile_concepts;
    RowsAlong<typename Multiply::A, threads> a(weight, p.channels, concept, p.concepts);
    RowsAlong<typename Multiply::B, threads> b(x, p.channels, row, p.rows);
    char* shared = dynamic_shared<char>();
    Multiply multiply;
    multiply_slabs<stages>(multiply, a, b, slabs_of(p.channels, Multiply::A::depth), shared);
    Staged<tile_concepts, tile_rows> tile{reinterpret_cast<float*>(shared)};
    multiply.stage(tile);
    __syncthreads();

    // Neighbouring threads have neighbouring concepts, as they lie in memory.
    const unsigned width = min(tile_concepts, p.concepts - concept), height = min(tile_rows, p.rows - row);
    for (unsigned begin = threadIdx.x; begin < height * width; begin += ahead * threads) {
        typename Concepts<T>::Label labels[ahead];
        float bias[ahead];
        auto here = [&](unsigned j, auto then) {
            const unsigned i = begin + j * threads, r = i / width, c = i % width;
            if (i < height * width) then(r, c, size_t(row + r) * p.concepts + concept + c);
        };
#pragma unroll
        for (unsigned j = 0; j < ahead; ++j)
            here(j, [&](unsigned, unsigned c, size_t at) {
                labels[j] = result.label(at);
                bias[j] = to_float(result.bias[concept + c]);
            });
#pragma unroll
        for (unsigned j = 0; j < ahead; ++j)
            here(j, [&](unsigned r, unsigned c, size_t at) { result.finish(tile(c, r), bias[j], at, labels[j]); });
    }
    result.template leave<threads>(partial);
}

template <class T> using Input = TensorCore<Slab<T, tile_side, true>, Slab<T, tile_side, false>, 2, 4>;

template <class T>
__device__ __forceinline__ void input_gradient(const SbProjectionParams& p, const T* __restrict__ dz,
                                               const T* __restrict__ weight, T* __restrict__ dx) {
    using Multiply = Input<T>;
    const unsigned row = blockIdx.x / p.channel_tiles * tile_side;
    const unsigned channel = blockIdx.x % p.channel_tiles * tile_side;
    RowsAlong<typename Multiply::A, Multiply::threads> a(dz, p.pitch, row, p.rows);
    RowsAcross<typename Multiply::B, Multiply::threads> b(weight, p.channels, 0, p.concepts, channel);
    auto tile = staged_product<Multiply>(a, b, slabs_of(p.concepts, Multiply::A::depth));
    const auto epilogue = Epilogue<T>::plain(dx, nullptr, true, p.channels);
    write_tile_by<Multiply::threads, 16 / sizeof(T)>(tile, epilogue, row, p.rows, channel, [&](unsigned of) {
        return size_t(of) * p.channels;
    });
}

template <class T>
using Weights = TensorCore<PaddedSlab<T, tile_concepts>, Slab<T, tile_side, false>, 1, 4>;

// The same, with the sums of the slabs' concepts over the rows, one concept a thread.
template <class T> class WithSums : public Weights<T> {
public:
    using A = typename Weights<T>::A;
    bool wanted;
    float sum = 0.0f;

    __device__ __forceinline__ explicit WithSums(bool wanted_) : wanted(wanted_ && threadIdx.x < A::extent) {}
    __device__ __forceinline__ void slab(const char* a, const char* b) {
        Weights<T>::slab(a, b);
        if (!wanted) return;
#pragma unroll 4
        for (unsigned d = 0; d < A::depth; ++d) {
            const char* vector = a + A::at(d, threadIdx.x / A::per_vector);
            sum += to_float(reinterpret_cast<const T*>(vector)[threadIdx.x % A::per_vector]);
        }
    }
};

// partial: [parts][concepts · channels] of W, then [parts][concepts] of b.
template <class T>
__device__ __forceinline__ void weight_gradient(const SbProjectionParams& p, const T* __restrict__ dz,
                                                const T* __restrict__ x, float* __restrict__ partial) {
    using Multiply = Weights<T>;
    constexpr unsigned threads = Multiply::threads;
    const unsigned channel = blockIdx.x % p.channel_tiles * tile_side;
    const unsigned concept = blockIdx.x / p.channel_tiles % p.concept_tiles * tile_concepts;
    const unsigned part = blockIdx.x / p.channel_tiles / p.concept_tiles;
    const unsigned begin = part * p.rows_per_part, end = min(begin + p.rows_per_part, p.rows);
    RowsAcross<typename Multiply::A, threads> a(dz, p.pitch, begin, end, concept);
    RowsAcross<typename Multiply::B, threads> b(x, p.channels, begin, end, channel);
    char* shared = dynamic_shared<char>();
    WithSums<T> multiply(channel == 0);
    multiply_slabs<GEMM_STAGES>(multiply, a, b, slabs_of(end - begin, Multiply::A::depth), shared);
    Staged<tile_concepts, tile_side> tile{reinterpret_cast<float*>(shared)};
    multiply.stage(tile);
    __syncthreads();
    const size_t weights = size_t(p.concepts) * p.channels;
    const auto epilogue = Epilogue<T>::plain(nullptr, partial + part * weights, true, p.channels);
    write_tile_by<threads, 4>(tile, epilogue, concept, p.concepts, channel,
                              [&](unsigned of) { return size_t(of) * p.channels; });
    const unsigned mine = concept + threadIdx.x;
    if (multiply.wanted && mine < p.concepts)
        partial[p.parts * weights + size_t(part) * p.concepts + mine] = multiply.sum;
}

}  // namespace

#define FORWARD(rows, stages, suffix, T)                                                                     \
    extern "C" __global__ void __launch_bounds__(Projection<T, rows>::threads)                               \
    sb_projection_mma_##rows##_##suffix(                                                                     \
        SbProjectionParams p, const T* __restrict__ x, const T* __restrict__ weight,                         \
        const T* __restrict__ bias, const T* __restrict__ targets, const T* __restrict__ mask,               \
        const T* __restrict__ weights, T* __restrict__ logits, T* __restrict__ concepts,                     \
        float* __restrict__ partial) {                                                                       \
        Concepts<T> result(p, bias, targets, mask, weights, logits, concepts);                               \
        forward<T, rows, stages>(p, x, weight, result, partial);                                             \
    }                                                                                                        \
    EXPORT_KERNEL(sb_projection_mma_##rows##_##suffix)

#define FOR_MATH(suffix, T)                                                                                  \
    FORWARD(64, 8, suffix, T);                                                                               \
    FORWARD(256, 4, suffix, T);                                                                              \
    extern "C" __global__ void __launch_bounds__(Input<T>::threads, 2) sb_projection_mma_dx_##suffix(        \
        SbProjectionParams p, const T* __restrict__ dz, const T* __restrict__ weight, T* __restrict__ dx) {  \
        input_gradient(p, dz, weight, dx);                                                                   \
    }                                                                                                        \
    EXPORT_KERNEL(sb_projection_mma_dx_##suffix);                                                            \
    extern "C" __global__ void __launch_bounds__(Weights<T>::threads) sb_projection_mma_dw_##suffix(         \
        SbProjectionParams p, const T* __restrict__ dz, const T* __restrict__ x,                             \
        float* __restrict__ partial) {                                                                       \
        weight_gradient(p, dz, x, partial);                                                                  \
    }                                                                                                        \
    EXPORT_KERNEL(sb_projection_mma_dw_##suffix)

FOR_MATH(tf32, float);
FOR_MATH(f16, __half);
FOR_MATH(bf16, __nv_bfloat16);
