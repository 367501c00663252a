#pragma once

/** What the `conv2d_hopper` kernels need. A pass sums over taps and channels (fprop, dgrad) or over
 * pixels (wgrad); positions (p, q) are those of the sums' pixels, in rows and columns. */
typedef struct Conv2dHopperParams {
    /** Rows of the product: pixels of the output, or filters. */
    unsigned rows;
    /** Columns of the product: channels of the output. */
    unsigned columns;
    /** Tiles of columns, and tiles in all. */
    unsigned column_tiles;
    unsigned tiles;
    /** Steps of 128 bytes of channels (fprop, dgrad) or of 64 pixels (wgrad) to sum over. */
    unsigned steps;
    /** Parts into which the steps of a tile (of all its taps) are divided, and elements of a part. */
    unsigned parts;
    unsigned elements;
    /** 1: the maps have one pixel and the filters one tap; the pixels' tensor map is that of a matrix. */
    unsigned flat;
    /** Positions in a row and in a column. */
    unsigned positions[2];
    /** Base pixel of position (0, 0), and from one to the next: height, width. */
    int lower[2];
    unsigned stride[2];
    /** Taps that are summed over, and pixels from one to the next. */
    unsigned taps[2];
    unsigned dilation[2];
    /** The filter's tap at (0, 0), and from one to the next. */
    int first_tap;
    int tap_stride[2];
    /** Extent of the output's maps; where position (0, 0) goes, and from one to the next. */
    unsigned output[2];
    unsigned output_first[2];
    unsigned output_stride[2];
    /** 1: negative results become 0. */
    unsigned relu;
} Conv2dHopperParams;

/** What `conv2d_hopper_transpose_filters` needs. */
typedef struct Conv2dTransposeParams {
    /** Filters and channels, both multiples of 4. */
    unsigned filters;
    unsigned channels;
    unsigned taps;
} Conv2dTransposeParams;
