// Where the operands of a convolution's matrix products come from: each class below copies one slab
// (implicit_gemm.cuh) after the other to shared memory.
//
//            A: rows of D             B: columns of D           depth
//   fprop    WindowRows of x          MatrixRows of w           (r, s, c)
//   dgrad    WindowRows of dy         FilterColumns of w        (r, s, k), the taps that hit
//   wgrad    MatrixColumns of dy      WindowColumns of x        (n, p, q)
//
// A *window* says which source pixel a tap of a target pixel reads, on each axis
//   source = target · step + offset + tap · tap_step,
// which is both fprop (step σ, offset -π, tap_step δ) and one residue class of dgrad (`Residues`).
// Depths are walked without divisions: an `Odometer` adds a constant to a number of three digits.
//
// A thread copies the same `count` vectors of each slab. Where channels do not divide into vectors
// (`vectors` false) it copies element by element: 4-byte copies of f32, plain loads of 16-bit elements.
#pragma once

#include "implicit_gemm.cuh"
#include "params/conv2d.h"

struct Odometer {
    unsigned high, mid, low;

    __device__ __forceinline__ static Odometer of(unsigned position, unsigned mids, unsigned lows) {
        return {position / lows / mids, position / lows % mids, position % lows};
    }
    // `step` has digits of the same extents.
    __device__ __forceinline__ void advance(const Odometer& step, unsigned mids, unsigned lows) {
        low += step.low;
        mid += step.mid;
        high += step.high;
        if (low >= lows) low -= lows, ++mid;
        if (mid >= mids) mid -= mids, ++high;
    }
    __device__ __forceinline__ void increment(unsigned mids, unsigned lows) {
        if (++low < lows) return;
        low = 0;
        if (++mid < mids) return;
        mid = 0;
        ++high;
    }
};

// Pairs are vertical, horizontal.
struct Window {
    unsigned source[2], targets[2], taps[2], channels, batch;
    int step[2], offset[2], tap_step[2];

    __device__ __forceinline__ static Window forward(const Conv2dParams& p) {
        Window window;
        window.channels = p.channels, window.batch = p.batch;
#pragma unroll
        for (int axis = 0; axis < 2; ++axis) {
            window.source[axis] = p.input[axis];
            window.targets[axis] = p.output[axis];
            window.taps[axis] = p.taps[axis];
            window.step[axis] = int(p.stride[axis]);
            window.offset[axis] = -int(p.padding[axis]);
            window.tap_step[axis] = int(p.dilation[axis]);
        }
        return window;
    }
    __device__ __forceinline__ bool within(int y, int x) const {
        return unsigned(y) < source[0] && unsigned(x) < source[1];
    }
    __device__ __forceinline__ unsigned element(unsigned image, int y, int x) const {
        return ((image * source[0] + unsigned(y)) * source[1] + unsigned(x)) * channels;
    }
};

// dgrad without work in vain. Input pixel h = σ·u + a is read by tap r where σ divides h + π - δ·r. For
// one residue a that is either no tap or every (σ/g)-th from a first one on, g = gcd(σ, δ), and
// tap r₀ + i·σ/g reads it from output pixel u + (a + π - δ·r₀)/σ - i·δ/g. So the pixels of one pair
// of residues are a window over dy.
struct Residues {
    unsigned residue[2], first_tap[2];
    Window window;

    __device__ __forceinline__ static Residues of(const Conv2dParams& p, unsigned index) {
        Residues all;
        unsigned across = min(p.stride[1], p.input[1]);
        all.residue[0] = index / across, all.residue[1] = index % across;
        all.window.channels = p.filters, all.window.batch = p.batch;
#pragma unroll
        for (int axis = 0; axis < 2; ++axis) {
            int stride = int(p.stride[axis]), dilation = int(p.dilation[axis]);
            int distance = int(all.residue[axis] + p.padding[axis]);
            unsigned tap = 0;
            while (tap < p.tap_step[axis] && distance % stride != 0) ++tap, distance -= dilation;
            bool hit = tap < p.tap_step[axis] && tap < p.taps[axis];
            all.first_tap[axis] = tap;
            all.window.source[axis] = p.output[axis];
            all.window.targets[axis] = (p.input[axis] - all.residue[axis] + p.stride[axis] - 1) / p.stride[axis];
            all.window.taps[axis] = hit ? (p.taps[axis] - tap + p.tap_step[axis] - 1) / p.tap_step[axis] : 0;
            all.window.step[axis] = 1;
            all.window.offset[axis] = distance / stride;
            all.window.tap_step[axis] = -int(p.pixel_step[axis]);
        }
        return all;
    }
};

