#pragma once

/** What the `transform` kernels need. */
typedef struct TransformParams {
    /** The run's seed, low word first. */
    unsigned seed[2];
    /** The epoch where no pointer leads to it, low word first. */
    unsigned epoch[2];
    /** `rng::Purpose::Augment`. */
    unsigned purpose;
    /** Whether images are moved and mirrored at all. */
    unsigned augment;
    /** By how many pixels at most. */
    unsigned pad;
    /** Images of the data set. */
    unsigned samples;
    /** Rows of an image. */
    unsigned height;
    /** Columns of an image. */
    unsigned width;
} TransformParams;
