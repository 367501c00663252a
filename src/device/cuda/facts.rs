//! What is known of a GPU before it is opened, and what keeps it from being used.

use cudarc::driver::{result, sys};

use crate::kernels;

/// The oldest GPU the kernels run on: Ampere.
const OLDEST: u32 = 80;

/// What the driver tells of itself and of one GPU.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Facts {
    /// Which GPU was asked for.
    pub index: u32,
    /// Kernel files built into the crate.
    pub kernel_files: usize,
    /// CUDA release of the nvcc that compiled them, as (major, minor).
    pub toolkit: Option<(u32, u32)>,
    /// Whether libcuda is installed.
    pub driver_present: bool,
    /// Why the driver does not start, in its words.
    pub driver_error: Option<String>,
    /// The CUDA release the driver knows, as (major, minor).
    pub driver: Option<(u32, u32)>,
    /// GPUs the driver shows.
    pub gpus: u32,
    /// The GPU's name.
    pub name: Option<String>,
    /// Its instruction set: 90 for sm_90.
    pub capability: Option<u32>,
    /// Its memory in bytes.
    pub memory: Option<usize>,
}

impl Facts {
    /// Asks the driver; opens nothing.
    pub fn gather(index: u32) -> Self {
        let mut facts = Facts {
            index,
            kernel_files: kernels::modules().len(),
            toolkit: kernels::toolkit(),
            // SAFETY: loads a library that has no say in it.
            driver_present: unsafe { sys::is_culib_present() },
            ..Facts::default()
        };
        if facts.driver_present
            && let Err(e) = facts.ask()
        {
            facts.driver_error = Some(super::text_of(e));
        }
        facts
    }

    fn ask(&mut self) -> Result<(), result::DriverError> {
        let mut version = 0;
        // SAFETY: the driver writes one number; it does so before it is started, too.
        unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
        self.driver = Some((version as u32 / 1000, version as u32 % 1000 / 10));
        match result::init() {
            Err(e) if e.0 == sys::CUresult::CUDA_ERROR_NO_DEVICE => return Ok(()),
            started => started?,
        }
        self.gpus = result::device::get_count()?.max(0) as u32;
        if self.index >= self.gpus {
            return Ok(());
        }
        let device = result::device::get(self.index as i32)?;
        self.name = Some(result::device::get_name(device)?);
        use sys::CUdevice_attribute::{
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR as MAJOR,
            CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR as MINOR,
        };
        // SAFETY: the device is one the driver named.
        unsafe {
            let major = result::device::get_attribute(device, MAJOR)?;
            let minor = result::device::get_attribute(device, MINOR)?;
            self.capability = Some((10 * major + minor) as u32);
            self.memory = Some(result::device::total_mem(device)?);
        }
        Ok(())
    }

    /// Why this GPU cannot be used, and what to do; none if it can, as far as one can tell unopened.
    pub fn obstacle(&self) -> Option<String> {
        const CPU: &str = "--device cpu and auto run without";
        if !self.driver_present {
            return Some(format!(
                "there is no NVIDIA driver (libcuda is not installed); {CPU}"
            ));
        }
        if self.kernel_files == 0 {
            return Some(format!(
                "this build has no GPU kernels, because there was no nvcc (scripts/setup-cuda installs \
                 one; then build again); {CPU}"
            ));
        }
        if let (Some(driver), Some(toolkit)) = (self.driver, self.toolkit)
            && driver.0 < toolkit.0
        {
            return Some(format!(
                "the driver is too old: it knows CUDA {}.{}, the kernels were compiled by CUDA {}.{}. \
                 Update the driver, or build with an older nvcc",
                driver.0, driver.1, toolkit.0, toolkit.1
            ));
        }
        if let Some(error) = &self.driver_error {
            return Some(format!("the NVIDIA driver does not start: {error}; {CPU}"));
        }
        if self.gpus == 0 {
            return Some(format!(
                "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES hides them); {CPU}"
            ));
        }
        if self.index >= self.gpus {
            let last = self.gpus - 1;
            return Some(format!(
                "the driver shows {} GPUs, the last is cuda:{last}",
                self.gpus
            ));
        }
        match (self.capability, &self.name) {
            (Some(found), name) if found < OLDEST => Some(format!(
                "{} is sm_{found}; the kernels need sm_{OLDEST} (Ampere) or later",
                name.as_deref().unwrap_or("the GPU")
            )),
            _ => None,
        }
    }
}

