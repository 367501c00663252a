#pragma once

/** What the `sb_projection` kernels need. */
typedef struct SbProjectionParams {
    /** Rows of x. */
    unsigned rows;
    /** Channels of x. */
    unsigned channels;
    /** Concepts. */
    unsigned concepts;
    /** Elements from one row of dz to the next: the concepts, rounded up to 16-byte vectors. */
    unsigned pitch;
    /** Whether channels divide into 16-byte vectors. */
    unsigned aligned;
    /** Tiles that the concepts are cut into. */
    unsigned concept_tiles;
    /** Tiles that the channels are cut into. */
    unsigned channel_tiles;
    /** Parts that the rows are cut into for the gradient of W. */
    unsigned parts;
    /** Rows of a part. */
    unsigned rows_per_part;
    /** Whether the concepts are σ(z), and not z itself. */
    unsigned activated;
} SbProjectionParams;
