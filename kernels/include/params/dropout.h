#pragma once

#include "key.h"

/** What the `dropout` kernels need. */
typedef struct DropoutParams {
    /** Elements, dropping by element. */
    unsigned long long elements;
    /** Words below it drop: p times 2^32. */
    unsigned long long threshold;
    /** The key. */
    KeyParams key;
    /** What the others are multiplied by. */
    float kept;
    /** Pixels of an image, dropping by channel. */
    unsigned pixels;
    /** Channels. */
    unsigned channels;
    /** Packs of channels side by side in a block: a power of two up to 32. */
    unsigned vectors;
    /** Pixels of a slab; the last one may have fewer. */
    unsigned slab_rows;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} DropoutParams;