// One vector element by element: `next()` is called for one element after the other and returns its
// address, or null for a zero. `base` is any address of the buffer.
template <class T, class Next>
__device__ __forceinline__ void copy_elements(char* to, const T* base, Next next) {
    constexpr unsigned per_vector = 16 / sizeof(T);
    if constexpr (sizeof(T) == 4) {
#pragma unroll
        for (unsigned e = 0; e < per_vector; ++e) {
            const T* from = next();
            copy_async_4_or_zero(to + 4 * e, from ? from : base, from != nullptr);
        }
    } else {
        Vector<T> vector;
#pragma unroll
        for (unsigned e = 0; e < per_vector; ++e) {
            const T* from = next();
            vector.element[e] = from ? *from : round_to<T>(0.0f);
        }
        *reinterpret_cast<Vector<T>*>(to) = vector;
    }
}

// The vectors of a slab that a thread copies: `count` of them, numbers `i(0)`, `i(1)`, ... (rows of a slab
// that lies along, depths of one that lies across), all with the same `v`.
template <class Slab, unsigned threads> struct Share {
    static constexpr unsigned across = Slab::along ? 4 : Slab::vectors, step = threads / across;
    static constexpr unsigned count = Slab::bytes / 16 / threads;
    static_assert(count * threads * 16 == Slab::bytes && step % 8 == 0, "equal shares, same permutation");
    __device__ __forceinline__ static unsigned v() { return threadIdx.x % across; }
    __device__ __forceinline__ static unsigned i(unsigned j) { return threadIdx.x / across + j * step; }
    __device__ __forceinline__ static unsigned at(unsigned j) {
        return Slab::at(i(0), v()) + Slab::skip(j * step / 8);
    }
};

// Row m: target pixel m of a window. Depth: (tap row, tap column, channel).
template <class Slab, unsigned threads, bool vectors> class WindowRows {
    using T = typename Slab::Element;
    using Mine = Share<Slab, threads>;
    static_assert(Slab::along, "channels run along the depth");

public:
    __device__ __forceinline__ WindowRows(const T* source, const Window& window, unsigned row, unsigned slab)
        : source_(source), window_(window) {
        const unsigned mids = max(window.taps[1], 1u);
        at_ = Odometer::of(slab * Slab::depth + Mine::v() * Slab::per_vector, mids, window.channels);
        step_ = Odometer::of(Slab::depth, mids, window.channels);
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            Odometer pixel = Odometer::of(row + Mine::i(j), window.targets[0], window.targets[1]);
            image_[j] = pixel.high;
            // A row beyond the last image reads nothing.
            top_[j] = pixel.high < window.batch ? int(pixel.mid) * window.step[0] + window.offset[0] : -(1 << 30);
            left_[j] = int(pixel.low) * window.step[1] + window.offset[1];
        }
    }

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            char* to = slab + Mine::at(j);
            if constexpr (vectors) {
                const T* from = address(j, at_);
                copy_async_16_or_zero(to, from ? from : source_, from != nullptr);
            } else {
                Odometer element = at_;
                copy_elements(to, source_, [&] {
                    const T* from = address(j, element);
                    element.increment(window_.taps[1], window_.channels);
                    return from;
                });
            }
        }
        at_.advance(step_, window_.taps[1], window_.channels);
    }

private:
    __device__ __forceinline__ const T* address(unsigned j, const Odometer& at) const {
        int y = top_[j] + int(at.high) * window_.tap_step[0], x = left_[j] + int(at.mid) * window_.tap_step[1];
        if (at.high >= window_.taps[0] || !window_.within(y, x)) return nullptr;
        return source_ + (window_.element(image_[j], y, x) + at.low);
    }

    const T* source_;
    Window window_;
    Odometer at_, step_;
    unsigned image_[Mine::count];
    int top_[Mine::count], left_[Mine::count];
};

// Row n: row n of a matrix [rows, depth] as it lies in memory.
template <class Slab, unsigned threads, bool vectors> class MatrixRows {
    using T = typename Slab::Element;
    using Mine = Share<Slab, threads>;
    static_assert(Slab::along, "a matrix's rows run along the depth");

public:
    __device__ __forceinline__ MatrixRows(const T* source, unsigned rows, unsigned depth, unsigned row,
                                          unsigned slab)
        : source_(source), rows_(rows), depth_(depth), row_(row),
          at_(slab * Slab::depth + Mine::v() * Slab::per_vector) {}

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            char* to = slab + Mine::at(j);
            unsigned row = row_ + Mine::i(j);
            if constexpr (vectors) {
                bool there = row < rows_ && at_ < depth_;
                copy_async_16_or_zero(to, source_ + (there ? row * depth_ + at_ : 0), there);
            } else {
                unsigned at = at_;
                copy_elements(to, source_, [&] {
                    const T* from = row < rows_ && at < depth_ ? source_ + (row * depth_ + at) : nullptr;
                    ++at;
                    return from;
                });
            }
        }
        at_ += Slab::depth;
    }

private:
    const T* source_;
    unsigned rows_, depth_, row_, at_;
};

