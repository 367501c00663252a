#pragma once

/** What the `softmax_cross_entropy` kernels need. */
typedef struct SoftmaxCrossEntropyParams {
    /** Rows of logits. */
    unsigned rows;
    /** Classes. */
    unsigned classes;
    /** Threads that share a row: a power of two, at most 32. */
    unsigned lanes;
    /** Whether rows are copied to shared memory first. */
    unsigned staged;
    /** Whether there is a label that does not count. */
    unsigned has_ignored;
    /** That label. */
    int ignored;
    /** 1 - epsilon, epsilon being the label smoothing. */
    float hard;
    /** epsilon / classes. */
    float smooth;
    /** epsilon / classes times the sum of the class weights. */
    float smooth_sum;
} SoftmaxCrossEntropyParams;
