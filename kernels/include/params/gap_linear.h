#pragma once

/** What the `gap_linear` kernels need. */
typedef struct GapLinearParams {
    /** Images. */
    unsigned batch;
    /** Positions of a map: height times width. */
    unsigned positions;
    /** Channels. */
    unsigned channels;
    /** Outputs of the linear layer. */
    unsigned outputs;
    /** Images of a block, 1 to 4. */
    unsigned images;
    /** Threads that share the positions of a vector of channels. */
    unsigned slices;
    /** 1: negative results become 0. */
    unsigned relu;
} GapLinearParams;
