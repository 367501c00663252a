#pragma once

/** Tensors that one launch can take: so many that the struct and the pointers beside it fit 4 KB. */
#define SGD_TENSORS 100

/** What the `sgd` kernels need: a table of tensors, and the numbers that a run does not change. */
typedef struct SgdParams {
    /** Addresses of f32 weights. */
    unsigned long long weights[SGD_TENSORS];
    /** Addresses of f32 velocities. */
    unsigned long long velocities[SGD_TENSORS];
    /** Addresses of gradients: of 16 bits where there is a copy, else f32. */
    unsigned long long gradients[SGD_TENSORS];
    /** Addresses of the weights' 16-bit copies; 0 for none. */
    unsigned long long copies[SGD_TENSORS];
    /** Elements of each tensor. */
    unsigned elements[SGD_TENSORS];
    /** The first block that works on each tensor. */
    unsigned first_block[SGD_TENSORS];
    /** Tensors in the table. */
    unsigned tensors;
    /** Share of the old velocity that stays. */
    float momentum;
    /** Factor of the weight added to its gradient. */
    float decay;
    /** 1 for Nesterov's form, else 0. */
    unsigned nesterov;
} SgdParams;
