/* The parameter structs of the kernels: plain C, shared with Rust.
 *
 * src/kernels/params.rs is the Rust side, made by bindgen from this file; tests/kernel_params.rs fails
 * when the two differ and says how to write it anew. A struct goes to the kernel by value. No header
 * is included, so that any C parser reads this file: `unsigned` has 32 bits, `unsigned long long` 64.
 */
#ifndef WHATWHERE_PARAMS_H
#define WHATWHERE_PARAMS_H

/** What the `batch_norm` kernels need. */
typedef struct BatchNormParams {
    /** Added to the variance. */
    double epsilon;
    /** Share of the batch in the running statistics. */
    double momentum;
    /** Rows, below 2^31. */
    unsigned rows;
    /** Channels. */
    unsigned channels;
    /** Packs of channels side by side in a block: a power of two up to 32. */
    unsigned vectors;
    /** Rows of a slab; the last one may have fewer. */
    unsigned slab_rows;
    /** Slabs. */
    unsigned slabs;
    /** 1 where a rectifier follows, else 0. */
    unsigned relu;
    /** 1 where the statistics are those of the batch, else 0. */
    unsigned training;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} BatchNormParams;

/** What a pass over flat arrays needs (`elementwise.cuh`). */
typedef struct ElementwiseParams {
    /** Elements of each array. */
    unsigned long long elements;
} ElementwiseParams;

/** What the `global_avg_pool` kernels need. */
typedef struct GlobalAvgPoolParams {
    /** Positions of a map: height times width. */
    unsigned positions;
    /** Channels. */
    unsigned channels;
    /** Vectors (elements, in the scalar kernels) of channels of a block: a power of two, at most 256. */
    unsigned columns;
    /** Blocks for the channels of one image. */
    unsigned blocks;
} GlobalAvgPoolParams;

/** What the `masked_bce` kernels need. */
typedef struct MaskedBceParams {
    /** Elements of each array. */
    unsigned long long elements;
} MaskedBceParams;

/** What the `max_pool2d` kernels need; pairs are of rows and columns. */
typedef struct MaxPool2dParams {
    /** Extent of x. */
    unsigned input[2];
    /** Extent of y. */
    unsigned output[2];
    /** Extent of a window. */
    unsigned kernel[2];
    /** Cells from a window to the next. */
    unsigned stride[2];
    /** Cells added on both sides. */
    unsigned padding[2];
    /** Channels. */
    unsigned channels;
} MaxPool2dParams;

/** What the last step of a mean loss needs (`mean.cuh`). */
typedef struct MeanParams {
    /** Blocks whose sums are added. */
    unsigned blocks;
} MeanParams;

/** What the `metrics` kernels need. */
typedef struct MetricsParams {
    /** Rows of logits. */
    unsigned rows;
    /** Classes. */
    unsigned classes;
    /** Threads that share a row: a power of two, at most 32. */
    unsigned lanes;
    /** Whether rows are copied to shared memory first. */
    unsigned staged;
    /** Bytes of shared memory for that. */
    unsigned tile;
    /** Whether a block gathers its confusion matrix in shared memory. */
    unsigned gathered;
    /** Whether there is a label that does not count. */
    unsigned has_ignored;
    /** That label. */
    int ignored;
    /** The two k of the top-k hits. */
    unsigned k[2];
} MetricsParams;

/** What `permutation` needs: which permutations to make, and of what. */
typedef struct PermutationParams {
    /** Philox key words of `rng::Key`. */
    unsigned key[2];
    /** Positions of the map, 1 to 65536. */
    unsigned positions;
    /** Channels (lanes of the key), each with a permutation of its own. */
    unsigned channels;
    /** The first of them: channel c is lane `first_lane + c`. */
    unsigned first_lane;
    /** Numbers a block can sort at once: a power of two, 8 bytes of shared memory each. */
    unsigned capacity;
} PermutationParams;

/** What the `resample` kernels need; pairs are of rows and columns. */
typedef struct ResampleParams {
    /** Extent of x. */
    unsigned input[2];
    /** Extent of y. */
    unsigned output[2];
    /** Channels. */
    unsigned channels;
    /** Taps of all rows, and of all columns. */
    unsigned taps[2];
    /** Vectors (elements, in the scalar kernels) of y that a block makes: a power of two, at most 256. */
    unsigned columns;
} ResampleParams;

/** What the `softmax_cross_entropy` kernels need. */
typedef struct SoftmaxCrossEntropyParams {
    /** Rows of logits. */
    unsigned rows;
    /** Classes. */
    unsigned classes;
    /** Threads that share a row: a power of two, at most 32. */
    unsigned lanes;
    /** Whether rows are copied to shared memory first. */
    unsigned staged;
    /** Whether there is a label that does not count. */
    unsigned has_ignored;
    /** That label. */
    int ignored;
    /** 1 - epsilon, epsilon being the label smoothing. */
    float hard;
    /** epsilon / classes. */
    float smooth;
    /** epsilon / classes times the sum of the class weights. */
    float smooth_sum;
} SoftmaxCrossEntropyParams;

/** What the `spatial_shuffle` kernels need. */
typedef struct SpatialShuffleParams {
    /** Images. */
    unsigned batch;
    /** Positions of a map: height times width. */
    unsigned positions;
    /** Channels. */
    unsigned channels;
    /** 16-byte vectors of channels that one block moves (the staged kernel). */
    unsigned vectors;
    /** Table entries from one image's table to the next one's: 0 when the batch shares a table. */
    unsigned table_stride;
} SpatialShuffleParams;

/** What the `transform` kernels need. */
typedef struct TransformParams {
    /** The run's seed, low word first. */
    unsigned seed[2];
    /** The epoch, low word first. */
    unsigned epoch[2];
    /** `rng::Purpose::Augment`. */
    unsigned purpose;
    /** Whether images are moved and mirrored at all. */
    unsigned augment;
    /** By how many pixels at most. */
    unsigned pad;
    /** Images of the data set. */
    unsigned samples;
    /** Rows of an image. */
    unsigned height;
    /** Columns of an image. */
    unsigned width;
} TransformParams;

#endif
