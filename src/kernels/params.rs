//! The kernels' parameter structs, made by bindgen from `kernels/include/params.h`.
//! Do not edit: see `tests/kernel_params.rs`.

#[doc = " What the `batch_norm` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct BatchNormParams {
    #[doc = " Added to the variance."]
    pub epsilon: f64,
    #[doc = " Share of the batch in the running statistics."]
    pub momentum: f64,
    #[doc = " Rows, below 2^31."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Packs of channels side by side in a block: a power of two up to 32."]
    pub vectors: ::std::os::raw::c_uint,
    #[doc = " Rows of a slab; the last one may have fewer."]
    pub slab_rows: ::std::os::raw::c_uint,
    #[doc = " Slabs."]
    pub slabs: ::std::os::raw::c_uint,
    #[doc = " 1 where a rectifier follows, else 0."]
    pub relu: ::std::os::raw::c_uint,
    #[doc = " 1 where the statistics are those of the batch, else 0."]
    pub training: ::std::os::raw::c_uint,
    #[doc = " Fills the struct to a multiple of 8 bytes; 0."]
    pub padding: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of BatchNormParams"][::std::mem::size_of::<BatchNormParams>() - 48usize];
    ["Alignment of BatchNormParams"][::std::mem::align_of::<BatchNormParams>() - 8usize];
    ["Offset of field: BatchNormParams::epsilon"]
        [::std::mem::offset_of!(BatchNormParams, epsilon) - 0usize];
    ["Offset of field: BatchNormParams::momentum"]
        [::std::mem::offset_of!(BatchNormParams, momentum) - 8usize];
    ["Offset of field: BatchNormParams::rows"]
        [::std::mem::offset_of!(BatchNormParams, rows) - 16usize];
    ["Offset of field: BatchNormParams::channels"]
        [::std::mem::offset_of!(BatchNormParams, channels) - 20usize];
    ["Offset of field: BatchNormParams::vectors"]
        [::std::mem::offset_of!(BatchNormParams, vectors) - 24usize];
    ["Offset of field: BatchNormParams::slab_rows"]
        [::std::mem::offset_of!(BatchNormParams, slab_rows) - 28usize];
    ["Offset of field: BatchNormParams::slabs"]
        [::std::mem::offset_of!(BatchNormParams, slabs) - 32usize];
    ["Offset of field: BatchNormParams::relu"]
        [::std::mem::offset_of!(BatchNormParams, relu) - 36usize];
    ["Offset of field: BatchNormParams::training"]
        [::std::mem::offset_of!(BatchNormParams, training) - 40usize];
    ["Offset of field: BatchNormParams::padding"]
        [::std::mem::offset_of!(BatchNormParams, padding) - 44usize];
};
#[doc = " What the `concat` kernels need; all but the rows in units of 16 bytes, or of elements."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ConcatParams {
    #[doc = " Units to move: rows times length, below 2^31."]
    pub units: ::std::os::raw::c_uint,
    #[doc = " Units of a row that move."]
    pub length: ::std::os::raw::c_uint,
    #[doc = " Units from one row of the source to the next."]
    pub from_width: ::std::os::raw::c_uint,
    #[doc = " The first that moves."]
    pub from_start: ::std::os::raw::c_uint,
    #[doc = " Units from one row of the target to the next."]
    pub to_width: ::std::os::raw::c_uint,
    #[doc = " Where the first goes."]
    pub to_start: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ConcatParams"][::std::mem::size_of::<ConcatParams>() - 24usize];
    ["Alignment of ConcatParams"][::std::mem::align_of::<ConcatParams>() - 4usize];
    ["Offset of field: ConcatParams::units"][::std::mem::offset_of!(ConcatParams, units) - 0usize];
    ["Offset of field: ConcatParams::length"]
        [::std::mem::offset_of!(ConcatParams, length) - 4usize];
    ["Offset of field: ConcatParams::from_width"]
        [::std::mem::offset_of!(ConcatParams, from_width) - 8usize];
    ["Offset of field: ConcatParams::from_start"]
        [::std::mem::offset_of!(ConcatParams, from_start) - 12usize];
    ["Offset of field: ConcatParams::to_width"]
        [::std::mem::offset_of!(ConcatParams, to_width) - 16usize];
    ["Offset of field: ConcatParams::to_start"]
        [::std::mem::offset_of!(ConcatParams, to_start) - 20usize];
};
#[doc = " What the `conv2d_fprop`, `conv2d_dgrad` and `conv2d_wgrad` kernels need. Pairs: vertical, horizontal."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Conv2dParams {
    #[doc = " Images."]
    pub batch: ::std::os::raw::c_uint,
    #[doc = " Height and width of the input maps, in pixels."]
    pub input: [::std::os::raw::c_uint; 2usize],
    #[doc = " Height and width of the output maps, in pixels."]
    pub output: [::std::os::raw::c_uint; 2usize],
    #[doc = " Channels of the input."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Filters: channels of the output."]
    pub filters: ::std::os::raw::c_uint,
    #[doc = " Height and width of a filter, in taps."]
    pub taps: [::std::os::raw::c_uint; 2usize],
    #[doc = " Pixels a filter moves."]
    pub stride: [::std::os::raw::c_uint; 2usize],
    #[doc = " Zeros on each side, in pixels."]
    pub padding: [::std::os::raw::c_uint; 2usize],
    #[doc = " Pixels from tap to tap."]
    pub dilation: [::std::os::raw::c_uint; 2usize],
    #[doc = " stride / gcd(stride, dilation): every so many taps, one reads the same residue class (dgrad)."]
    pub tap_step: [::std::os::raw::c_uint; 2usize],
    #[doc = " dilation / gcd(stride, dilation): output pixels between two such taps (dgrad)."]
    pub pixel_step: [::std::os::raw::c_uint; 2usize],
    #[doc = " Tiles of the result's columns."]
    pub column_tiles: ::std::os::raw::c_uint,
    #[doc = " Elements of the result."]
    pub elements: ::std::os::raw::c_uint,
    #[doc = " 1: rows of the result are whole 16-byte vectors, all of them aligned."]
    pub wide: ::std::os::raw::c_uint,
    #[doc = " 1: negative results become 0 (fprop)."]
    pub relu: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dParams"][::std::mem::size_of::<Conv2dParams>() - 92usize];
    ["Alignment of Conv2dParams"][::std::mem::align_of::<Conv2dParams>() - 4usize];
    ["Offset of field: Conv2dParams::batch"][::std::mem::offset_of!(Conv2dParams, batch) - 0usize];
    ["Offset of field: Conv2dParams::input"][::std::mem::offset_of!(Conv2dParams, input) - 4usize];
    ["Offset of field: Conv2dParams::output"]
        [::std::mem::offset_of!(Conv2dParams, output) - 12usize];
    ["Offset of field: Conv2dParams::channels"]
        [::std::mem::offset_of!(Conv2dParams, channels) - 20usize];
    ["Offset of field: Conv2dParams::filters"]
        [::std::mem::offset_of!(Conv2dParams, filters) - 24usize];
    ["Offset of field: Conv2dParams::taps"][::std::mem::offset_of!(Conv2dParams, taps) - 28usize];
    ["Offset of field: Conv2dParams::stride"]
        [::std::mem::offset_of!(Conv2dParams, stride) - 36usize];
    ["Offset of field: Conv2dParams::padding"]
        [::std::mem::offset_of!(Conv2dParams, padding) - 44usize];
    ["Offset of field: Conv2dParams::dilation"]
        [::std::mem::offset_of!(Conv2dParams, dilation) - 52usize];
    ["Offset of field: Conv2dParams::tap_step"]
        [::std::mem::offset_of!(Conv2dParams, tap_step) - 60usize];
    ["Offset of field: Conv2dParams::pixel_step"]
        [::std::mem::offset_of!(Conv2dParams, pixel_step) - 68usize];
    ["Offset of field: Conv2dParams::column_tiles"]
        [::std::mem::offset_of!(Conv2dParams, column_tiles) - 76usize];
    ["Offset of field: Conv2dParams::elements"]
        [::std::mem::offset_of!(Conv2dParams, elements) - 80usize];
    ["Offset of field: Conv2dParams::wide"][::std::mem::offset_of!(Conv2dParams, wide) - 84usize];
    ["Offset of field: Conv2dParams::relu"][::std::mem::offset_of!(Conv2dParams, relu) - 88usize];
};
#[doc = " What the kernels of `conv2d.cu` need: sums of parts."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Conv2dSumParams {
    #[doc = " Elements of the result."]
    pub elements: ::std::os::raw::c_uint,
    #[doc = " Channels: columns of the result."]
    pub columns: ::std::os::raw::c_uint,
    #[doc = " Rows that are summed over."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Rows of one part; for `conv2d_finish`, the number of parts."]
    pub part: ::std::os::raw::c_uint,
    #[doc = " Threads of a block side by side in a row (`conv2d_bias_gradient`), a power of two."]
    pub lanes: ::std::os::raw::c_uint,
    #[doc = " 1: 16-byte accesses."]
    pub wide: ::std::os::raw::c_uint,
    #[doc = " 1: negative results become 0."]
    pub relu: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dSumParams"][::std::mem::size_of::<Conv2dSumParams>() - 28usize];
    ["Alignment of Conv2dSumParams"][::std::mem::align_of::<Conv2dSumParams>() - 4usize];
    ["Offset of field: Conv2dSumParams::elements"]
        [::std::mem::offset_of!(Conv2dSumParams, elements) - 0usize];
    ["Offset of field: Conv2dSumParams::columns"]
        [::std::mem::offset_of!(Conv2dSumParams, columns) - 4usize];
    ["Offset of field: Conv2dSumParams::rows"]
        [::std::mem::offset_of!(Conv2dSumParams, rows) - 8usize];
    ["Offset of field: Conv2dSumParams::part"]
        [::std::mem::offset_of!(Conv2dSumParams, part) - 12usize];
    ["Offset of field: Conv2dSumParams::lanes"]
        [::std::mem::offset_of!(Conv2dSumParams, lanes) - 16usize];
    ["Offset of field: Conv2dSumParams::wide"]
        [::std::mem::offset_of!(Conv2dSumParams, wide) - 20usize];
    ["Offset of field: Conv2dSumParams::relu"]
        [::std::mem::offset_of!(Conv2dSumParams, relu) - 24usize];
};
#[doc = " What the `conv2d_hopper` kernels need. A pass sums over taps and channels (fprop, dgrad) or over\n pixels (wgrad); positions (p, q) are those of the sums' pixels, in rows and columns."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Conv2dHopperParams {
    #[doc = " Rows of the product: pixels of the output, or filters."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Columns of the product: channels of the output."]
    pub columns: ::std::os::raw::c_uint,
    #[doc = " Tiles of columns, and tiles in all."]
    pub column_tiles: ::std::os::raw::c_uint,
    pub tiles: ::std::os::raw::c_uint,
    #[doc = " Steps of 128 bytes of channels (fprop, dgrad) or of 64 pixels (wgrad) to sum over."]
    pub steps: ::std::os::raw::c_uint,
    #[doc = " Parts into which the steps of a tile (of all its taps) are divided, and elements of a part."]
    pub parts: ::std::os::raw::c_uint,
    pub elements: ::std::os::raw::c_uint,
    #[doc = " 1: the maps have one pixel and the filters one tap; the pixels' tensor map is that of a matrix."]
    pub flat: ::std::os::raw::c_uint,
    #[doc = " Positions in a row and in a column."]
    pub positions: [::std::os::raw::c_uint; 2usize],
    #[doc = " Base pixel of position (0, 0), and from one to the next: height, width."]
    pub lower: [::std::os::raw::c_int; 2usize],
    pub stride: [::std::os::raw::c_uint; 2usize],
    #[doc = " Taps that are summed over, and pixels from one to the next."]
    pub taps: [::std::os::raw::c_uint; 2usize],
    pub dilation: [::std::os::raw::c_uint; 2usize],
    #[doc = " The filter's tap at (0, 0), and from one to the next."]
    pub first_tap: ::std::os::raw::c_int,
    pub tap_stride: [::std::os::raw::c_int; 2usize],
    #[doc = " Extent of the output's maps; where position (0, 0) goes, and from one to the next."]
    pub output: [::std::os::raw::c_uint; 2usize],
    pub output_first: [::std::os::raw::c_uint; 2usize],
    pub output_stride: [::std::os::raw::c_uint; 2usize],
    #[doc = " 1: negative results become 0."]
    pub relu: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dHopperParams"][::std::mem::size_of::<Conv2dHopperParams>() - 112usize];
    ["Alignment of Conv2dHopperParams"][::std::mem::align_of::<Conv2dHopperParams>() - 4usize];
    ["Offset of field: Conv2dHopperParams::rows"]
        [::std::mem::offset_of!(Conv2dHopperParams, rows) - 0usize];
    ["Offset of field: Conv2dHopperParams::columns"]
        [::std::mem::offset_of!(Conv2dHopperParams, columns) - 4usize];
    ["Offset of field: Conv2dHopperParams::column_tiles"]
        [::std::mem::offset_of!(Conv2dHopperParams, column_tiles) - 8usize];
    ["Offset of field: Conv2dHopperParams::tiles"]
        [::std::mem::offset_of!(Conv2dHopperParams, tiles) - 12usize];
    ["Offset of field: Conv2dHopperParams::steps"]
        [::std::mem::offset_of!(Conv2dHopperParams, steps) - 16usize];
    ["Offset of field: Conv2dHopperParams::parts"]
        [::std::mem::offset_of!(Conv2dHopperParams, parts) - 20usize];
    ["Offset of field: Conv2dHopperParams::elements"]
        [::std::mem::offset_of!(Conv2dHopperParams, elements) - 24usize];
    ["Offset of field: Conv2dHopperParams::flat"]
        [::std::mem::offset_of!(Conv2dHopperParams, flat) - 28usize];
    ["Offset of field: Conv2dHopperParams::positions"]
        [::std::mem::offset_of!(Conv2dHopperParams, positions) - 32usize];
    ["Offset of field: Conv2dHopperParams::lower"]
        [::std::mem::offset_of!(Conv2dHopperParams, lower) - 40usize];
    ["Offset of field: Conv2dHopperParams::stride"]
        [::std::mem::offset_of!(Conv2dHopperParams, stride) - 48usize];
    ["Offset of field: Conv2dHopperParams::taps"]
        [::std::mem::offset_of!(Conv2dHopperParams, taps) - 56usize];
    ["Offset of field: Conv2dHopperParams::dilation"]
        [::std::mem::offset_of!(Conv2dHopperParams, dilation) - 64usize];
    ["Offset of field: Conv2dHopperParams::first_tap"]
        [::std::mem::offset_of!(Conv2dHopperParams, first_tap) - 72usize];
    ["Offset of field: Conv2dHopperParams::tap_stride"]
        [::std::mem::offset_of!(Conv2dHopperParams, tap_stride) - 76usize];
    ["Offset of field: Conv2dHopperParams::output"]
        [::std::mem::offset_of!(Conv2dHopperParams, output) - 84usize];
    ["Offset of field: Conv2dHopperParams::output_first"]
        [::std::mem::offset_of!(Conv2dHopperParams, output_first) - 92usize];
    ["Offset of field: Conv2dHopperParams::output_stride"]
        [::std::mem::offset_of!(Conv2dHopperParams, output_stride) - 100usize];
    ["Offset of field: Conv2dHopperParams::relu"]
        [::std::mem::offset_of!(Conv2dHopperParams, relu) - 108usize];
};
#[doc = " What `conv2d_hopper_transpose_filters` needs."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct Conv2dTransposeParams {
    #[doc = " Filters and channels, both multiples of 4."]
    pub filters: ::std::os::raw::c_uint,
    pub channels: ::std::os::raw::c_uint,
    pub taps: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of Conv2dTransposeParams"][::std::mem::size_of::<Conv2dTransposeParams>() - 12usize];
    ["Alignment of Conv2dTransposeParams"]
        [::std::mem::align_of::<Conv2dTransposeParams>() - 4usize];
    ["Offset of field: Conv2dTransposeParams::filters"]
        [::std::mem::offset_of!(Conv2dTransposeParams, filters) - 0usize];
    ["Offset of field: Conv2dTransposeParams::channels"]
        [::std::mem::offset_of!(Conv2dTransposeParams, channels) - 4usize];
    ["Offset of field: Conv2dTransposeParams::taps"]
        [::std::mem::offset_of!(Conv2dTransposeParams, taps) - 8usize];
};
#[doc = " A key of random numbers, `rng::Key`: whole, or of a step that the kernel reads from memory."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct KeyParams {
    #[doc = " The key's words, or the seed's where the step lies in memory; low word first."]
    pub words: [::std::os::raw::c_uint; 2usize],
    #[doc = " `rng::Purpose`, where the step lies in memory."]
    pub purpose: ::std::os::raw::c_uint,
    #[doc = " The layer, where the step lies in memory."]
    pub layer: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of KeyParams"][::std::mem::size_of::<KeyParams>() - 16usize];
    ["Alignment of KeyParams"][::std::mem::align_of::<KeyParams>() - 4usize];
    ["Offset of field: KeyParams::words"][::std::mem::offset_of!(KeyParams, words) - 0usize];
    ["Offset of field: KeyParams::purpose"][::std::mem::offset_of!(KeyParams, purpose) - 8usize];
    ["Offset of field: KeyParams::layer"][::std::mem::offset_of!(KeyParams, layer) - 12usize];
};
#[doc = " What the `dropout` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct DropoutParams {
    #[doc = " Elements, dropping by element."]
    pub elements: ::std::os::raw::c_ulonglong,
    #[doc = " Words below it drop: p times 2^32."]
    pub threshold: ::std::os::raw::c_ulonglong,
    #[doc = " The key."]
    pub key: KeyParams,
    #[doc = " What the others are multiplied by."]
    pub kept: f32,
    #[doc = " Pixels of an image, dropping by channel."]
    pub pixels: ::std::os::raw::c_uint,
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Packs of channels side by side in a block: a power of two up to 32."]
    pub vectors: ::std::os::raw::c_uint,
    #[doc = " Pixels of a slab; the last one may have fewer."]
    pub slab_rows: ::std::os::raw::c_uint,
    #[doc = " Fills the struct to a multiple of 8 bytes; 0."]
    pub padding: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of DropoutParams"][::std::mem::size_of::<DropoutParams>() - 56usize];
    ["Alignment of DropoutParams"][::std::mem::align_of::<DropoutParams>() - 8usize];
    ["Offset of field: DropoutParams::elements"]
        [::std::mem::offset_of!(DropoutParams, elements) - 0usize];
    ["Offset of field: DropoutParams::threshold"]
        [::std::mem::offset_of!(DropoutParams, threshold) - 8usize];
    ["Offset of field: DropoutParams::key"][::std::mem::offset_of!(DropoutParams, key) - 16usize];
    ["Offset of field: DropoutParams::kept"][::std::mem::offset_of!(DropoutParams, kept) - 32usize];
    ["Offset of field: DropoutParams::pixels"]
        [::std::mem::offset_of!(DropoutParams, pixels) - 36usize];
    ["Offset of field: DropoutParams::channels"]
        [::std::mem::offset_of!(DropoutParams, channels) - 40usize];
    ["Offset of field: DropoutParams::vectors"]
        [::std::mem::offset_of!(DropoutParams, vectors) - 44usize];
    ["Offset of field: DropoutParams::slab_rows"]
        [::std::mem::offset_of!(DropoutParams, slab_rows) - 48usize];
    ["Offset of field: DropoutParams::padding"]
        [::std::mem::offset_of!(DropoutParams, padding) - 52usize];
};
#[doc = " What a pass over flat arrays needs (`elementwise.cuh`)."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ElementwiseParams {
    #[doc = " Elements of each array."]
    pub elements: ::std::os::raw::c_ulonglong,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ElementwiseParams"][::std::mem::size_of::<ElementwiseParams>() - 8usize];
    ["Alignment of ElementwiseParams"][::std::mem::align_of::<ElementwiseParams>() - 8usize];
    ["Offset of field: ElementwiseParams::elements"]
        [::std::mem::offset_of!(ElementwiseParams, elements) - 0usize];
};
#[doc = " What the `gap_linear` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct GapLinearParams {
    #[doc = " Images."]
    pub batch: ::std::os::raw::c_uint,
    #[doc = " Positions of a map: height times width."]
    pub positions: ::std::os::raw::c_uint,
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Outputs of the linear layer."]
    pub outputs: ::std::os::raw::c_uint,
    #[doc = " Images of a block, 1 to 4."]
    pub images: ::std::os::raw::c_uint,
    #[doc = " Threads that share the positions of a vector of channels."]
    pub slices: ::std::os::raw::c_uint,
    #[doc = " 1: negative results become 0."]
    pub relu: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GapLinearParams"][::std::mem::size_of::<GapLinearParams>() - 28usize];
    ["Alignment of GapLinearParams"][::std::mem::align_of::<GapLinearParams>() - 4usize];
    ["Offset of field: GapLinearParams::batch"]
        [::std::mem::offset_of!(GapLinearParams, batch) - 0usize];
    ["Offset of field: GapLinearParams::positions"]
        [::std::mem::offset_of!(GapLinearParams, positions) - 4usize];
    ["Offset of field: GapLinearParams::channels"]
        [::std::mem::offset_of!(GapLinearParams, channels) - 8usize];
    ["Offset of field: GapLinearParams::outputs"]
        [::std::mem::offset_of!(GapLinearParams, outputs) - 12usize];
    ["Offset of field: GapLinearParams::images"]
        [::std::mem::offset_of!(GapLinearParams, images) - 16usize];
    ["Offset of field: GapLinearParams::slices"]
        [::std::mem::offset_of!(GapLinearParams, slices) - 20usize];
    ["Offset of field: GapLinearParams::relu"]
        [::std::mem::offset_of!(GapLinearParams, relu) - 24usize];
};
#[doc = " What the `global_avg_pool` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct GlobalAvgPoolParams {
    #[doc = " Positions of a map: height times width."]
    pub positions: ::std::os::raw::c_uint,
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Vectors (elements, in the scalar kernels) of channels of a block: a power of two, at most 256."]
    pub columns: ::std::os::raw::c_uint,
    #[doc = " Blocks for the channels of one image."]
    pub blocks: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of GlobalAvgPoolParams"][::std::mem::size_of::<GlobalAvgPoolParams>() - 16usize];
    ["Alignment of GlobalAvgPoolParams"][::std::mem::align_of::<GlobalAvgPoolParams>() - 4usize];
    ["Offset of field: GlobalAvgPoolParams::positions"]
        [::std::mem::offset_of!(GlobalAvgPoolParams, positions) - 0usize];
    ["Offset of field: GlobalAvgPoolParams::channels"]
        [::std::mem::offset_of!(GlobalAvgPoolParams, channels) - 4usize];
    ["Offset of field: GlobalAvgPoolParams::columns"]
        [::std::mem::offset_of!(GlobalAvgPoolParams, columns) - 8usize];
    ["Offset of field: GlobalAvgPoolParams::blocks"]
        [::std::mem::offset_of!(GlobalAvgPoolParams, blocks) - 12usize];
};
#[doc = " What the `hopper_probe` kernels need that copy a tile."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct HopperProbeParams {
    #[doc = " Coordinates of the tile, the innermost axis first."]
    pub at: [::std::os::raw::c_int; 4usize],
    #[doc = " Pixels to the tap: width, height."]
    pub offset: [::std::os::raw::c_uint; 2usize],
    #[doc = " Bytes of the tile."]
    pub bytes: ::std::os::raw::c_uint,
    pub unused: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of HopperProbeParams"][::std::mem::size_of::<HopperProbeParams>() - 32usize];
    ["Alignment of HopperProbeParams"][::std::mem::align_of::<HopperProbeParams>() - 4usize];
    ["Offset of field: HopperProbeParams::at"]
        [::std::mem::offset_of!(HopperProbeParams, at) - 0usize];
    ["Offset of field: HopperProbeParams::offset"]
        [::std::mem::offset_of!(HopperProbeParams, offset) - 16usize];
    ["Offset of field: HopperProbeParams::bytes"]
        [::std::mem::offset_of!(HopperProbeParams, bytes) - 24usize];
    ["Offset of field: HopperProbeParams::unused"]
        [::std::mem::offset_of!(HopperProbeParams, unused) - 28usize];
};
#[doc = " What the `masked_bce` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MaskedBceParams {
    #[doc = " Elements of each array."]
    pub elements: ::std::os::raw::c_ulonglong,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaskedBceParams"][::std::mem::size_of::<MaskedBceParams>() - 8usize];
    ["Alignment of MaskedBceParams"][::std::mem::align_of::<MaskedBceParams>() - 8usize];
    ["Offset of field: MaskedBceParams::elements"]
        [::std::mem::offset_of!(MaskedBceParams, elements) - 0usize];
};
#[doc = " What the `max_pool2d` kernels need; pairs are of rows and columns."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MaxPool2dParams {
    #[doc = " Extent of x."]
    pub input: [::std::os::raw::c_uint; 2usize],
    #[doc = " Extent of y."]
    pub output: [::std::os::raw::c_uint; 2usize],
    #[doc = " Extent of a window."]
    pub kernel: [::std::os::raw::c_uint; 2usize],
    #[doc = " Cells from a window to the next."]
    pub stride: [::std::os::raw::c_uint; 2usize],
    #[doc = " Cells added on both sides."]
    pub padding: [::std::os::raw::c_uint; 2usize],
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MaxPool2dParams"][::std::mem::size_of::<MaxPool2dParams>() - 44usize];
    ["Alignment of MaxPool2dParams"][::std::mem::align_of::<MaxPool2dParams>() - 4usize];
    ["Offset of field: MaxPool2dParams::input"]
        [::std::mem::offset_of!(MaxPool2dParams, input) - 0usize];
    ["Offset of field: MaxPool2dParams::output"]
        [::std::mem::offset_of!(MaxPool2dParams, output) - 8usize];
    ["Offset of field: MaxPool2dParams::kernel"]
        [::std::mem::offset_of!(MaxPool2dParams, kernel) - 16usize];
    ["Offset of field: MaxPool2dParams::stride"]
        [::std::mem::offset_of!(MaxPool2dParams, stride) - 24usize];
    ["Offset of field: MaxPool2dParams::padding"]
        [::std::mem::offset_of!(MaxPool2dParams, padding) - 32usize];
    ["Offset of field: MaxPool2dParams::channels"]
        [::std::mem::offset_of!(MaxPool2dParams, channels) - 40usize];
};
#[doc = " What the last step of a mean loss needs (`mean.cuh`)."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MeanParams {
    #[doc = " Blocks whose sums are added."]
    pub blocks: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MeanParams"][::std::mem::size_of::<MeanParams>() - 4usize];
    ["Alignment of MeanParams"][::std::mem::align_of::<MeanParams>() - 4usize];
    ["Offset of field: MeanParams::blocks"][::std::mem::offset_of!(MeanParams, blocks) - 0usize];
};
#[doc = " What the `metrics` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct MetricsParams {
    #[doc = " Rows of logits."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Classes."]
    pub classes: ::std::os::raw::c_uint,
    #[doc = " Threads that share a row: a power of two, at most 32."]
    pub lanes: ::std::os::raw::c_uint,
    #[doc = " Whether rows are copied to shared memory first."]
    pub staged: ::std::os::raw::c_uint,
    #[doc = " Bytes of shared memory for that."]
    pub tile: ::std::os::raw::c_uint,
    #[doc = " Whether a block gathers its confusion matrix in shared memory."]
    pub gathered: ::std::os::raw::c_uint,
    #[doc = " Whether there is a label that does not count."]
    pub has_ignored: ::std::os::raw::c_uint,
    #[doc = " That label."]
    pub ignored: ::std::os::raw::c_int,
    #[doc = " The two k of the top-k hits."]
    pub k: [::std::os::raw::c_uint; 2usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of MetricsParams"][::std::mem::size_of::<MetricsParams>() - 40usize];
    ["Alignment of MetricsParams"][::std::mem::align_of::<MetricsParams>() - 4usize];
    ["Offset of field: MetricsParams::rows"][::std::mem::offset_of!(MetricsParams, rows) - 0usize];
    ["Offset of field: MetricsParams::classes"]
        [::std::mem::offset_of!(MetricsParams, classes) - 4usize];
    ["Offset of field: MetricsParams::lanes"]
        [::std::mem::offset_of!(MetricsParams, lanes) - 8usize];
    ["Offset of field: MetricsParams::staged"]
        [::std::mem::offset_of!(MetricsParams, staged) - 12usize];
    ["Offset of field: MetricsParams::tile"][::std::mem::offset_of!(MetricsParams, tile) - 16usize];
    ["Offset of field: MetricsParams::gathered"]
        [::std::mem::offset_of!(MetricsParams, gathered) - 20usize];
    ["Offset of field: MetricsParams::has_ignored"]
        [::std::mem::offset_of!(MetricsParams, has_ignored) - 24usize];
    ["Offset of field: MetricsParams::ignored"]
        [::std::mem::offset_of!(MetricsParams, ignored) - 28usize];
    ["Offset of field: MetricsParams::k"][::std::mem::offset_of!(MetricsParams, k) - 32usize];
};
#[doc = " What `permutation` needs: which permutations to make, and of what."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct PermutationParams {
    #[doc = " The key."]
    pub key: KeyParams,
    #[doc = " Positions of the map, 1 to 65536."]
    pub positions: ::std::os::raw::c_uint,
    #[doc = " Channels (lanes of the key), each with a permutation of its own."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " The first of them: channel c is lane `first_lane + c`."]
    pub first_lane: ::std::os::raw::c_uint,
    #[doc = " Numbers a block can sort at once: a power of two, 8 bytes of shared memory each."]
    pub capacity: ::std::os::raw::c_uint,
    #[doc = " Whether table n is of the key's n-th fold; else there is one table, of the key itself."]
    pub per_sample: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PermutationParams"][::std::mem::size_of::<PermutationParams>() - 36usize];
    ["Alignment of PermutationParams"][::std::mem::align_of::<PermutationParams>() - 4usize];
    ["Offset of field: PermutationParams::key"]
        [::std::mem::offset_of!(PermutationParams, key) - 0usize];
    ["Offset of field: PermutationParams::positions"]
        [::std::mem::offset_of!(PermutationParams, positions) - 16usize];
    ["Offset of field: PermutationParams::channels"]
        [::std::mem::offset_of!(PermutationParams, channels) - 20usize];
    ["Offset of field: PermutationParams::first_lane"]
        [::std::mem::offset_of!(PermutationParams, first_lane) - 24usize];
    ["Offset of field: PermutationParams::capacity"]
        [::std::mem::offset_of!(PermutationParams, capacity) - 28usize];
    ["Offset of field: PermutationParams::per_sample"]
        [::std::mem::offset_of!(PermutationParams, per_sample) - 32usize];
};
#[doc = " What the `resample` kernels need; pairs are of rows and columns."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct ResampleParams {
    #[doc = " Extent of x."]
    pub input: [::std::os::raw::c_uint; 2usize],
    #[doc = " Extent of y."]
    pub output: [::std::os::raw::c_uint; 2usize],
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Taps of all rows, and of all columns."]
    pub taps: [::std::os::raw::c_uint; 2usize],
    #[doc = " Vectors (elements, in the scalar kernels) of y that a block makes: a power of two, at most 256."]
    pub columns: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of ResampleParams"][::std::mem::size_of::<ResampleParams>() - 32usize];
    ["Alignment of ResampleParams"][::std::mem::align_of::<ResampleParams>() - 4usize];
    ["Offset of field: ResampleParams::input"]
        [::std::mem::offset_of!(ResampleParams, input) - 0usize];
    ["Offset of field: ResampleParams::output"]
        [::std::mem::offset_of!(ResampleParams, output) - 8usize];
    ["Offset of field: ResampleParams::channels"]
        [::std::mem::offset_of!(ResampleParams, channels) - 16usize];
    ["Offset of field: ResampleParams::taps"]
        [::std::mem::offset_of!(ResampleParams, taps) - 20usize];
    ["Offset of field: ResampleParams::columns"]
        [::std::mem::offset_of!(ResampleParams, columns) - 28usize];
};
#[doc = " What the `sb_projection` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct SbProjectionParams {
    #[doc = " Rows of x."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Channels of x."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " Concepts."]
    pub concepts: ::std::os::raw::c_uint,
    #[doc = " Elements from one row of dz to the next: the concepts, rounded up to 16-byte vectors."]
    pub pitch: ::std::os::raw::c_uint,
    #[doc = " Whether channels divide into 16-byte vectors."]
    pub aligned: ::std::os::raw::c_uint,
    #[doc = " Tiles that the concepts are cut into."]
    pub concept_tiles: ::std::os::raw::c_uint,
    #[doc = " Tiles that the channels are cut into."]
    pub channel_tiles: ::std::os::raw::c_uint,
    #[doc = " Parts that the rows are cut into for the gradient of W."]
    pub parts: ::std::os::raw::c_uint,
    #[doc = " Rows of a part."]
    pub rows_per_part: ::std::os::raw::c_uint,
    #[doc = " Whether the concepts are σ(z), and not z itself."]
    pub activated: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SbProjectionParams"][::std::mem::size_of::<SbProjectionParams>() - 40usize];
    ["Alignment of SbProjectionParams"][::std::mem::align_of::<SbProjectionParams>() - 4usize];
    ["Offset of field: SbProjectionParams::rows"]
        [::std::mem::offset_of!(SbProjectionParams, rows) - 0usize];
    ["Offset of field: SbProjectionParams::channels"]
        [::std::mem::offset_of!(SbProjectionParams, channels) - 4usize];
    ["Offset of field: SbProjectionParams::concepts"]
        [::std::mem::offset_of!(SbProjectionParams, concepts) - 8usize];
    ["Offset of field: SbProjectionParams::pitch"]
        [::std::mem::offset_of!(SbProjectionParams, pitch) - 12usize];
    ["Offset of field: SbProjectionParams::aligned"]
        [::std::mem::offset_of!(SbProjectionParams, aligned) - 16usize];
    ["Offset of field: SbProjectionParams::concept_tiles"]
        [::std::mem::offset_of!(SbProjectionParams, concept_tiles) - 20usize];
    ["Offset of field: SbProjectionParams::channel_tiles"]
        [::std::mem::offset_of!(SbProjectionParams, channel_tiles) - 24usize];
    ["Offset of field: SbProjectionParams::parts"]
        [::std::mem::offset_of!(SbProjectionParams, parts) - 28usize];
    ["Offset of field: SbProjectionParams::rows_per_part"]
        [::std::mem::offset_of!(SbProjectionParams, rows_per_part) - 32usize];
    ["Offset of field: SbProjectionParams::activated"]
        [::std::mem::offset_of!(SbProjectionParams, activated) - 36usize];
};
#[doc = " What the `sgd` kernels need: a table of tensors, and the numbers that a run does not change."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct SgdParams {
    #[doc = " Addresses of f32 weights."]
    pub weights: [::std::os::raw::c_ulonglong; 100usize],
    #[doc = " Addresses of f32 velocities."]
    pub velocities: [::std::os::raw::c_ulonglong; 100usize],
    #[doc = " Addresses of gradients: of 16 bits where there is a copy, else f32."]
    pub gradients: [::std::os::raw::c_ulonglong; 100usize],
    #[doc = " Addresses of the weights' 16-bit copies; 0 for none."]
    pub copies: [::std::os::raw::c_ulonglong; 100usize],
    #[doc = " Elements of each tensor."]
    pub elements: [::std::os::raw::c_uint; 100usize],
    #[doc = " The first block that works on each tensor."]
    pub first_block: [::std::os::raw::c_uint; 100usize],
    #[doc = " Tensors in the table."]
    pub tensors: ::std::os::raw::c_uint,
    #[doc = " Share of the old velocity that stays."]
    pub momentum: f32,
    #[doc = " Factor of the weight added to its gradient."]
    pub decay: f32,
    #[doc = " 1 for Nesterov's form, else 0."]
    pub nesterov: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SgdParams"][::std::mem::size_of::<SgdParams>() - 4016usize];
    ["Alignment of SgdParams"][::std::mem::align_of::<SgdParams>() - 8usize];
    ["Offset of field: SgdParams::weights"][::std::mem::offset_of!(SgdParams, weights) - 0usize];
    ["Offset of field: SgdParams::velocities"]
        [::std::mem::offset_of!(SgdParams, velocities) - 800usize];
    ["Offset of field: SgdParams::gradients"]
        [::std::mem::offset_of!(SgdParams, gradients) - 1600usize];
    ["Offset of field: SgdParams::copies"][::std::mem::offset_of!(SgdParams, copies) - 2400usize];
    ["Offset of field: SgdParams::elements"]
        [::std::mem::offset_of!(SgdParams, elements) - 3200usize];
    ["Offset of field: SgdParams::first_block"]
        [::std::mem::offset_of!(SgdParams, first_block) - 3600usize];
    ["Offset of field: SgdParams::tensors"][::std::mem::offset_of!(SgdParams, tensors) - 4000usize];
    ["Offset of field: SgdParams::momentum"]
        [::std::mem::offset_of!(SgdParams, momentum) - 4004usize];
    ["Offset of field: SgdParams::decay"][::std::mem::offset_of!(SgdParams, decay) - 4008usize];
    ["Offset of field: SgdParams::nesterov"]
        [::std::mem::offset_of!(SgdParams, nesterov) - 4012usize];
};
#[doc = " What the `softmax_cross_entropy` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq)]
pub struct SoftmaxCrossEntropyParams {
    #[doc = " Rows of logits."]
    pub rows: ::std::os::raw::c_uint,
    #[doc = " Classes."]
    pub classes: ::std::os::raw::c_uint,
    #[doc = " Threads that share a row: a power of two, at most 32."]
    pub lanes: ::std::os::raw::c_uint,
    #[doc = " Whether rows are copied to shared memory first."]
    pub staged: ::std::os::raw::c_uint,
    #[doc = " Whether there is a label that does not count."]
    pub has_ignored: ::std::os::raw::c_uint,
    #[doc = " That label."]
    pub ignored: ::std::os::raw::c_int,
    #[doc = " 1 - epsilon, epsilon being the label smoothing."]
    pub hard: f32,
    #[doc = " epsilon / classes."]
    pub smooth: f32,
    #[doc = " epsilon / classes times the sum of the class weights."]
    pub smooth_sum: f32,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SoftmaxCrossEntropyParams"]
        [::std::mem::size_of::<SoftmaxCrossEntropyParams>() - 36usize];
    ["Alignment of SoftmaxCrossEntropyParams"]
        [::std::mem::align_of::<SoftmaxCrossEntropyParams>() - 4usize];
    ["Offset of field: SoftmaxCrossEntropyParams::rows"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, rows) - 0usize];
    ["Offset of field: SoftmaxCrossEntropyParams::classes"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, classes) - 4usize];
    ["Offset of field: SoftmaxCrossEntropyParams::lanes"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, lanes) - 8usize];
    ["Offset of field: SoftmaxCrossEntropyParams::staged"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, staged) - 12usize];
    ["Offset of field: SoftmaxCrossEntropyParams::has_ignored"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, has_ignored) - 16usize];
    ["Offset of field: SoftmaxCrossEntropyParams::ignored"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, ignored) - 20usize];
    ["Offset of field: SoftmaxCrossEntropyParams::hard"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, hard) - 24usize];
    ["Offset of field: SoftmaxCrossEntropyParams::smooth"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, smooth) - 28usize];
    ["Offset of field: SoftmaxCrossEntropyParams::smooth_sum"]
        [::std::mem::offset_of!(SoftmaxCrossEntropyParams, smooth_sum) - 32usize];
};
#[doc = " What the `spatial_shuffle` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct SpatialShuffleParams {
    #[doc = " Images."]
    pub batch: ::std::os::raw::c_uint,
    #[doc = " Positions of a map: height times width."]
    pub positions: ::std::os::raw::c_uint,
    #[doc = " Channels."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " 16-byte vectors of channels that one block moves (the staged kernel)."]
    pub vectors: ::std::os::raw::c_uint,
    #[doc = " Table entries from one image's table to the next one's: 0 when the batch shares a table."]
    pub table_stride: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of SpatialShuffleParams"][::std::mem::size_of::<SpatialShuffleParams>() - 20usize];
    ["Alignment of SpatialShuffleParams"][::std::mem::align_of::<SpatialShuffleParams>() - 4usize];
    ["Offset of field: SpatialShuffleParams::batch"]
        [::std::mem::offset_of!(SpatialShuffleParams, batch) - 0usize];
    ["Offset of field: SpatialShuffleParams::positions"]
        [::std::mem::offset_of!(SpatialShuffleParams, positions) - 4usize];
    ["Offset of field: SpatialShuffleParams::channels"]
        [::std::mem::offset_of!(SpatialShuffleParams, channels) - 8usize];
    ["Offset of field: SpatialShuffleParams::vectors"]
        [::std::mem::offset_of!(SpatialShuffleParams, vectors) - 12usize];
    ["Offset of field: SpatialShuffleParams::table_stride"]
        [::std::mem::offset_of!(SpatialShuffleParams, table_stride) - 16usize];
};
#[doc = " What a tensor map says, in the 128 bytes of one: how the emulator reads it. A GPU gets the same from\n the driver, in an encoding of its own. Axes run from the innermost out."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct TensorMapParams {
    #[doc = " Of element 0."]
    pub address: ::std::os::raw::c_ulonglong,
    #[doc = " Bytes from one element to the next along axes 1 to 4."]
    pub strides: [::std::os::raw::c_ulonglong; 4usize],
    #[doc = " Elements along each axis."]
    pub sizes: [::std::os::raw::c_uint; 5usize],
    #[doc = " Tells a map from other bytes: 0x54504D41."]
    pub magic: ::std::os::raw::c_uint,
    #[doc = " Elements of a tile along each axis; of an im2col tile: channels, then pixels."]
    pub tile: [::std::os::raw::c_ushort; 5usize],
    #[doc = " Im2col: the first base pixel of a row and of a column."]
    pub lower: [::std::os::raw::c_short; 2usize],
    #[doc = " Im2col: the last base pixel, counted from the last pixel of the map."]
    pub upper: [::std::os::raw::c_short; 2usize],
    #[doc = " Im2col: pixels from one base pixel to the next, in a row and in a column."]
    pub steps: [::std::os::raw::c_ushort; 2usize],
    pub rank: ::std::os::raw::c_ushort,
    #[doc = " Bytes of an element."]
    pub width: ::std::os::raw::c_ushort,
    #[doc = " 1: im2col; 0: tiled."]
    pub im2col: ::std::os::raw::c_ushort,
    #[doc = " 1: 16-byte chunks of a 128-byte row are exchanged by its number; 0: rows lie as they are."]
    pub swizzled: ::std::os::raw::c_ushort,
    pub unused: [::std::os::raw::c_ushort; 17usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TensorMapParams"][::std::mem::size_of::<TensorMapParams>() - 128usize];
    ["Alignment of TensorMapParams"][::std::mem::align_of::<TensorMapParams>() - 8usize];
    ["Offset of field: TensorMapParams::address"]
        [::std::mem::offset_of!(TensorMapParams, address) - 0usize];
    ["Offset of field: TensorMapParams::strides"]
        [::std::mem::offset_of!(TensorMapParams, strides) - 8usize];
    ["Offset of field: TensorMapParams::sizes"]
        [::std::mem::offset_of!(TensorMapParams, sizes) - 40usize];
    ["Offset of field: TensorMapParams::magic"]
        [::std::mem::offset_of!(TensorMapParams, magic) - 60usize];
    ["Offset of field: TensorMapParams::tile"]
        [::std::mem::offset_of!(TensorMapParams, tile) - 64usize];
    ["Offset of field: TensorMapParams::lower"]
        [::std::mem::offset_of!(TensorMapParams, lower) - 74usize];
    ["Offset of field: TensorMapParams::upper"]
        [::std::mem::offset_of!(TensorMapParams, upper) - 78usize];
    ["Offset of field: TensorMapParams::steps"]
        [::std::mem::offset_of!(TensorMapParams, steps) - 82usize];
    ["Offset of field: TensorMapParams::rank"]
        [::std::mem::offset_of!(TensorMapParams, rank) - 86usize];
    ["Offset of field: TensorMapParams::width"]
        [::std::mem::offset_of!(TensorMapParams, width) - 88usize];
    ["Offset of field: TensorMapParams::im2col"]
        [::std::mem::offset_of!(TensorMapParams, im2col) - 90usize];
    ["Offset of field: TensorMapParams::swizzled"]
        [::std::mem::offset_of!(TensorMapParams, swizzled) - 92usize];
    ["Offset of field: TensorMapParams::unused"]
        [::std::mem::offset_of!(TensorMapParams, unused) - 94usize];
};
#[doc = " What the `transform` kernels need."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct TransformParams {
    #[doc = " The run's seed, low word first."]
    pub seed: [::std::os::raw::c_uint; 2usize],
    #[doc = " The epoch where no pointer leads to it, low word first."]
    pub epoch: [::std::os::raw::c_uint; 2usize],
    #[doc = " `rng::Purpose::Augment`."]
    pub purpose: ::std::os::raw::c_uint,
    #[doc = " Whether images are moved and mirrored at all."]
    pub augment: ::std::os::raw::c_uint,
    #[doc = " By how many pixels at most."]
    pub pad: ::std::os::raw::c_uint,
    #[doc = " Images of the data set."]
    pub samples: ::std::os::raw::c_uint,
    #[doc = " Rows of an image."]
    pub height: ::std::os::raw::c_uint,
    #[doc = " Columns of an image."]
    pub width: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of TransformParams"][::std::mem::size_of::<TransformParams>() - 40usize];
    ["Alignment of TransformParams"][::std::mem::align_of::<TransformParams>() - 4usize];
    ["Offset of field: TransformParams::seed"]
        [::std::mem::offset_of!(TransformParams, seed) - 0usize];
    ["Offset of field: TransformParams::epoch"]
        [::std::mem::offset_of!(TransformParams, epoch) - 8usize];
    ["Offset of field: TransformParams::purpose"]
        [::std::mem::offset_of!(TransformParams, purpose) - 16usize];
    ["Offset of field: TransformParams::augment"]
        [::std::mem::offset_of!(TransformParams, augment) - 20usize];
    ["Offset of field: TransformParams::pad"]
        [::std::mem::offset_of!(TransformParams, pad) - 24usize];
    ["Offset of field: TransformParams::samples"]
        [::std::mem::offset_of!(TransformParams, samples) - 28usize];
    ["Offset of field: TransformParams::height"]
        [::std::mem::offset_of!(TransformParams, height) - 32usize];
    ["Offset of field: TransformParams::width"]
        [::std::mem::offset_of!(TransformParams, width) - 36usize];
};
