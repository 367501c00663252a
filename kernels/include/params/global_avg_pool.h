#pragma once

/** What the `global_avg_pool` kernels need. */
typedef struct GlobalAvgPoolParams {
    /** Positions of a map: height times width. */
    unsigned positions;
    /** Channels. */
    unsigned channels;
    /** Vectors (elements, in the scalar kernels) of channels of a block: a power of two, at most 256. */
    unsigned columns;
    /** Blocks for the channels of one image. */
    unsigned blocks;
} GlobalAvgPoolParams;
