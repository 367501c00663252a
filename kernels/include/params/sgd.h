#pragma once

/** What the `sgd` kernels need. */
typedef struct SgdParams {
    /** Elements of each array. */
    unsigned long long elements;
    /** Learning rate. */
    float lr;
    /** Share of the old velocity that stays. */
    float momentum;
    /** Factor of the weight added to its gradient. */
    float decay;
    /** One over the loss scale. */
    float unscale;
    /** 1 for Nesterov's form, else 0. */
    unsigned nesterov;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} SgdParams;