// Row m: column m of a matrix [depth, columns].
template <class Slab, unsigned threads, bool vectors> class MatrixColumns {
    using T = typename Slab::Element;
    using Mine = Share<Slab, threads>;
    static_assert(!Slab::along, "a matrix's rows run across the depth");

public:
    __device__ __forceinline__ MatrixColumns(const T* source, unsigned depth, unsigned columns,
                                             unsigned column, unsigned slab)
        : source_(source), depth_(depth), columns_(columns), column_(column + Mine::v() * Slab::per_vector),
          at_(slab * Slab::depth) {}

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            char* to = slab + Mine::at(j);
            unsigned depth = at_ + Mine::i(j);
            if constexpr (vectors) {
                bool there = depth < depth_ && column_ < columns_;
                copy_async_16_or_zero(to, source_ + (there ? depth * columns_ + column_ : 0), there);
            } else {
                unsigned column = column_;
                copy_elements(to, source_, [&] {
                    bool there = depth < depth_ && column < columns_;
                    const T* from = there ? source_ + (depth * columns_ + column) : nullptr;
                    ++column;
                    return from;
                });
            }
        }
        at_ += Slab::depth;
    }

private:
    const T* source_;
    unsigned depth_, columns_, column_, at_;
};

// Column n: channel n of the filters, at the taps of a residue class. Depth: (tap row, tap column, filter).
template <class Slab, unsigned threads, bool vectors> class FilterColumns {
    using T = typename Slab::Element;
    using Mine = Share<Slab, threads>;
    static_assert(!Slab::along, "channels run across the depth");

public:
    __device__ __forceinline__ FilterColumns(const T* filters, const Conv2dParams& p, const Residues& residues,
                                             unsigned column, unsigned slab)
        : filters_(filters), channels_(p.channels), column_(column + Mine::v() * Slab::per_vector) {
        filter_ = p.taps[0] * p.taps[1] * p.channels, count_ = p.filters;
        first_ = (residues.first_tap[0] * p.taps[1] + residues.first_tap[1]) * p.channels;
        down_ = p.tap_step[0] * p.taps[1] * p.channels, across_ = p.tap_step[1] * p.channels;
        taps_[0] = residues.window.taps[0], taps_[1] = max(residues.window.taps[1], 1u);
        at_ = Odometer::of(slab * Slab::depth + Mine::i(0), taps_[1], count_);
        step_ = Odometer::of(Mine::step, taps_[1], count_);
    }

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            char* to = slab + Mine::at(j);
            unsigned at = at_.low * filter_ + first_ + at_.high * down_ + at_.mid * across_;
            if constexpr (vectors) {
                bool there = at_.high < taps_[0] && column_ < channels_;
                copy_async_16_or_zero(to, filters_ + (there ? at + column_ : 0), there);
            } else {
                unsigned column = column_;
                copy_elements(to, filters_, [&] {
                    bool there = at_.high < taps_[0] && column < channels_;
                    const T* from = there ? filters_ + (at + column) : nullptr;
                    ++column;
                    return from;
                });
            }
            at_.advance(step_, taps_[1], count_);
        }
    }

private:
    const T* filters_;
    unsigned channels_, column_, filter_, count_, first_, down_, across_, taps_[2];
    Odometer at_, step_;
};

// Column n: (tap row, tap column, channel) number n of a window. Depth: its target pixels.
template <class Slab, unsigned threads, bool vectors> class WindowColumns {
    using T = typename Slab::Element;
    using Mine = Share<Slab, threads>;
    static_assert(!Slab::along, "channels run across the depth");

public:
    __device__ __forceinline__ WindowColumns(const T* source, const Window& window, unsigned column,
                                             unsigned slab)
        : source_(source), window_(window) {
        column_ = Odometer::of(column + Mine::v() * Slab::per_vector, window.taps[1], window.channels);
        at_ = Odometer::of(slab * Slab::depth + Mine::i(0), window.targets[0], window.targets[1]);
        step_ = Odometer::of(Mine::step, window.targets[0], window.targets[1]);
    }

    __device__ __forceinline__ void load(char* slab) {
#pragma unroll
        for (unsigned j = 0; j < Mine::count; ++j) {
            char* to = slab + Mine::at(j);
            if constexpr (vectors) {
                const T* from = address(column_);
                copy_async_16_or_zero(to, from ? from : source_, from != nullptr);
            } else {
                Odometer column = column_;
                copy_elements(to, source_, [&] {
                    const T* from = address(column);
                    column.increment(window_.taps[1], window_.channels);
                    return from;
                });
            }
            at_.advance(step_, window_.targets[0], window_.targets[1]);
        }
    }

private:
    __device__ __forceinline__ const T* address(const Odometer& column) const {
        int y = int(at_.mid) * window_.step[0] + window_.offset[0] + int(column.high) * window_.tap_step[0];
        int x = int(at_.low) * window_.step[1] + window_.offset[1] + int(column.mid) * window_.tap_step[1];
        bool there = column.high < window_.taps[0] && at_.high < window_.batch && window_.within(y, x);
        return there ? source_ + (window_.element(at_.high, y, x) + column.low) : nullptr;
    }

    const T* source_;
    Window window_;
    Odometer column_, at_, step_;
};
