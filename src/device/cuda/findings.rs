//! What `whatwhere doctor` says of GPUs and of NVIDIA's libraries.

use libloading::{Library, Symbol};

use super::facts::Facts;

/// What was found, as (name, finding).
pub fn findings() -> Vec<(&'static str, String)> {
    let facts = Facts::gather(0);
    let release = |(major, minor): (u32, u32)| format!("CUDA {major}.{minor}");
    let kernels = match (facts.kernel_files, facts.toolkit) {
        (0, _) => "none: there was no nvcc when the program was built (scripts/setup-cuda)".into(),
        (files, toolkit) => {
            let by = toolkit.map_or("an unknown nvcc".into(), |t| {
                format!("nvcc of {}", release(t))
            });
            format!("{files} files, compiled by {by}")
        }
    };
    let driver = match (facts.driver_present, &facts.driver_error, facts.driver) {
        (false, _, _) => "none (libcuda is not installed)".into(),
        (_, Some(error), _) => format!("does not start: {error}"),
        (_, None, Some(version)) => format!("knows {}", release(version)),
        (_, None, None) => "of unknown release".into(),
    };
    let mut found = vec![("kernels", kernels), ("driver", driver)];
    if facts.gpus == 0 {
        found.push(("gpu", "none".into()));
    }
    for index in 0..facts.gpus {
        found.push(("gpu", describe(&Facts::gather(index))));
    }
    let unused = "benchmarks compare with it, nothing else uses it";
    // SAFETY: the signatures are those of NVIDIA's headers; loading the libraries has no effect
    // that the program could notice.
    unsafe {
        found.push((
            "cudnn",
            format!("{} ({unused})", library(&CUDNN, cudnn_version)),
        ));
        found.push((
            "nccl",
            format!("{} ({unused})", library(&NCCL, nccl_version)),
        ));
    }
    found
}

fn describe(facts: &Facts) -> String {
    let gib = facts.memory.unwrap_or(0) as f64 / (1u64 << 30) as f64;
    format!(
        "cuda:{} is {}, sm_{}, {gib:.1} GiB{}",
        facts.index,
        facts.name.as_deref().unwrap_or("nameless"),
        facts.capability.unwrap_or(0),
        facts
            .obstacle()
            .map_or(String::new(), |why| format!("; cannot be used: {why}")),
    )
}

const CUDNN: [&str; 2] = ["libcudnn.so.9", "libcudnn.so"];
const NCCL: [&str; 2] = ["libnccl.so.2", "libnccl.so"];

/// The first of these libraries that loads, with its version; "none" where none does.
///
/// # Safety
/// `version` calls functions of the library by the signatures they have.
unsafe fn library(names: &[&str], version: unsafe fn(&Library) -> Option<String>) -> String {
    for name in names {
        // SAFETY: as the caller says.
        unsafe {
            if let Ok(library) = Library::new(*name) {
                let version = version(&library).unwrap_or("of unknown version".into());
                return format!("{name} {version}");
            }
        }
    }
    "none".into()
}

/// # Safety
/// The library is cuDNN.
unsafe fn cudnn_version(library: &Library) -> Option<String> {
    // SAFETY: `size_t cudnnGetVersion(void)`.
    let version = unsafe {
        let get: Symbol<unsafe extern "C" fn() -> usize> = library.get(b"cudnnGetVersion").ok()?;
        get()
    };
    let (major, rest) = (version / 10000, version % 10000);
    Some(format!("{major}.{}.{}", rest / 100, rest % 100))
}

/// # Safety
/// The library is NCCL.
unsafe fn nccl_version(library: &Library) -> Option<String> {
    let mut version = 0;
    // SAFETY: `ncclResult_t ncclGetVersion(int*)`.
    let status = unsafe {
        let get: Symbol<unsafe extern "C" fn(*mut i32) -> i32> =
            library.get(b"ncclGetVersion").ok()?;
        get(&mut version)
    };
    let (major, rest) = (version / 10000, version % 10000);
    (status == 0).then(|| format!("{major}.{}.{}", rest / 100, rest % 100))
}
