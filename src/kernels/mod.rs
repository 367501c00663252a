//! The hand-written kernels of `kernels/`: what was compiled, and how one is launched.
//!
//! `kernels/NAME.cu` holds the kernels, the file of the same name here plans their launches (which
//! variant, grid, block, shared memory) and refuses shapes they cannot do. A planned [`Launch`] means
//! the same to a GPU and to the [`emulator`].

use std::fmt;

pub mod add;
pub mod batch_norm;
pub mod batch_norm_shuffle;
pub mod cast;
mod columns;
pub mod concat;
pub mod conv2d;
pub mod dropout;
mod elementwise;
pub mod emulator;
pub mod gap_linear;
pub mod global_avg_pool;
pub mod image;
pub mod key;
pub mod linear;
pub mod masked_bce;
pub mod max_pool2d;
pub mod metrics;
#[allow(missing_docs)]
pub mod params;
pub mod permutation;
pub mod relu;
pub mod resample;
mod rows;
pub mod sb_projection;
pub mod sgd;
pub mod softmax_cross_entropy;
pub mod spatial_shuffle;
pub mod tensor_map;
pub mod transform;

use tensor_map::TensorMap;

/// One kernel file, compiled for GPUs.
#[derive(Clone, Copy)]
pub struct Module {
    /// The file's name without `.cu`; the kernels in it are called this, or begin with this and `_`.
    pub name: &'static str,
    /// Machine code for sm_80 and sm_90a, and PTX for later GPUs.
    pub fatbin: &'static [u8],
}

/// All kernel files; none where the crate was built without nvcc.
pub fn modules() -> &'static [Module] {
    const MODULES: &[Module] = include!(concat!(env!("OUT_DIR"), "/kernel_table.rs"));
    MODULES
}

/// The CUDA release, as (major, minor), of the nvcc that compiled the kernels.
pub fn toolkit() -> Option<(u32, u32)> {
    let (major, minor) = option_env!("WHATWHERE_CUDA")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The module that holds `kernel`: the longest name that begins the kernel's.
pub fn module_of(kernel: &str) -> Option<&'static Module> {
    let holds = |module: &&Module| match kernel.strip_prefix(module.name) {
        Some(rest) => rest.is_empty() || rest.starts_with('_'),
        None => false,
    };
    modules()
        .iter()
        .filter(holds)
        .max_by_key(|module| module.name.len())
}

/// An address in the memory of the device that will run the kernel; 0 is the null pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Address(pub u64);

/// A struct that goes to a kernel by value.
///
/// # Safety
/// The type is `repr(C)`, equals the kernel's parameter byte for byte, has no padding, and needs no
/// alignment beyond 8 bytes.
pub unsafe trait Params: Copy + 'static {}

// SAFETY: generated from the header the kernels include; 8-byte fields come first, in an even number
unsafe impl Params for params::BatchNormParams {}
// SAFETY: generated from the header the kernels include; all fields are words of one width.
unsafe impl Params for params::ConcatParams {}
// SAFETY: as above.
unsafe impl Params for params::Conv2dParams {}
// SAFETY: as above.
unsafe impl Params for params::Conv2dSumParams {}
// SAFETY: as above.
unsafe impl Params for params::Conv2dHopperParams {}
// SAFETY: as above.
unsafe impl Params for params::Conv2dTransposeParams {}
// SAFETY: as above.
unsafe impl Params for params::DropoutParams {}
// SAFETY: as above.
unsafe impl Params for params::HopperProbeParams {}
// SAFETY: as above.
unsafe impl Params for params::ElementwiseParams {}
// SAFETY: as above.
unsafe impl Params for params::GapLinearParams {}
// SAFETY: as above.
unsafe impl Params for params::GlobalAvgPoolParams {}
// SAFETY: as above.
unsafe impl Params for params::MaskedBceParams {}
// SAFETY: as above.
unsafe impl Params for params::MaxPool2dParams {}
// SAFETY: as above.
unsafe impl Params for params::MeanParams {}
// SAFETY: as above.
unsafe impl Params for params::MetricsParams {}
// SAFETY: as above.
unsafe impl Params for params::PermutationParams {}
// SAFETY: as above.
unsafe impl Params for params::ResampleParams {}
// SAFETY: as above.
unsafe impl Params for params::SbProjectionParams {}
// SAFETY: as above.
unsafe impl Params for params::SgdParams {}
// SAFETY: as above.
unsafe impl Params for params::SoftmaxCrossEntropyParams {}
// SAFETY: as above.
unsafe impl Params for params::SpatialShuffleParams {}
// SAFETY: 128 bytes of words and half words without a gap.
unsafe impl Params for params::TensorMapParams {}
// SAFETY: as above.
unsafe impl Params for params::TransformParams {}

/// A kernel with its geometry and arguments, ready to run on a GPU or in the emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    arguments: Vec<Argument>,
}

/// 64 bytes on a 64-byte boundary: what the strictest argument, a tensor map, asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
struct Block([u64; 8]);

/// An argument's bytes, and what they say where the device needs an encoding of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Argument {
    bytes: Vec<Block>,
    map: Option<TensorMap>,
}

impl Argument {
    fn new<P: Params>(params: P) -> Self {
        let mut bytes = vec![Block([0; 8]); size_of::<P>().div_ceil(size_of::<Block>())];
        // SAFETY: `P` is plain data of at most that size and alignment.
        unsafe { bytes.as_mut_ptr().cast::<P>().write(params) };
        Argument { bytes, map: None }
    }
}

impl Launch {
    /// `kernel` on `grid` blocks of `threads` threads, with no arguments yet.
    pub fn new(kernel: &'static str, grid: [u32; 3], threads: u32) -> Self {
        Launch {
            kernel,
            grid,
            block: [threads, 1, 1],
            shared_bytes: 0,
            arguments: Vec::new(),
        }
    }

