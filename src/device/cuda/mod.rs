//! GPUs, through the CUDA driver.
//!
//! A GPU is opened when it is first used and stays open as long as the process. Everything happens in
//! the order it was asked for, on one stream; only copies from the host have a stream of their own,
//! so that the next batch travels while a step computes. Because of that order a freed block can be
//! used again at once, with no wait: whoever writes it comes later on the stream than whoever read it.
//!
//! Kernels run late, and so do their mistakes: the driver reports one at some later call. Under
//! `CUDA_LAUNCH_BLOCKING=1` every launch waits for its end, and the report names it.

mod facts;
mod findings;
mod graph;
mod memory;
mod tensor_map;

use std::collections::BTreeMap;
use std::ffi::{CString, c_void};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use cudarc::driver::{CudaContext, CudaStream, DriverError, result, sys};

pub use findings::findings;
pub(super) use graph::{Graph, capture};
pub(crate) use memory::Block;

use super::Device;
use super::pool::{MemoryReport, Pool};
use crate::kernels::{self, Launch};
use crate::{Error, Result};
use facts::Facts;
use memory::Staging;

/// One open GPU.
struct Gpu {
    device: Device,
    context: Arc<CudaContext>,
    /// Kernels, and copies that must keep their order with them.
    compute: Arc<CudaStream>,
    /// Copies from the host.
    uploads: Arc<CudaStream>,
    capability: u32,
    shared_limit: u32,
    multiprocessors: usize,
    memory: usize,
    pool: Mutex<Pool>,
    staging: Mutex<Staging>,
    kernels: Mutex<Kernels>,
    capture: Mutex<Option<graph::Capture>>,
}

/// What of the crate's kernels is loaded, by name.
#[derive(Default)]
struct Kernels {
    modules: BTreeMap<&'static str, sys::CUmodule>,
    functions: BTreeMap<&'static str, sys::CUfunction>,
    last: Option<&'static str>,
}

// SAFETY: handles of the driver are valid on every thread.
unsafe impl Send for Kernels {}

/// The open GPUs. They are never closed: tensors may outlive anything that could close them.
static OPEN: Mutex<BTreeMap<u32, &'static Gpu>> = Mutex::new(BTreeMap::new());

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing here panics with a lock held and a value half-changed.
    mutex
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The GPU of this index, opened if need be.
fn gpu(index: u32) -> Result<&'static Gpu> {
    let mut open = lock(&OPEN);
    if let Some(gpu) = open.get(&index) {
        return Ok(gpu);
    }
    let gpu: &'static Gpu = Box::leak(Box::new(Gpu::open(index)?));
    open.insert(index, gpu);
    Ok(gpu)
}

impl Gpu {
    fn open(index: u32) -> Result<Self> {
        let device = Device::Cuda(index);
        let facts = Facts::gather(index);
        if let Some(why) = facts.obstacle() {
            let device = device.to_string();
            return Err(Error::Device { device, why });
        }
        let refused = |e: DriverError| Error::Device {
            device: device.to_string(),
            why: facts::context_refused(e.0),
        };
        let context = CudaContext::new(index as usize).map_err(refused)?;
        // SAFETY: memory here is never a `CudaSlice`; the streams are kept in order by hand.
        unsafe { context.disable_event_tracking() };
        let limit = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let count = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT;
        Ok(Gpu {
            device,
            compute: context.new_stream().map_err(refused)?,
            uploads: context.new_stream().map_err(refused)?,
            capability: facts.capability.unwrap_or(0),
            shared_limit: context.attribute(limit).map_err(refused)? as u32,
            memory: facts.memory.unwrap_or(0),
            multiprocessors: context.attribute(count).map_err(refused)? as usize,
            pool: Mutex::new(Pool::new()),
            staging: Mutex::new(Staging::default()),
            kernels: Mutex::new(Kernels::default()),
            capture: Mutex::new(None),
            context,
        })
    }

