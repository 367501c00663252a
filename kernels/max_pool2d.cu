// Max pooling over NHWC maps, and its vjp.
//
// Mathematics. y[n, p, q, c] = max over (r, s) of x[n, p·stride − padding + r, q·stride − padding + s, c],
// over the cells of the window that lie on the map; chosen[n, p, q, c] = r·S + s of the first maximum in
// row-major order (S columns in a window). A NaN wins over every number, the last NaN over the others:
// PyTorch's rule, and that of the CPU path, to which results are equal. The vjp is
//   dx[n, h, w, c] = Σ over the windows (p, q) that hold (h, w) of dy[n, p, q, c] · [chosen = (h, w)],
// a gather over at most ⌈R/stride⌉·⌈S/stride⌉ windows in rising order: no atomics, nothing zeroed first.
//
// Shapes. x, dx: [batch, H, W, channels]; y, dy, chosen: [batch, P, Q, channels]. `chosen` has one byte
// an element, or an i32 for windows of more than 256 cells (`wide`).
//
// Method. A thread makes one 16-byte vector of channels of one output pixel (forward) or input pixel
// (backward); windows that overlap read each other's cells from L1 and L2.
//   2x2, 3x3       unrolled, so that all loads of a window are under way together. A cell off the map
//                  is replaced by the window's nearest cell on it, value and offset: meeting a cell
//                  twice changes nothing, and the order stays row-major.
//   backward_two   unrolled over two windows by two, for kernels of at most twice the stride.
//   any, wide      any window and any number of channels, one element a thread.
//
// Launch. grid (⌈items / 256⌉, batch), an item being a vector (an element) of one pixel; block 256.
//
// Cost. R·S comparisons for an output. Bytes, forward: x once, y and chosen once; backward: dy and
// chosen once, dx once. No arithmetic but the vjp's sums, in f32, rounded once.

#include "include/numbers.cuh"
#include "include/pixels.cuh"
#include "include/params/max_pool2d.h"

namespace {

constexpr unsigned threads = 256;

// The better of a running maximum and the next cell's value.
__device__ __forceinline__ void meet(float value, unsigned offset, float& best, unsigned& best_offset) {
    const bool wins = value > best || value != value;
    best = wins ? value : best;
    best_offset = wins ? offset : best_offset;
}

// The cells r of window `window` along one axis that lie on the map: first .. end.
struct Cells {
    int start;
    unsigned first, end;

    __device__ Cells(const MaxPool2dParams& p, int axis, unsigned window)
        : start(int(window * p.stride[axis]) - int(p.padding[axis])), first(start < 0 ? unsigned(-start) : 0),
          end(min(p.kernel[axis], unsigned(int(p.input[axis]) - start))) {}
    __device__ unsigned nearest(unsigned r) const { return min(max(r, first), end - 1); }
};

// Offsets as they are stored: a byte each in vectors, a byte or an i32 where one is moved alone.
template <int size, class Offset>
__device__ __forceinline__ void load_offsets(const Offset* from, unsigned (&offset)[size]) {
    if constexpr (size == 1) {
        offset[0] = unsigned(*from);
    } else {
        Pack<Offset, size> raw;
        raw.load(from);
#pragma unroll
        for (int j = 0; j < size; ++j) offset[j] = raw.word[j / 4] >> 8 * (j % 4) & 0xFF;
    }
}
template <int size, class Offset>
__device__ __forceinline__ void store_offsets(Offset* to, const unsigned (&offset)[size]) {
    if constexpr (size == 1) {
        *to = Offset(offset[0]);
    } else {
        Pack<Offset, size> raw = {};
#pragma unroll
        for (int j = 0; j < size; ++j) raw.word[j / 4] |= offset[j] << 8 * (j % 4);
        raw.store(to);
    }
}

// `side` by `side` windows, unrolled, or any window if `side` is 0.
template <int side, int size, class Offset, class T>
__device__ void forward(const MaxPool2dParams& p, const T* __restrict__ x, T* __restrict__ y,
                        Offset* __restrict__ chosen) {
    const Pixel at = pixel_of<size>(blockIdx.x * threads + threadIdx.x, p.output, p.channels);
    if (!at.inside) return;
    const Cells rows(p, 0, at.row), columns(p, 1, at.column);
    const T* image = x + image_offset(blockIdx.y, p.input, p.channels, at.channel);
    const auto cell = [&](unsigned r, unsigned s) {
        return image + ((rows.start + int(r)) * int(p.input[1]) + columns.start + int(s)) * int(p.channels);
    };
    float best[size];
    unsigned offset[size];
#pragma unroll
    for (int j = 0; j < size; ++j) best[j] = -INFINITY, offset[j] = rows.first * p.kernel[1] + columns.first;
    if constexpr (side > 0) {
        Pack<T, size> cells[side][side];
#pragma unroll
        for (unsigned r = 0; r < side; ++r)
#pragma unroll
            for (unsigned s = 0; s < side; ++s) cells[r][s].load(cell(rows.nearest(r), columns.nearest(s)));
#pragma unroll
        for (unsigned r = 0; r < side; ++r)
#pragma unroll
            for (unsigned s = 0; s < side; ++s) {
                const unsigned here = rows.nearest(r) * side + columns.nearest(s);
                float values[size];
                cells[r][s].unpack(values);
#pragma unroll
                for (int j = 0; j < size; ++j) meet(values[j], here, best[j], offset[j]);
            }
    } else {
        for (unsigned r = rows.first; r < rows.end; ++r)
#pragma unroll 1
            for (unsigned s = columns.first; s < columns.end; ++s) {
                float values[size];
                load_vector(cell(r, s), values);
#pragma unroll
                for (int j = 0; j < size; ++j) meet(values[j], r * p.kernel[1] + s, best[j], offset[j]);
            }
    }
    const size_t to = image_offset(blockIdx.y, p.output, p.channels, at.channel) +
                      (at.row * p.output[1] + at.column) * p.channels;
    store_vector(y + to, best);
    store_offsets(chosen + to, offset);
}

// The windows along one axis that hold cell `cell` of the map: first .. end.
struct Windows {
    unsigned at, first, end;

