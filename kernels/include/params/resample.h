#pragma once

/** What the `resample` kernels need; pairs are of rows and columns. */
typedef struct ResampleParams {
    /** Extent of x. */
    unsigned input[2];
    /** Extent of y. */
    unsigned output[2];
    /** Channels. */
    unsigned channels;
    /** Taps of all rows, and of all columns. */
    unsigned taps[2];
    /** Vectors (elements, in the scalar kernels) of y that a block makes: a power of two, at most 256. */
    unsigned columns;
} ResampleParams;