    /// The same with `bytes` of dynamic shared memory for each block.
    pub fn shared(mut self, bytes: u32) -> Self {
        self.shared_bytes = bytes;
        self
    }

    /// The next argument: a parameter struct, by value.
    pub fn params<P: Params>(mut self, params: P) -> Self {
        self.arguments.push(Argument::new(params));
        self
    }

    /// The next argument: a pointer.
    pub fn pointer(mut self, address: Address) -> Self {
        self.arguments.push(Argument {
            bytes: vec![Block([address.0, 0, 0, 0, 0, 0, 0, 0])],
            map: None,
        });
        self
    }

    /// The next argument: a tensor map, by value, as the emulator reads it; see
    /// [`Launch::encode_maps`].
    pub fn map(mut self, map: TensorMap) -> Self {
        let model = Argument::new(map.model());
        self.arguments.push(Argument {
            map: Some(map),
            ..model
        });
        self
    }

    /// Whether an argument is a tensor map.
    pub fn has_maps(&self) -> bool {
        self.arguments.iter().any(|argument| argument.map.is_some())
    }

    /// The same launch for a GPU, whose driver encodes tensor maps: each is replaced by the 128 bytes
    /// that `encode` makes of it.
    ///
    /// # Errors
    /// The first one of `encode`.
    pub fn encode_maps<E>(
        mut self,
        mut encode: impl FnMut(&TensorMap) -> std::result::Result<[u64; 16], E>,
    ) -> std::result::Result<Self, E> {
        for argument in &mut self.arguments {
            if let Some(map) = &argument.map {
                let encoded = encode(map)?;
                let (first, second) = encoded.split_at(8);
                let halves = argument.bytes.iter_mut().zip([first, second]);
                halves.for_each(|(block, half)| block.0.copy_from_slice(half));
            }
        }
        Ok(self)
    }

    /// The kernel's name.
    pub fn kernel(&self) -> &'static str {
        self.kernel
    }

    /// Blocks in x, y and z.
    pub fn grid(&self) -> [u32; 3] {
        self.grid
    }

    /// Threads of a block in x, y and z.
    pub fn block(&self) -> [u32; 3] {
        self.block
    }

    /// Dynamic shared memory of a block, in bytes.
    pub fn shared_bytes(&self) -> u32 {
        self.shared_bytes
    }

    /// Pointers to the arguments, as `cuLaunchKernel` takes them; valid while `self` is.
    pub fn argument_pointers(&self) -> Vec<*const std::ffi::c_void> {
        self.arguments
            .iter()
            .map(|argument| argument.bytes.as_ptr().cast())
            .collect()
    }
}

/// `name<<<(grid), (block), shared bytes>>>`, as one would write it in CUDA.
impl fmt::Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [gx, gy, gz] = self.grid;
        let [bx, by, bz] = self.block;
        let (kernel, bytes) = (self.kernel, self.shared_bytes);
        write!(
            f,
            "{kernel}<<<({gx}, {gy}, {gz}), ({bx}, {by}, {bz}), {bytes} bytes>>>"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_launch_reads_like_cuda_and_keeps_its_arguments() {
        let params = params::SpatialShuffleParams {
            batch: 1,
            positions: 2,
            channels: 3,
            vectors: 4,
            table_stride: 5,
        };
        let launch = Launch::new("relu", [7, 1, 1], 256)
            .shared(64)
            .params(params)
            .pointer(Address(11));
        assert_eq!(
            launch.to_string(),
            "relu<<<(7, 1, 1), (256, 1, 1), 64 bytes>>>"
        );
        let pointers = launch.argument_pointers();
        // SAFETY: the pointers lead to the two arguments above.
        unsafe {
            assert_eq!(*pointers[0].cast::<[u32; 5]>(), [1, 2, 3, 4, 5]);
            assert_eq!(*pointers[1].cast::<u64>(), 11);
        }
    }

    #[test]
    fn kernels_know_their_compiler() {
        assert_eq!(toolkit().is_some(), !modules().is_empty());
        assert!(toolkit().is_none_or(|(major, _)| major >= 12));
    }

    #[test]
    fn tensor_maps_lie_on_64_bytes_and_take_the_drivers_encoding() {
        let map = TensorMap {
            dtype: crate::tensor::DType::F16,
            address: Address(1024),
            sizes: vec![64, 8],
            tile: tensor_map::Tile::Tiled(vec![64, 8]),
        };
        let launch = Launch::new("probe", [1; 3], 128)
            .pointer(Address(7))
            .map(map.clone());
        assert!(launch.has_maps());
        let bytes = launch.argument_pointers()[1];
        assert!(bytes.cast::<Block>().is_aligned());
        // SAFETY: the pointer leads to the model.
        assert_eq!(
            unsafe { *bytes.cast::<params::TensorMapParams>() },
            map.model()
        );
        let words = std::array::from_fn(|i| i as u64);
        let encode = |found: &TensorMap| {
            assert_eq!(*found, map);
            Ok::<_, std::convert::Infallible>(words)
        };
        let encoded = launch.encode_maps(encode).unwrap();
        let pointers = encoded.argument_pointers();
        // SAFETY: as above, and a pointer before it.
        unsafe {
            assert_eq!(*pointers[0].cast::<u64>(), 7);
            assert_eq!(*pointers[1].cast::<[u64; 16]>(), words);
        }
    }

    #[test]
    fn kernels_are_found_by_the_longest_file_name() {
        for module in modules() {
            assert_eq!(module_of(module.name).map(|m| m.name), Some(module.name));
            assert!(module.fatbin.len() > 1000, "{} is empty", module.name);
        }
        assert!(module_of("no_such_kernel").is_none());
    }
}
