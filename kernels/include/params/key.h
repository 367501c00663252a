#pragma once

/** A key of random numbers, `rng::Key`: whole, or of a step that the kernel reads from memory. */
typedef struct KeyParams {
    /** The key's words, or the seed's where the step lies in memory; low word first. */
    unsigned words[2];
    /** `rng::Purpose`, where the step lies in memory. */
    unsigned purpose;
    /** The layer, where the step lies in memory. */
    unsigned layer;
} KeyParams;
