// A block's part of a matrix product whose operands are gathered while they are read: what the
// convolutions share.
//
// D[m, n] = Σ_d A[m, d] · B[n, d]. A block makes a tile of `rows` × `columns` of D. It walks along the
// depth d in slabs of 64 bytes (16 f32, or 32 elements of 16 bits). `stages` slabs of both operands lie
// in shared memory: while the threads multiply one, the copies of the next stages - 1 are under way
// (cp.async), and one barrier per slab keeps the two apart.
//
// What differs goes in as a class:
// - where elements come from (conv_operands.cuh): the padding of a map, and everything else that is
//   not there, is filled with zeros by the copy itself;
// - how a slab is multiplied (ffma.cuh, tensor_core.cuh), and with that the tile's size;
// - where a row of D goes (`Rows` below).
//
// Layout of a slab in shared memory, in vectors of 16 bytes. Global memory is read in vectors that lie
// either along the depth (A of fprop: channels) or across it (A of wgrad: filters), and the slab
// keeps them as they are. Banks serve 8 vectors at a time, one of each residue mod 8, so vectors are
// permuted within their row (`Slab::at`):
//   along   row i has 4 vectors; vector v goes to v ^ (i / 2 % 4): 8 neighbouring rows, same v, are
//           8 residues.
//   across  depth d has extent / per_vector vectors; v goes to v ^ (d % 8) for 16-bit elements (8
//           neighbouring d, same v: what ldmatrix.trans reads), v ^ 2 (d % 4) for f32 (4 neighbouring d,
//           two v each: what a tf32 fragment reads).
//
// The result passes through shared memory on its way out (`Staged`), so that every kind of
// multiplication writes 16-byte vectors along the rows of D. What is done to it there: epilogue.cuh.
#pragma once

#include "copy.cuh"
#include "epilogue.cuh"

constexpr unsigned SLAB_BYTES = 64;

template <class T, unsigned extent_, bool along_> struct Slab {
    using Element = T;
    static constexpr unsigned extent = extent_, bytes = extent * SLAB_BYTES;
    static constexpr bool along = along_;
    static constexpr unsigned depth = SLAB_BYTES / sizeof(T), per_vector = 16 / sizeof(T);
    static constexpr unsigned vectors = extent / per_vector;  // of one depth, when they lie across

    // Byte offset of a vector: along, number v of row i; across, number v of depth i. The permutation
    // has period 8, so `skip` adds a multiple of 8 rows (depths) to i without working it out again.
    __device__ __forceinline__ static unsigned at(unsigned i, unsigned v) {
        if constexpr (along) return (i * 4 + (v ^ (i / 2 % 4))) * 16;
        unsigned turn = sizeof(T) == 2 ? i % 8 : 2 * (i % 4);
        return (i * vectors + (v ^ turn)) * 16;
    }
    __device__ __forceinline__ static constexpr unsigned skip(unsigned eights) {
        return eights * 8 * (along ? SLAB_BYTES : vectors * 16);
    }
};

// A tile of f32 results in shared memory. The permutation spreads the fragments of all kinds of
// multiplication over the banks: 4 neighbouring rows, 8 neighbouring columns.
template <unsigned rows_, unsigned columns_> struct Staged {
    static constexpr unsigned rows = rows_, columns = columns_, bytes = rows * columns * 4;
    float* values;

    __device__ __forceinline__ unsigned at(unsigned row, unsigned column) const {
        return row * columns + ((column / 4 ^ 2 * (row % 4)) * 4 | column % 4);
    }
    __device__ __forceinline__ float& operator()(unsigned row, unsigned column) const {
        return values[at(row, column)];
    }
};

// Dynamic shared memory of a block: the stages, and later the staged tile in their place.
template <class Multiply, unsigned stages> constexpr unsigned shared_bytes() {
    constexpr unsigned slabs = stages * (Multiply::A::bytes + Multiply::B::bytes);
    constexpr unsigned staged = Staged<Multiply::A::extent, Multiply::B::extent>::bytes;
    return slabs > staged ? slabs : staged;
}

// The product over `slabs` slabs, left in `multiply`. Shared memory is free again when it returns.
template <unsigned stages, class Multiply, class LoadA, class LoadB>
__device__ __forceinline__ void multiply_slabs(Multiply& multiply, LoadA& a, LoadB& b, unsigned slabs,
                                               char* shared) {
    constexpr unsigned second = Multiply::A::bytes, stage = second + Multiply::B::bytes;
#pragma unroll
    for (unsigned ahead = 0; ahead < stages - 1; ++ahead) {
        if (ahead < slabs) {
            a.load(shared + ahead * stage);
            b.load(shared + ahead * stage + second);
        }
        copy_async_commit();
    }
    unsigned use = 0, fill = (stages - 1) * stage;
#pragma unroll 1
    for (unsigned slab = 0; slab < slabs; ++slab) {
        copy_async_wait<stages - 2>();
        // Everybody's copies of this slab have come, and nobody reads the one before it any more, in
        // whose place the next copies go.
        __syncthreads();
        if (slab + stages - 1 < slabs) {
            a.load(shared + fill);
            b.load(shared + fill + second);
        }
        copy_async_commit();
        multiply.slab(shared + use, shared + use + second);
        fill = use;
        use = use + stage == stages * stage ? 0 : use + stage;
    }
    copy_async_wait<0>();
    __syncthreads();
}