    /// For `map_err`: a failure of the driver while `doing` something that is no launch. It may come
    /// from an earlier kernel.
    fn failed(&self, doing: &str) -> impl Fn(DriverError) -> Error {
        let last = lock(&self.kernels).last;
        move |e| Error::Kernel {
            launch: last.unwrap_or("none yet").to_owned(),
            what: format!(
                "{} said {} while {doing}. The launch named is the last one; \
                 CUDA_LAUNCH_BLOCKING=1 finds the one at fault",
                self.device,
                text_of(e)
            ),
        }
    }

    /// Makes this the GPU that the thread's calls of the driver go to.
    fn bind(&self) -> Result<()> {
        let bound = self.context.bind_to_thread();
        bound.map_err(self.failed("binding its context"))
    }

    /// The function of a launch, loaded if it is the first.
    fn function(&self, launch: &Launch) -> Result<sys::CUfunction> {
        let name = launch.kernel();
        let mut loaded = lock(&self.kernels);
        loaded.last = Some(name);
        if let Some(&function) = loaded.functions.get(name) {
            return Ok(function);
        }
        let failed = |what: String| Error::Kernel {
            launch: launch.to_string(),
            what,
        };
        if lock(&self.capture).is_some() {
            // Loading synchronises, which ends a capture.
            return Err(failed(
                "not loaded yet: run the work once before it is captured".into(),
            ));
        }
        let refused = |e: DriverError| failed(facts::load_refused(e.0, &text_of(e)));
        let module = kernels::module_of(name)
            .ok_or_else(|| failed("no kernel file of this build has this name".into()))?;
        let handle = match loaded.modules.get(module.name) {
            Some(&handle) => handle,
            None => {
                // SAFETY: the bytes are a whole fatbin, which nvcc wrote.
                let handle = unsafe { result::module::load_data(module.fatbin.as_ptr().cast()) };
                let handle = handle.map_err(refused)?;
                loaded.modules.insert(module.name, handle);
                handle
            }
        };
        let symbol = CString::new(name).map_err(|e| failed(e.to_string()))?;
        // SAFETY: the module is loaded and never unloaded; the attributes are a function's.
        let function = unsafe {
            let function = result::module::get_function(handle, symbol).map_err(refused)?;
            use sys::CUfunction_attribute::{
                CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as DYNAMIC,
                CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES as STATIC,
            };
            let fixed = result::function::get_function_attribute(function, STATIC);
            let most = self.shared_limit as i32 - fixed.map_err(refused)?;
            // More than 48 KiB of dynamic shared memory must be asked for.
            result::function::set_function_attribute(function, DYNAMIC, most).map_err(refused)?;
            function
        };
        loaded.functions.insert(name, function);
        Ok(function)
    }

    fn launch(&self, launch: &Launch) -> Result<()> {
        self.bind()?;
        let function = self.function(launch)?;
        let encoded;
        let launch = match launch.has_maps() {
            true => {
                encoded = launch.clone().encode_maps(tensor_map::encode)?;
                &encoded
            }
            false => launch,
        };
        let mut arguments = arguments_of(launch);
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid(), launch.block());
        // SAFETY: the function is loaded, and the arguments live until the driver has copied them,
        // which it does before it returns. Whoever planned the launch answers for what they are.
        let launched = unsafe {
            result::launch_kernel(
                function,
                (gx, gy, gz),
                (bx, by, bz),
                launch.shared_bytes(),
                self.compute.cu_stream(),
                &mut arguments,
            )
        };
        launched.map_err(|e| Error::Kernel {
            launch: launch.to_string(),
            what: format!("{} said {}", self.device, text_of(e)),
        })
    }
}

/// The arguments as `cuLaunchKernel` takes them: pointers it reads through and does not keep.
fn arguments_of(launch: &Launch) -> Vec<*mut c_void> {
    let pointers = launch.argument_pointers();
    pointers
        .into_iter()
        .map(<*const c_void>::cast_mut)
        .collect()
}

/// What the driver calls an error, and in its words: "CUDA_ERROR_NO_DEVICE (no CUDA-capable device …)".
fn text_of(e: DriverError) -> String {
    match e.error_string() {
        Ok(words) => format!("{:?} ({})", e.0, words.to_string_lossy()),
        Err(_) => format!("{:?}", e.0),
    }
}

