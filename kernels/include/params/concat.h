#pragma once

/** What the `concat` kernels need; all but the rows in units of 16 bytes, or of elements. */
typedef struct ConcatParams {
    /** Units to move: rows times length, below 2^31. */
    unsigned units;
    /** Units of a row that move. */
    unsigned length;
    /** Units from one row of the source to the next. */
    unsigned from_width;
    /** The first that moves. */
    unsigned from_start;
    /** Units from one row of the target to the next. */
    unsigned to_width;
    /** Where the first goes. */
    unsigned to_start;
} ConcatParams;
