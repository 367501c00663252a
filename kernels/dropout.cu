// Dropout (Srivastava et al. 2014): y = x · m with m = 0 with probability p, else 1/(1 − p).
//
// Mathematics. Mask value i is decided by word i mod 4 of Philox block ⌊i/4⌋ of the key (the counter is
// the block's number, low and high word, then zeros): 0 if the word is below p · 2³². The same bits as
// src/cpu/dropout.rs. By element, i is the element; by channel, i = n·C + c, for all pixels alike.
// Nothing is stored: the vjp is the same kernel on dy. The key is given whole, or made here of the step's
// number in memory, so that a captured launch draws anew each time it is replayed.
//
// Shapes. By element: flat arrays. By channel: [batch, pixels, channels], one plane of blocks an image.
// step: [2] words of the step's number, low one first, or null.
//
// Method and geometry. By element: 16 bytes a thread, four times, and one Philox block for every four
// elements; grid ceil(elements / (1024 · 4 or 8)), block 256. By channel: `columns.cuh` on the pixels of an
// image, so that a thread draws the mask of its channels once; grid (columns, slabs, batch).
//
// Cost. 1 FLOP an element, and by element about 15 integer instructions. Bytes: 2 · elements · width.

#include "include/columns.cuh"
#include "include/elementwise.cuh"
#include "include/philox.cuh"
#include "include/params/dropout.h"

namespace {

// `width` mask values from number `first` on; vectors begin at multiples of four.
template <int width>
__device__ __forceinline__ void draw(const DropoutParams& p, uint2 key, unsigned long long first,
                                     float (&mask)[width]) {
    auto value = [&](unsigned word) { return word < p.threshold ? 0.0f : p.kept; };
    if constexpr (width == 1) {
        unsigned long long block = first / 4;
        uint4 words = philox4x32(key, make_uint4(unsigned(block), unsigned(block >> 32), 0, 0));
        unsigned low = first & 1 ? words.y : words.x, high = first & 1 ? words.w : words.z;
        mask[0] = value(first & 2 ? high : low);
    } else {
#pragma unroll
        for (int i = 0; i < width; i += 4) {
            unsigned long long block = (first + i) / 4;
            uint4 words = philox4x32(key, make_uint4(unsigned(block), unsigned(block >> 32), 0, 0));
            mask[i] = value(words.x), mask[i + 1] = value(words.y);
            mask[i + 2] = value(words.z), mask[i + 3] = value(words.w);
        }
    }
}

template <class T, int width>
__device__ __forceinline__ Pack<T, width> masked(Pack<T, width> x, const float (&mask)[width]) {
    float values[width];
    x.unpack(values);
#pragma unroll
    for (int i = 0; i < width; ++i) values[i] *= mask[i];
    x.pack(values);
    return x;
}

template <class T>
__device__ void elements(const DropoutParams& p, const unsigned* step_number, const T* __restrict__ x,
                         T* __restrict__ y) {
    const uint2 key = key_of_block(p.key, step_number);
    constexpr int width = Vector<T>::size, stride = ELEMENTWISE_THREADS * width;
    size_t at = size_t(blockIdx.x) * (ELEMENTWISE_STEPS * stride) + threadIdx.x * width;
    float mask[width];
#pragma unroll 1
    for (int step = 0; step < ELEMENTWISE_STEPS && at < p.elements; ++step, at += stride) {
        Pack<T, width> pack;
        const bool whole = at + width <= p.elements;
        if (whole) pack.load(x + at);
        draw(p, key, at, mask);
        if (whole) {
            masked(pack, mask).store(y + at);
        } else {
#pragma unroll
            for (int i = 0; i < width; ++i)
                if (at + i < p.elements) y[at + i] = round_to<T>(to_float(x[at + i]) * mask[i]);
        }
    }
}

template <class T, int width>
__device__ void channels(const DropoutParams& p, const unsigned* step_number, const T* __restrict__ x,
                         T* __restrict__ y) {
    const uint2 key = key_of_block(p.key, step_number);
    const Walk<width> walk(p.pixels, p.channels, p.vectors, p.slab_rows);
    float mask[width];
    draw(p, key, (unsigned long long)(blockIdx.z) * p.channels + walk.channel, mask);
    const size_t image = size_t(blockIdx.z) * p.pixels * p.channels;
    walk.template down<4>([&](auto steps, unsigned row) {
        constexpr int rows = decltype(steps)::value;
        Pack<T, width> packs[rows];
#pragma unroll
        for (int s = 0; s < rows; ++s) packs[s].load(x + image + walk.at(row, s));
#pragma unroll
        for (int s = 0; s < rows; ++s) masked(packs[s], mask).store(y + image + walk.at(row, s));
    });
}

}  // namespace

#define DROPOUT(suffix, T)                                                                              \
    extern "C" __global__ void __launch_bounds__(ELEMENTWISE_THREADS)                                   \
    dropout_##suffix(DropoutParams p, const unsigned* step, const T* __restrict__ x, T* __restrict__ y) { \
        elements<T>(p, step, x, y);                                                                     \
    }                                                                                                   \
    EXPORT_KERNEL(dropout_##suffix);                                                                    \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)                                        \
    dropout_channels_##suffix(DropoutParams p, const unsigned* step, const T* __restrict__ x,           \
                              T* __restrict__ y) {                                                      \
        channels<T, Vector<T>::size>(p, step, x, y);                                                    \
    }                                                                                                   \
    EXPORT_KERNEL(dropout_channels_##suffix);                                                           \
    extern "C" __global__ void __launch_bounds__(COLUMN_THREADS)                                        \
    dropout_channels_scalar_##suffix(DropoutParams p, const unsigned* step, const T* __restrict__ x,    \
                                     T* __restrict__ y) {                                               \
        channels<T, 1>(p, step, x, y);                                                                  \
    }                                                                                                   \
    EXPORT_KERNEL(dropout_channels_scalar_##suffix)

DROPOUT(f32, float);
DROPOUT(f16, __half);
DROPOUT(bf16, __nv_bfloat16);
