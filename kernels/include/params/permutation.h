#pragma once

#include "key.h"

/** What `permutation` needs: which permutations to make, and of what. */
typedef struct PermutationParams {
    /** The key. */
    KeyParams key;
    /** Positions of the map, 1 to 65536. */
    unsigned positions;
    /** Channels (lanes of the key), each with a permutation of its own. */
    unsigned channels;
    /** The first of them: channel c is lane `first_lane + c`. */
    unsigned first_lane;
    /** Numbers a block can sort at once: a power of two, 8 bytes of shared memory each. */
    unsigned capacity;
    /** Whether table n is of the key's n-th fold; else there is one table, of the key itself. */
    unsigned per_sample;
} PermutationParams;
