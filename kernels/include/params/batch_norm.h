#pragma once

/** What the `batch_norm` kernels need. */
typedef struct BatchNormParams {
    /** Added to the variance. */
    double epsilon;
    /** Share of the batch in the running statistics. */
    double momentum;
    /** Rows, below 2^31. */
    unsigned rows;
    /** Channels. */
    unsigned channels;
    /** Packs of channels side by side in a block: a power of two up to 32. */
    unsigned vectors;
    /** Rows of a slab; the last one may have fewer. */
    unsigned slab_rows;
    /** Slabs. */
    unsigned slabs;
    /** 1 where a rectifier follows, else 0. */
    unsigned relu;
    /** 1 where the statistics are those of the batch, else 0. */
    unsigned training;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} BatchNormParams;