/// Why the driver did not open a GPU.
pub(super) fn context_refused(code: sys::CUresult) -> String {
    match code {
        sys::CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE => {
            "it is busy: another process has it for itself (compute mode exclusive; `nvidia-smi` lists \
             processes and modes), or it is out of order"
                .into()
        }
        sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
            "its memory is full: other processes (`nvidia-smi` lists them) leave no room".into()
        }
        other => format!("the driver cannot open it ({other:?})"),
    }
}

/// Why the driver did not load a kernel file.
pub(super) fn load_refused(code: sys::CUresult, words: &str) -> String {
    match code {
        sys::CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU
        | sys::CUresult::CUDA_ERROR_INVALID_PTX
        | sys::CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION
        | sys::CUresult::CUDA_ERROR_INVALID_IMAGE => format!(
            "the driver cannot load the kernels ({words}): it is too old for the nvcc that compiled them, \
             or the GPU is"
        ),
        _ => format!("the driver cannot load the kernel ({words})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            index: 0,
            kernel_files: 2,
            toolkit: Some((13, 0)),
            driver_present: true,
            driver_error: None,
            driver: Some((13, 0)),
            gpus: 1,
            name: Some("NVIDIA H100".into()),
            capability: Some(90),
            memory: Some(80 << 30),
        }
    }

    #[test]
    fn every_obstacle_is_named() {
        assert_eq!(good().obstacle(), None);
        let newer = Facts {
            driver: Some((14, 1)),
            capability: Some(120),
            ..good()
        };
        assert_eq!(newer.obstacle(), None);
        let nothing = Facts::default();
        let cases = [
            (nothing.clone(), "libcuda"),
            (
                Facts {
                    driver_present: true,
                    ..nothing.clone()
                },
                "nvcc",
            ),
            (
                Facts {
                    driver: Some((12, 4)),
                    ..good()
                },
                "CUDA 12.4",
            ),
            (
                Facts {
                    driver_error: Some("CUDA_ERROR_SYSTEM_DRIVER_MISMATCH".into()),
                    ..good()
                },
                "MISMATCH",
            ),
            (Facts { gpus: 0, ..good() }, "no GPU"),
            (
                Facts {
                    gpus: 4,
                    index: 4,
                    ..good()
                },
                "the last is cuda:3",
            ),
            (
                Facts {
                    name: Some("Tesla V100".into()),
                    capability: Some(70),
                    ..good()
                },
                "Tesla V100 is sm_70",
            ),
        ];
        for (facts, expected) in cases {
            let said = facts.obstacle().unwrap_or_default();
            assert!(said.contains(expected), "{facts:?}: {said}");
        }
    }

    #[test]
    fn busy_full_and_too_old_are_told_apart() {
        use sys::CUresult::*;
        assert!(context_refused(CUDA_ERROR_DEVICE_UNAVAILABLE).contains("busy"));
        assert!(context_refused(CUDA_ERROR_OUT_OF_MEMORY).contains("full"));
        assert!(context_refused(CUDA_ERROR_ECC_UNCORRECTABLE).contains("ECC"));
        assert!(load_refused(CUDA_ERROR_NO_BINARY_FOR_GPU, "").contains("too old"));
        assert!(load_refused(CUDA_ERROR_NOT_FOUND, "not found").contains("not found"));
    }
}