// Writes the staged tile whose corner is (row, column) of D; `place(row)` is the element offset of a row.
template <unsigned threads, unsigned width, class Tile, class T, class Place>
__device__ __forceinline__ void write_tile_by(const Tile& tile, const Epilogue<T>& epilogue, unsigned row,
                                              unsigned rows, unsigned column, Place place) {
    constexpr unsigned across = Tile::columns / width;
    for (unsigned i = threadIdx.x; i < Tile::rows * across; i += threads) {
        unsigned r = i / across, c = i % across * width;
        if (row + r >= rows || column + c >= epilogue.columns) continue;
        float values[width];
        if constexpr (width == 1) {
            values[0] = tile(r, c);
        } else {
#pragma unroll
            for (unsigned e = 0; e < width; e += 4) {
                float4 four = *reinterpret_cast<const float4*>(&tile(r, c + e));
                values[e] = four.x, values[e + 1] = four.y, values[e + 2] = four.z, values[e + 3] = four.w;
            }
        }
        // A whole number of vectors as it is: the division tells the compiler, which would forget the
        // alignment and store element by element.
        epilogue.finish(values, (place(row + r) + column + c) / width * width, column + c);
    }
}

template <unsigned threads, class Tile, class T, class Place>
__device__ __forceinline__ void write_tile(const Tile& tile, const Epilogue<T>& epilogue, unsigned row,
                                           unsigned rows, unsigned column, Place place) {
    if (epilogue.wide)
        write_tile_by<threads, 16 / sizeof(T)>(tile, epilogue, row, rows, column, place);
    else
        write_tile_by<threads, 1>(tile, epilogue, row, rows, column, place);
}

// The slabs of one part of the depth: part blockIdx.y of gridDim.y nearly equal ones.
struct SlabRange {
    unsigned first, count;

    __device__ __forceinline__ static SlabRange of(unsigned depth, unsigned per_slab) {
        size_t slabs = (depth + per_slab - 1) / per_slab;
        unsigned first = unsigned(slabs * blockIdx.y / gridDim.y);
        return {first, unsigned(slabs * (blockIdx.y + 1) / gridDim.y) - first};
    }
};

constexpr unsigned GEMM_STAGES = 4;

// The whole product of one block: its tile, staged in the dynamic shared memory.
template <class Multiply, class LoadA, class LoadB>
__device__ __forceinline__ auto staged_product(LoadA& a, LoadB& b, unsigned slabs) {
    char* shared = dynamic_shared<char>();
    Multiply multiply;
    multiply_slabs<GEMM_STAGES>(multiply, a, b, slabs, shared);
    Staged<Multiply::A::extent, Multiply::B::extent> tile{reinterpret_cast<float*>(shared)};
    multiply.stage(tile);
    __syncthreads();
    return tile;
}

// Mean and Σ (y - mean)² of each column of a tile, of its first `rows` rows, as they are stored (with the
// columns' bias, which may be null, rounded to T): two floats per column to `out`. Half of the threads take
// the upper rows, half the lower ones.
template <unsigned threads, class T, class Tile>
__device__ __forceinline__ void column_statistics(const Tile& tile, unsigned rows, unsigned columns, const T* bias,
                                                  float* out) {
    static_assert(threads == 2 * Tile::columns, "two threads for each column");
    SHARED(float, halves, [2][Tile::columns]);
    const unsigned column = threadIdx.x % Tile::columns, half = threadIdx.x / Tile::columns;
    const unsigned first = half * (Tile::rows / 2), last = min(rows, first + Tile::rows / 2);
    const float more = bias && column < columns ? to_float(bias[column]) : 0.0f;
    auto stored = [&](unsigned row) { return to_float(round_to<T>(tile(row, column) + more)); };
    float sum = 0.0f, squares = 0.0f;
    for (unsigned row = first; row < last; ++row) sum += stored(row);
    halves[half][column] = sum;
    __syncthreads();
    const float mean = (halves[0][column] + halves[1][column]) / float(rows);
    for (unsigned row = first; row < last; ++row) {
        float distance = stored(row) - mean;
        squares = fmaf(distance, distance, squares);
    }
    __syncthreads();
    halves[half][column] = squares;
    __syncthreads();
    if (half == 0 && column < columns) {
        out[2 * column] = mean;
        out[2 * column + 1] = halves[0][column] + halves[1][column];
    }
}