    __device__ Windows(const MaxPool2dParams& p, int axis, unsigned cell)
        : at(cell + p.padding[axis]),
          first(at < p.kernel[axis] ? 0 : (at - p.kernel[axis]) / p.stride[axis] + 1),
          end(min(at / p.stride[axis] + 1, p.output[axis])) {}
    // Where the cell lies in window `window`.
    __device__ unsigned offset(unsigned window, unsigned stride) const { return at - window * stride; }
};

// At most `span` windows along each axis, unrolled, or any number if `span` is 0.
template <int span, int size, class Offset, class T>
__device__ void backward(const MaxPool2dParams& p, const T* __restrict__ dy, const Offset* __restrict__ chosen,
                         T* __restrict__ dx) {
    const Pixel at = pixel_of<size>(blockIdx.x * threads + threadIdx.x, p.input, p.channels);
    if (!at.inside) return;
    const Windows rows(p, 0, at.row), columns(p, 1, at.column);
    const size_t image = image_offset(blockIdx.y, p.output, p.channels, at.channel);
    float sums[size] = {};
    const auto gather = [&](unsigned row, unsigned column) {
        const size_t from = image + (row * p.output[1] + column) * p.channels;
        const unsigned here = rows.offset(row, p.stride[0]) * p.kernel[1] + columns.offset(column, p.stride[1]);
        float values[size];
        unsigned offset[size];
        load_vector(dy + from, values);
        load_offsets(chosen + from, offset);
#pragma unroll
        for (int j = 0; j < size; ++j) sums[j] += offset[j] == here ? values[j] : 0.0f;
    };
    if constexpr (span > 0) {
#pragma unroll
        for (unsigned i = 0; i < span; ++i)
#pragma unroll
            for (unsigned j = 0; j < span; ++j)
                if (rows.first + i < rows.end && columns.first + j < columns.end)
                    gather(rows.first + i, columns.first + j);
    } else {
        for (unsigned row = rows.first; row < rows.end; ++row)
#pragma unroll 1
            for (unsigned column = columns.first; column < columns.end; ++column) gather(row, column);
    }
    store_vector(dx + image_offset(blockIdx.y, p.input, p.channels, at.channel) +
                     (at.row * p.input[1] + at.column) * p.channels,
                 sums);
}

}  // namespace

#define FORWARD(name, T, side, size, Offset)                                                      \
    extern "C" __global__ void __launch_bounds__(threads)                                         \
    max_pool2d_##name(MaxPool2dParams p, const T* __restrict__ x, T* __restrict__ y,              \
                      Offset* __restrict__ chosen) {                                              \
        forward<side, size>(p, x, y, chosen);                                                     \
    }                                                                                             \
    EXPORT_KERNEL(max_pool2d_##name)

#define BACKWARD(name, T, span, size, Offset)                                                     \
    extern "C" __global__ void __launch_bounds__(threads)                                         \
    max_pool2d_backward_##name(MaxPool2dParams p, const T* __restrict__ dy,                       \
                               const Offset* __restrict__ chosen, T* __restrict__ dx) {           \
        backward<span, size>(p, dy, chosen, dx);                                                  \
    }                                                                                             \
    EXPORT_KERNEL(max_pool2d_backward_##name)

#define FOR_TYPE(suffix, T)                                \
    FORWARD(2x2_##suffix, T, 2, Vector<T>::size, uint8_t); \
    FORWARD(3x3_##suffix, T, 3, Vector<T>::size, uint8_t); \
    FORWARD(any_##suffix, T, 0, 1, uint8_t);               \
    FORWARD(wide_##suffix, T, 0, 1, int);                  \
    BACKWARD(two_##suffix, T, 2, Vector<T>::size, uint8_t); \
    BACKWARD(any_##suffix, T, 0, 1, uint8_t);              \
    BACKWARD(wide_##suffix, T, 0, 1, int)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
