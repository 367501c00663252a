// Tensor-core instructions as the PTX manual describes them: which lane holds which element of which
// matrix, and what the product is. Lanes lay their registers on the table of a warp operation and
// each works out its own results.
//
// What the manual leaves open is settled here so: a result is the accumulator plus all products, summed
// exactly (in f64) and rounded to f32 once, to nearest. Hardware sums in an order of its own and cuts off low
// bits; sums of small integers are exact in both. Of a tf32 operand the low 13 bits count for nothing.
#pragma once

#include "emulator.h"

namespace emulator {

struct Quad {
    unsigned word[4];
};

// ldmatrix.x4: lane l holds row l % 8 of matrix l / 8 (16 bytes), and gets from each matrix the word
// l % 4 of row l / 4; transposed, the 16-bit elements l / 4 of rows 2 (l % 4) and 2 (l % 4) + 1.
EMULATOR_UNCHECKED inline Quad load_matrices(const Quad& row, bool transposed, Site site) {
    Exchange* exchange = warp_exchange(~0u, &row, sizeof row, false, site);
    const unsigned l = lane();
    Quad result;
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        auto* rows = exchange->data + matrix * 8;
        if (transposed) {
            uint16_t low, high;
            std::memcpy(&low, rows[l % 4 * 2] + l / 4 * 2, 2);
            std::memcpy(&high, rows[l % 4 * 2 + 1] + l / 4 * 2, 2);
            result.word[matrix] = low | unsigned(high) << 16;
        } else {
            std::memcpy(&result.word[matrix], rows[l / 4] + l % 4 * 4, 4);
        }
    }
    release(exchange);
    return result;
}

// How many elements a word of a fragment holds, and their values.
template <class T> struct FragmentWord;
template <> struct FragmentWord<__half> {
    static constexpr unsigned size = 2;
    static float value(unsigned word, unsigned i) { return __half2float({uint16_t(word >> 16 * i)}); }
};
template <> struct FragmentWord<__nv_bfloat16> {
    static constexpr unsigned size = 2;
    static float value(unsigned word, unsigned i) { return __bfloat162float({uint16_t(word >> 16 * i)}); }
};
template <> struct FragmentWord<float> {
    static constexpr unsigned size = 1;
    static float value(unsigned word, unsigned) { return __uint_as_float(word & ~0x1FFFu); }
};

// mma.m16n8k16 (16-bit) and m16n8k8 (tf32). With e elements to a word, word j of A holds row
// l / 4 + 8 (j % 2), depths 4 e (j / 2) + e (l % 4) + i; word j of B the same depths of column l / 4; the
// accumulators are (l / 4 + 8 (j / 2), 2 (l % 4) + j % 2).
template <class T>
EMULATOR_UNCHECKED void multiply_matrices(float (&c)[4], const unsigned (&a)[4], const unsigned (&b)[2], Site site) {
    using Word = FragmentWord<T>;
    struct Words {
        unsigned a[4], b[2];
    } mine = {{a[0], a[1], a[2], a[3]}, {b[0], b[1]}};
    Exchange* exchange = warp_exchange(~0u, &mine, sizeof mine, false, site);
    const unsigned l = lane();
    double sums[4] = {c[0], c[1], c[2], c[3]};
    for (unsigned half = 0; half < 2; ++half)
        for (unsigned quarter = 0; quarter < 4; ++quarter) {
            Words rows, columns[2];
            std::memcpy(&rows, exchange->data[l / 4 * 4 + quarter], sizeof rows);
            for (unsigned j = 0; j < 2; ++j)
                std::memcpy(&columns[j], exchange->data[(l % 4 * 2 + j) * 4 + quarter], sizeof rows);
            for (unsigned i = 0; i < Word::size; ++i)
                for (unsigned j = 0; j < 4; ++j)
                    sums[j] += double(Word::value(rows.a[half * 2 + j / 2], i)) *
                               double(Word::value(columns[j % 2].b[half], i));
        }
    release(exchange);
    for (unsigned j = 0; j < 4; ++j) c[j] = float(sums[j]);
}

}  // namespace emulator
