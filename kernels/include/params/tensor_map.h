#pragma once

/** What a tensor map says, in the 128 bytes of one: how the emulator reads it. A GPU gets the same from
 * the driver, in an encoding of its own. Axes run from the innermost out. */
typedef struct TensorMapParams {
    /** Of element 0. */
    unsigned long long address;
    /** Bytes from one element to the next along axes 1 to 4. */
    unsigned long long strides[4];
    /** Elements along each axis. */
    unsigned sizes[5];
    /** Tells a map from other bytes: 0x54504D41. */
    unsigned magic;
    /** Elements of a tile along each axis; of an im2col tile: channels, then pixels. */
    unsigned short tile[5];
    /** Im2col: the first base pixel of a row and of a column. */
    short lower[2];
    /** Im2col: the last base pixel, counted from the last pixel of the map. */
    short upper[2];
    /** Im2col: pixels from one base pixel to the next, in a row and in a column. */
    unsigned short steps[2];
    unsigned short rank;
    /** Bytes of an element. */
    unsigned short width;
    /** 1: im2col; 0: tiled. */
    unsigned short im2col;
    /** 1: 16-byte chunks of a 128-byte row are exchanged by its number; 0: rows lie as they are. */
    unsigned short swizzled;
    unsigned short unused[17];
} TensorMapParams;
