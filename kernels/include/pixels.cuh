// Which part of an NHWC map a thread works on.
#pragma once

#include "cuda.cuh"

// A pixel of a map and the first of the channels a thread has there.
struct Pixel {
    unsigned row, column, channel;
    // False for the threads behind the map's end.
    bool inside;
};

// Item `item` of a map: channels run fastest, `size` of them in one item, then columns, then rows.
template <int size>
__device__ __forceinline__ Pixel pixel_of(unsigned item, const unsigned (&map)[2], unsigned channels) {
    const unsigned vectors = channels / size, pixel = item / vectors, row = pixel / map[1];
    return {row, pixel - row * map[1], (item - pixel * vectors) * size, row < map[0]};
}

// Elements before channel `channel` of the first pixel of image `image`.
__device__ __forceinline__ size_t image_offset(unsigned image, const unsigned (&map)[2], unsigned channels,
                                               unsigned channel) {
    return size_t(image) * (map[0] * map[1] * channels) + channel;
}