pub(super) fn check(index: u32) -> Result<()> {
    gpu(index).map(drop)
}

pub(super) fn launch(index: u32, launch: &Launch) -> Result<()> {
    gpu(index)?.launch(launch)
}

pub(super) fn shared_limit(index: u32) -> Result<u32> {
    Ok(gpu(index)?.shared_limit)
}

pub(super) fn multiprocessors(index: u32) -> Result<usize> {
    Ok(gpu(index)?.multiprocessors)
}

pub(super) fn memory_size(index: u32) -> Result<usize> {
    Ok(gpu(index)?.memory)
}

pub(super) fn capability(index: u32) -> Result<u32> {
    Ok(gpu(index)?.capability)
}

pub(super) fn synchronize(index: u32) -> Result<()> {
    let gpu = gpu(index)?;
    gpu.bind()?;
    let waited = gpu.compute.synchronize();
    waited.map_err(gpu.failed("waiting for it"))
}

pub(super) fn memory_report(index: u32) -> Result<MemoryReport> {
    Ok(lock(&gpu(index)?.pool).report())
}

pub(super) fn reset_high_water(index: u32) -> Result<()> {
    lock(&gpu(index)?.pool).reset_high_water();
    Ok(())
}

pub(super) fn release_cached(index: u32) -> Result<()> {
    gpu(index)?.release_cached()
}

/// Runs `work` and measures how long the GPU was at it, between two events on its stream.
pub(super) fn timed<T>(index: u32, work: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    let gpu = gpu(index)?;
    let failed = gpu.failed("timing");
    let event = || {
        let flags = sys::CUevent_flags::CU_EVENT_DEFAULT;
        gpu.compute.record_event(Some(flags))
    };
    let begin = event().map_err(&failed)?;
    let done = work()?;
    let end = event().map_err(&failed)?;
    let ms = begin.elapsed_ms(&end).map_err(&failed)?;
    Ok((done, Duration::from_secs_f64(ms as f64 / 1e3)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{Address, params::SpatialShuffleParams};

    #[test]
    fn arguments_are_marshalled_as_the_driver_reads_them() {
        let params = SpatialShuffleParams {
            batch: 1,
            positions: 2,
            channels: 3,
            vectors: 4,
            table_stride: 5,
        };
        let launch = Launch::new("spatial_shuffle_scalar_b32", [1, 1, 1], 32)
            .params(params)
            .pointer(Address(0x7000_0000_1234))
            .pointer(Address(0));
        let arguments = arguments_of(&launch);
        assert_eq!(arguments.len(), 3);
        // SAFETY: the pointers lead to the three arguments, which `launch` holds.
        unsafe {
            assert_eq!(*arguments[0].cast::<[u32; 5]>(), [1, 2, 3, 4, 5]);
            assert_eq!(*arguments[1].cast::<u64>(), 0x7000_0000_1234);
            assert_eq!(*arguments[2].cast::<u64>(), 0);
        }
    }

    /// On a machine with a GPU these are other errors, or none; then the GPU tests are the ones to run.
    #[test]
    fn without_a_driver_everything_is_a_typed_error() {
        if Facts::gather(0).driver_present {
            eprintln!("skipped: this machine has an NVIDIA driver");
            return;
        }
        let launch = Launch::new("permutation", [1, 1, 1], 32);
        let errors = [
            check(0).unwrap_err(),
            super::launch(0, &launch).unwrap_err(),
            shared_limit(3).unwrap_err(),
            synchronize(0).unwrap_err(),
            Block::new(0, 64).err().unwrap(),
            timed(0, || Ok(())).unwrap_err(),
            capture(0, || Ok(())).err().unwrap(),
        ];
        for error in errors {
            let said = error.to_string();
            assert!(matches!(error, Error::Device { .. }), "{said}");
            assert!(said.contains("cuda:") && said.contains("libcuda"), "{said}");
        }
    }
}
