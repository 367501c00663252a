#pragma once

/** What the `max_pool2d` kernels need; pairs are of rows and columns. */
typedef struct MaxPool2dParams {
    /** Extent of x. */
    unsigned input[2];
    /** Extent of y. */
    unsigned output[2];
    /** Extent of a window. */
    unsigned kernel[2];
    /** Cells from a window to the next. */
    unsigned stride[2];
    /** Cells added on both sides. */
    unsigned padding[2];
    /** Channels. */
    unsigned channels;
} MaxPool2dParams;
