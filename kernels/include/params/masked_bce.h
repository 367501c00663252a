#pragma once

/** What the `masked_bce` kernels need. */
typedef struct MaskedBceParams {
    /** Elements of each array. */
    unsigned long long elements;
} MaskedBceParams;
