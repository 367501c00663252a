#pragma once

/** What the `metrics` kernels need. */
typedef struct MetricsParams {
    /** Rows of logits. */
    unsigned rows;
    /** Classes. */
    unsigned classes;
    /** Threads that share a row: a power of two, at most 32. */
    unsigned lanes;
    /** Whether rows are copied to shared memory first. */
    unsigned staged;
    /** Bytes of shared memory for that. */
    unsigned tile;
    /** Whether a block gathers its confusion matrix in shared memory. */
    unsigned gathered;
    /** Whether there is a label that does not count. */
    unsigned has_ignored;
    /** That label. */
    int ignored;
    /** The two k of the top-k hits. */
    unsigned k[2];
} MetricsParams;
