#pragma once

/** What a pass over flat arrays needs (`elementwise.cuh`). */
typedef struct ElementwiseParams {
    /** Elements of each array. */
    unsigned long long elements;
} ElementwiseParams;
