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

/** What the `conv2d_hopper` kernels need. A pass sums over taps and channels (fprop, dgrad) or over
 * pixels (wgrad); positions (p, q) are those of the sums' pixels, in rows and columns. */
typedef struct Conv2dHopperParams {
    /** Rows of the product: pixels of the output, or filters. */
    unsigned rows;
    /** Columns of the product: channels of the output. */
    unsigned columns;
    /** Tiles of columns, and tiles in all. */
    unsigned column_tiles;
    unsigned tiles;
    /** Steps of 64 channels (fprop, dgrad) or of 64 pixels (wgrad) to sum over. */
    unsigned steps;
    /** Parts into which wgrad divides the steps, and steps of a part. */
    unsigned splits;
    unsigned steps_per_split;
    /** Positions in a row and in a column. */
    unsigned positions[2];
    /** Base pixel of position (0, 0), and from one to the next: height, width. */
    int lower[2];
    unsigned stride[2];
    /** Taps that are summed over, and pixels from one to the next. */
    unsigned taps[2];
    unsigned dilation[2];
    /** The filter's tap at (0, 0), and from one to the next. */
    int first_tap;
    int tap_stride[2];
    /** Extent of the output's maps; where position (0, 0) goes, and from one to the next. */
    unsigned output[2];
    unsigned output_first[2];
    unsigned output_stride[2];
    /** 1: negative results become 0. */
    unsigned relu;
} Conv2dHopperParams;

/** What the `conv2d_hopper_sum` kernels need. */
typedef struct Conv2dHopperSumParams {
    /** Elements of the filters' gradient, a multiple of 8. */
    unsigned long long elements;
    /** Parts to add up. */
    unsigned splits;
    unsigned unused;
} Conv2dHopperSumParams;

/** What the `conv2d_fprop`, `conv2d_dgrad` and `conv2d_wgrad` kernels need. Pairs: vertical, horizontal. */
typedef struct Conv2dParams {
    /** Images. */
    unsigned batch;
    /** Height and width of the input maps, in pixels. */
    unsigned input[2];
    /** Height and width of the output maps, in pixels. */
    unsigned output[2];
    /** Channels of the input. */
    unsigned channels;
    /** Filters: channels of the output. */
    unsigned filters;
    /** Height and width of a filter, in taps. */
    unsigned taps[2];
    /** Pixels a filter moves. */
    unsigned stride[2];
    /** Zeros on each side, in pixels. */
    unsigned padding[2];
    /** Pixels from tap to tap. */
    unsigned dilation[2];
    /** stride / gcd(stride, dilation): every so many taps, one reads the same residue class (dgrad). */
    unsigned tap_step[2];
    /** dilation / gcd(stride, dilation): output pixels between two such taps (dgrad). */
    unsigned pixel_step[2];
    /** Tiles of the result's columns. */
    unsigned column_tiles;
    /** Elements of the result. */
    unsigned elements;
    /** 1: rows of the result are whole 16-byte vectors, all of them aligned. */
    unsigned wide;
    /** 1: negative results become 0 (fprop). */
    unsigned relu;
} Conv2dParams;

/** What the kernels of `conv2d.cu` need: sums of parts. */
typedef struct Conv2dSumParams {
    /** Elements of the result. */
    unsigned elements;
    /** Channels: columns of the result. */
    unsigned columns;
    /** Rows that are summed over. */
    unsigned rows;
    /** Rows of one part; for `conv2d_finish`, the number of parts. */
    unsigned part;
    /** Threads of a block side by side in a row (`conv2d_bias_gradient`), a power of two. */
    unsigned lanes;
    /** 1: 16-byte accesses. */
    unsigned wide;
    /** 1: negative results become 0. */
    unsigned relu;
} Conv2dSumParams;

/** What the `dropout` kernels need. */
typedef struct DropoutParams {
    /** Elements, dropping by element. */
    unsigned long long elements;
    /** Words below it drop: p times 2^32. */
    unsigned long long threshold;
    /** Philox key words of `rng::Key`. */
    unsigned key[2];
    /** What the others are multiplied by. */
    float kept;
    /** Pixels of an image, dropping by channel. */
    unsigned pixels;
    /** Channels. */
    unsigned channels;
    /** Packs of channels side by side in a block: a power of two up to 32. */
    unsigned vectors;
    /** Pixels of a slab; the last one may have fewer. */
    unsigned slab_rows;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} DropoutParams;

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

/** What the `hopper_probe` kernels need that copy a tile. */
typedef struct HopperProbeParams {
    /** Coordinates of the tile, the innermost axis first. */
    int at[4];
    /** Pixels to the tap: width, height. */
    unsigned offset[2];
    /** Bytes of the tile. */
    unsigned bytes;
    unsigned unused;
} HopperProbeParams;

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

/** What the `sb_projection` kernels need. */
typedef struct SbProjectionParams {
    /** Rows of x. */
    unsigned rows;
    /** Channels of x. */
    unsigned channels;
    /** Concepts. */
    unsigned concepts;
    /** Whether channels divide into 16-byte vectors. */
    unsigned aligned;
    /** Tiles that the concepts are cut into. */
    unsigned concept_tiles;
    /** Tiles that the channels are cut into. */
    unsigned channel_tiles;
    /** Parts that the rows are cut into for the gradient of W. */
    unsigned parts;
    /** Rows of a part. */
    unsigned rows_per_part;
} SbProjectionParams;

/** What the `sgd` kernels need. */
typedef struct SgdParams {
    /** Elements of each array. */
    unsigned long long elements;
    /** Learning rate. */
    float lr;
    /** Share of the old velocity that stays. */
    float momentum;
    /** Factor of the weight added to its gradient. */
    float decay;
    /** One over the loss scale. */
    float unscale;
    /** 1 for Nesterov's form, else 0. */
    unsigned nesterov;
    /** Fills the struct to a multiple of 8 bytes; 0. */
    unsigned padding;
} SgdParams;

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
