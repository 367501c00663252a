//! The hand-written kernels of `kernels/`: what was compiled, and how one is launched.
//!
//! `kernels/NAME.cu` holds the kernels, the file of the same name here plans their launches (which
//! variant, grid, block, shared memory) and refuses shapes they cannot do. A planned [`Launch`] means
//! the same to a GPU and to the [`emulator`].

use std::fmt;

pub mod add;
pub mod batch_norm;
pub mod cast;
mod elementwise;
pub mod emulator;
pub mod global_avg_pool;
pub mod image;
pub mod masked_bce;
pub mod max_pool2d;
pub mod metrics;
#[allow(missing_docs)]
pub mod params;
pub mod permutation;
pub mod relu;
pub mod resample;
mod rows;
pub mod softmax_cross_entropy;
pub mod spatial_shuffle;
pub mod transform;

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
// of words, so there is no padding.
unsafe impl Params for params::BatchNormParams {}
// SAFETY: as above.
unsafe impl Params for params::ElementwiseParams {}
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
unsafe impl Params for params::SoftmaxCrossEntropyParams {}
// SAFETY: as above.
unsafe impl Params for params::SpatialShuffleParams {}
// SAFETY: as above.
unsafe impl Params for params::TransformParams {}

/// A kernel with its geometry and arguments, ready to run on a GPU or in the emulator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    kernel: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    /// Each argument in words of its own, so that all are aligned to 8 bytes.
    arguments: Vec<Vec<u64>>,
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
        let mut words = vec![0u64; size_of::<P>().div_ceil(8)];
        // SAFETY: `P` is plain data of that size, and the words have room for it.
        unsafe { words.as_mut_ptr().cast::<P>().write(params) };
        self.arguments.push(words);
        self
    }

    /// The next argument: a pointer.
    pub fn pointer(mut self, address: Address) -> Self {
        self.arguments.push(vec![address.0]);
        self
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
            .map(|words| words.as_ptr().cast())
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
    fn kernels_are_found_by_the_longest_file_name() {
        for module in modules() {
            assert_eq!(module_of(module.name).map(|m| m.name), Some(module.name));
            assert!(module.fatbin.len() > 1000, "{} is empty", module.name);
        }
        assert!(module_of("no_such_kernel").is_none());
    }
}
