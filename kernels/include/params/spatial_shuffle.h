#pragma once

/** What the `spatial_shuffle` kernels need. */
typedef struct SpatialShuffleParams {
    /** Images. */
    unsigned batch;
    /** Positions of a map: height times width. */
    unsigned positions;
    /** Channels. */
    unsigned channels;
    /** 16-byte vectors of channels that one block moves (the staged kernel). */
    unsigned vectors;
    /** Table entries from one image's table to the next one's: 0 when the batch shares a table. */
    unsigned table_stride;
} SpatialShuffleParams;
