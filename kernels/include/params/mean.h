#pragma once

/** What the last step of a mean loss needs (`mean.cuh`). */
typedef struct MeanParams {
    /** Blocks whose sums are added. */
    unsigned blocks;
} MeanParams;
