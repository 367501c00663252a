#pragma once

/** What the `hopper_probe` kernels need that copy a tile. */
typedef struct HopperProbeParams {
    /** Coordinates of the tile, the innermost axis first. */
    int at[4];
    /** Pixels to the tap: width, height. */
    unsigned offset[2];
    /** Bytes of the tile. */
    unsigned bytes;
    unsigned unused;
} HopperProbeParams;
