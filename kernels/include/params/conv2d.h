#pragma once

/** What the `conv2d_fprop`, `conv2d_dgrad` and `conv2d_wgrad` kernels need. Pairs: vertical, horizontal. */
typedef struct Conv2dParams {
    /** Images. */
    unsigned batch;
    /** Height and width of the input maps, in pixels. */
    unsigned input[2];
    /** Height and width of the output maps, in pixels. */
    unsigned output[2];
    /** Channels of the input. */
    unsigned channels;
    /** Filters: channels of the output. */
    unsigned filters;
    /** Height and width of a filter, in taps. */
    unsigned taps[2];
    /** Pixels a filter moves. */
    unsigned stride[2];
    /** Zeros on each side, in pixels. */
    unsigned padding[2];
    /** Pixels from tap to tap. */
    unsigned dilation[2];
    /** stride / gcd(stride, dilation): every so many taps, one reads the same residue class (dgrad). */
    unsigned tap_step[2];
    /** dilation / gcd(stride, dilation): output pixels between two such taps (dgrad). */
    unsigned pixel_step[2];
    /** Tiles of the result's columns. */
    unsigned column_tiles;
    /** Elements of the result. */
    unsigned elements;
    /** 1: rows of the result are whole 16-byte vectors, all of them aligned. */
    unsigned wide;
    /** 1: negative results become 0 (fprop). */
    unsigned relu;
} Conv2dParams;

/** What the kernels of `conv2d.cu` need: sums of parts. */
typedef struct Conv2dSumParams {
    /** Elements of the result. */
    unsigned elements;
    /** Channels: columns of the result. */
    unsigned columns;
    /** Rows that are summed over. */
    unsigned rows;
    /** Rows of one part; for `conv2d_finish`, the number of parts. */
    unsigned part;
    /** Threads of a block side by side in a row (`conv2d_bias_gradient`), a power of two. */
    unsigned lanes;
    /** 1: 16-byte accesses. */
    unsigned wide;
    /** 1: negative results become 0. */
    unsigned relu;
} Conv2dSumParams;
