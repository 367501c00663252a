//! The kernels' parameter structs, made by bindgen from `kernels/include/params.h`.
//! Do not edit: see `tests/kernel_params.rs`.

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
#[doc = " What `permutation` needs: which permutations to make, and of what."]
#[repr(C)]
#[derive(Debug, Copy, Clone, PartialEq, Eq)]
pub struct PermutationParams {
    #[doc = " Philox key words of `rng::Key`."]
    pub key: [::std::os::raw::c_uint; 2usize],
    #[doc = " Positions of the map, 1 to 65536."]
    pub positions: ::std::os::raw::c_uint,
    #[doc = " Channels (lanes of the key), each with a permutation of its own."]
    pub channels: ::std::os::raw::c_uint,
    #[doc = " The first of them: channel c is lane `first_lane + c`."]
    pub first_lane: ::std::os::raw::c_uint,
    #[doc = " Numbers a block can sort at once: a power of two, 8 bytes of shared memory each."]
    pub capacity: ::std::os::raw::c_uint,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of PermutationParams"][::std::mem::size_of::<PermutationParams>() - 24usize];
    ["Alignment of PermutationParams"][::std::mem::align_of::<PermutationParams>() - 4usize];
    ["Offset of field: PermutationParams::key"]
        [::std::mem::offset_of!(PermutationParams, key) - 0usize];
    ["Offset of field: PermutationParams::positions"]
        [::std::mem::offset_of!(PermutationParams, positions) - 8usize];
    ["Offset of field: PermutationParams::channels"]
        [::std::mem::offset_of!(PermutationParams, channels) - 12usize];
    ["Offset of field: PermutationParams::first_lane"]
        [::std::mem::offset_of!(PermutationParams, first_lane) - 16usize];
    ["Offset of field: PermutationParams::capacity"]
        [::std::mem::offset_of!(PermutationParams, capacity) - 20usize];
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
