// The input pipeline on the device: crop, mirror and normalise 8-bit images of a resident data set.
//
// Mathematics. Image n of the batch is sample s = indices[n] of the data set, moved by (dy, dx) and
// mirrored if so drawn, its bytes looked up in the table of normalised values:
//   y[n, i, j, c] = table[c][x[s, i + dy, j' + dx, c]],   j' = j or W − 1 − j;
// beyond the image's edge stands byte 0. (dy, dx, mirror) are drawn from Philox with the key of (seed,
// epoch, s), so they depend on nothing else: the bits are those of `data::Augment::draw`, and in f32 the
// result is that of `data::Transform`, bit for bit. Epoch and indices are read from memory, so that a
// captured launch makes another batch each time it is replayed.
//
// Shapes. x: [samples, H, W, 3] of bytes; labels: [samples] of i32, or null; indices: [batch] of i32;
// epoch: [2] words, low one first, or null for the one in the parameters;
// table: [3, 256] of f32, made by the host, so no kernel divides; y: [batch, H, W, 3]; its labels: [batch].
// An index that is no sample gives NaN and the label −1.
//
// Method. Each block draws its image's placement anew (two Philox blocks by one thread, cheaper than
// another launch) and holds the table in shared memory. A thread makes four 16-byte vectors of y from
// single bytes of x, which neighbours find in L1; where H · W · 3 does not divide into vectors, y is
// written element by element (`scalar`).
//
// Launch. grid (⌈H · W · 3 / (1024 · vector)⌉, batch), block 256; static shared memory 3088 bytes.
//
// Cost. No FLOPs. Bytes, an element: one read, the storage type's written.

#include "include/numbers.cuh"
#include "include/philox.cuh"
#include "include/params/transform.h"

namespace {

constexpr unsigned threads = 256, steps = 4, channels = 3, values_of_byte = 256;

struct Placement {
    int dy, dx;
    unsigned mirror;
};

__device__ __forceinline__ Placement drawn_for(const TransformParams& p, const unsigned* epoch, unsigned sample) {
    if (!p.augment) return {0, 0, 0};
    const unsigned low = epoch ? epoch[0] : p.epoch[0], high = epoch ? epoch[1] : p.epoch[1];
    const uint4 key = philox4x32({p.seed[0], p.seed[1]}, make_uint4(low, high, sample, p.purpose));
    Stream stream({key.x, key.y}, 0);
    const int pad = int(p.pad);
    const int dy = int(stream.below(2 * p.pad + 1)) - pad, dx = int(stream.below(2 * p.pad + 1)) - pad;
    return {dy, dx, stream.below(2)};
}

template <class T, int size>
__device__ void transform(const TransformParams& p, const uint8_t* __restrict__ images,
                          const int* __restrict__ labels, const int* __restrict__ indices,
                          const unsigned* __restrict__ epoch, const float* __restrict__ table, T* __restrict__ batch, int* __restrict__ batch_labels) {
    SHARED(float, values, [channels * values_of_byte]);
    SHARED(Placement, drawn, [1]);
    const int height = int(p.height), width = int(p.width);
    const unsigned sample = unsigned(indices[blockIdx.y]);
    const bool known = sample < p.samples;
    for (unsigned i = threadIdx.x; i < channels * values_of_byte; i += threads) values[i] = table[i];
    if (threadIdx.x == 0) {
        drawn[0] = drawn_for(p, epoch, sample);
        if (labels && blockIdx.x == 0) batch_labels[blockIdx.y] = known ? labels[sample] : -1;
    }
    __syncthreads();
    const Placement place = drawn[0];
    const unsigned elements = p.height * p.width * channels;
    const uint8_t* image = images + size_t(sample) * elements;
    T* to = batch + size_t(blockIdx.y) * elements;
#pragma unroll
    for (unsigned step = 0; step < steps; ++step) {
        const unsigned at = ((blockIdx.x * steps + step) * threads + threadIdx.x) * size;
        if (at >= elements) break;
        const unsigned pixel = at / channels, row = pixel / p.width;
        int x = int(pixel - row * p.width), y = int(row);
        unsigned c = at - pixel * channels;
        float result[size];
#pragma unroll
        for (int j = 0; j < size; ++j) {
            const int from_x = (place.mirror ? width - 1 - x : x) + place.dx, from_y = y + place.dy;
            const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
            const unsigned byte = known && inside ? image[(from_y * width + from_x) * int(channels) + int(c)] : 0;
            result[j] = known ? values[c * values_of_byte + byte] : NAN;
            if (++c == channels) c = 0, ++x;
            if (x == width) x = 0, ++y;
        }
        store_vector(to + at, result);
    }
}

}  // namespace

#define TRANSFORM(name, T, size)                                                                 \
    extern "C" __global__ void __launch_bounds__(threads)                                        \
    transform_##name(TransformParams p, const uint8_t* __restrict__ images,                      \
                     const int* __restrict__ labels, const int* __restrict__ indices,            \
                     const unsigned* __restrict__ epoch, const float* __restrict__ table,        \
                     T* __restrict__ batch, int* __restrict__ batch_labels) {                    \
        transform<T, size>(p, images, labels, indices, epoch, table, batch, batch_labels);       \
    }                                                                                            \
    EXPORT_KERNEL(transform_##name)

#define FOR_TYPE(suffix, T)                         \
    TRANSFORM(vector_##suffix, T, Vector<T>::size); \
    TRANSFORM(scalar_##suffix, T, 1)

FOR_TYPE(f32, float);
FOR_TYPE(f16, __half);
FOR_TYPE(bf16, __nv_bfloat16);
