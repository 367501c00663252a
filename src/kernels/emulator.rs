//! Runs kernels on the host, slowly and under watch: see docs/emulator.md.
//!
//! The emulator is the C++ of `kernels/emulator`, compiled by build.rs together with the kernels. It
//! runs the threads of a block as fibers under a chosen [`Schedule`] and checks every access to
//! [`Memory`] and to shared memory for bounds, races, missing waits and uninitialised reads.

#[cfg(emulator)]
use std::ffi::{c_char, c_int, c_void};
use std::marker::PhantomData;
use std::str::FromStr;

use super::{Address, Launch};
use crate::tensor::Element;
use crate::{Error, Result};

/// Shared memory a block can have, as on sm_90: 227 KiB.
pub const SHARED_LIMIT: u32 = 227 * 1024;

/// Whether the crate was built with the emulator.
pub fn is_available() -> bool {
    cfg!(emulator)
}

/// Whether accesses to memory are checked: the C++ compiler could announce them.
pub fn checks_accesses() -> bool {
    cfg!(emulator_checked)
}

/// Whether memory is watched by AddressSanitizer, which ends the process at the first mistake,
/// instead of by the emulator's own checks (`WHATWHERE_EMULATOR_SANITIZE=1` when building).
pub fn is_sanitized() -> bool {
    cfg!(emulator_sanitized)
}

/// Which runnable thread of a block comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Threads and blocks ascending; a thread runs until it must wait.
    Forward,
    /// Threads and blocks descending.
    Reverse,
    /// In an order drawn anew each time, with threads interrupted at random memory accesses.
    Random {
        /// The seed of that order, below 2^28.
        seed: u32,
    },
}

/// One of the ways a GPU could legally run a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Schedule {
    /// Which thread comes next.
    pub order: Order,
    /// Asynchronous copies happen when waited for, not when issued.
    pub late_copies: bool,
    /// Memory accesses are checked.
    pub checked: bool,
}

impl Schedule {
    /// The fastest: forward, eager, unchecked.
    pub const FAST: Schedule = Schedule {
        order: Order::Forward,
        late_copies: false,
        checked: false,
    };

    /// The six that every kernel's tests run: three orders, with copies as early and as late as legal.
    pub fn all() -> impl Iterator<Item = Schedule> {
        [Order::Forward, Order::Reverse, Order::Random { seed: 1 }]
            .into_iter()
            .flat_map(|order| {
                [false, true].map(|late_copies| Schedule {
                    order,
                    late_copies,
                    checked: true,
                })
            })
    }

    #[cfg(emulator)]
    fn code(self) -> u32 {
        let (order, seed) = match self.order {
            Order::Forward => (0, 0),
            Order::Reverse => (1, 0),
            Order::Random { seed } => (2, seed),
        };
        order + 3 * self.late_copies as u32 + 6 * !self.checked as u32 + 12 * (seed % (1 << 28))
    }
}

/// `fast`, or an order (`forward`, `reverse`, `random`, `random:SEED`) and, after a comma, when copies
/// happen (`early`, `late`): checked schedules, early without the comma.
impl FromStr for Schedule {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let unknown = || {
            let why = "known schedules: fast, or forward, reverse, random, random:SEED (below 2^28), \
                       each alone or with ,early or ,late";
            Error::setting("emulator schedule", name, why)
        };
        if name == "fast" {
            return Ok(Schedule::FAST);
        }
        let (order, copies) = name.split_once(',').unwrap_or((name, "early"));
        let seed = order.strip_prefix("random:").map(str::parse);
        let order = match (order, seed) {
            ("forward", _) => Order::Forward,
            ("reverse", _) => Order::Reverse,
            ("random", _) => Order::Random { seed: 1 },
            (_, Some(Ok(seed))) if seed < 1 << 28 => Order::Random { seed },
            _ => return Err(unknown()),
        };
        let late_copies = match copies {
            "early" => false,
            "late" => true,
            _ => return Err(unknown()),
        };
        Ok(Schedule {
            order,
            late_copies,
            checked: true,
        })
    }
}

#[cfg(emulator)]
unsafe extern "C" {
    fn whatwhere_emulate(
        kernel: *const c_char,
        grid: *const u32,
        block: *const u32,
        shared_bytes: u32,
        schedule: u32,
        arguments: *const *const c_void,
        error: *mut c_char,
        error_bytes: usize,
    ) -> c_int;
    fn whatwhere_emulator_allocate(bytes: usize, initialised: c_int) -> *mut c_void;
    fn whatwhere_emulator_mark_written(memory: *mut c_void);
    fn whatwhere_emulator_free(memory: *mut c_void);
}

/// A buffer of the emulated GPU's global memory. New elements are NaN (all bits one).
pub struct Memory<T: Element> {
    start: *mut T,
    length: usize,
    owns: PhantomData<T>,
}

// SAFETY: a `Memory` owns its buffer exclusively; the host shares it through `&` only.
unsafe impl<T: Element> Send for Memory<T> {}
// SAFETY: as above; `&Memory` only reads.
unsafe impl<T: Element> Sync for Memory<T> {}

impl<T: Element> Memory<T> {
    /// Room for `length` elements; a kernel that reads one before it was written is stopped.
    pub fn uninitialised(length: usize) -> Result<Self> {
        Self::allocate(length, false)
    }

    /// A copy of `values`.
    pub fn from_slice(values: &[T]) -> Result<Self> {
        let memory = Self::allocate(values.len(), true)?;
        // SAFETY: the new buffer has room for all of them, and nothing else knows it.
        unsafe {
            memory
                .start
                .copy_from_nonoverlapping(values.as_ptr(), values.len())
        };
        Ok(memory)
    }

    /// The elements as they are now.
    pub fn to_vec(&self) -> Vec<T> {
        self.as_slice().to_vec()
    }

    /// The elements as they are now, in place.
    pub fn as_slice(&self) -> &[T] {
        // SAFETY: the buffer holds `length` elements, initialised when it was allocated.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }

    /// The elements, for the host to write: all of them count as written from now on.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        // SAFETY: as in `as_slice`, and `&mut self` is exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.host_mut(), self.length) }
    }

    /// The first element, for the host to write through; all of them count as written from now on.
    /// Nobody may read or write the elements meanwhile.
    pub(crate) fn host_mut(&self) -> *mut T {
        #[cfg(emulator)]
        // SAFETY: `start` came from the emulator.
        unsafe {
            whatwhere_emulator_mark_written(self.start.cast())
        };
        self.start
    }

    /// Where it is, as an argument of a launch; valid while `self` lives.
    pub fn address(&self) -> Address {
        Address(self.start as u64)
    }

    #[cfg(emulator)]
    fn allocate(length: usize, initialised: bool) -> Result<Self> {
        let bytes = length * size_of::<T>();
        // SAFETY: a plain allocation; failure is a null pointer.
        let start = unsafe { whatwhere_emulator_allocate(bytes, initialised as c_int) }.cast::<T>();
        if start.is_null() {
            return Err(unavailable(format!(
                "out of memory: {bytes} bytes were asked for"
            )));
        }
        Ok(Memory {
            start,
            length,
            owns: PhantomData,
        })
    }

    #[cfg(not(emulator))]
    fn allocate(_: usize, _: bool) -> Result<Self> {
        Err(not_built())
    }
}

impl<T: Element> Drop for Memory<T> {
    fn drop(&mut self) {
        #[cfg(emulator)]
        // SAFETY: `start` came from the emulator and is given back once.
        unsafe {
            whatwhere_emulator_free(self.start.cast())
        };
    }
}

/// Runs `launch` to its end under `schedule`. Launches of one process run one at a time.
///
/// # Errors
/// [`Error::Kernel`] names the kernel, its launch, the mistake and its source line.
///
/// # Safety
/// The arguments of the launch are those of the kernel, in its order, and its pointers lead to
/// [`Memory`] (or other host memory) that is alive, large enough and used by nobody else.
#[cfg(emulator)]
pub unsafe fn run(launch: &Launch, schedule: Schedule) -> Result<()> {
    let failed = |what: String| Error::Kernel {
        launch: launch.to_string(),
        what,
    };
    let name = std::ffi::CString::new(launch.kernel()).map_err(|e| failed(e.to_string()))?;
    if launch.shared_bytes() > SHARED_LIMIT {
        return Err(failed(format!(
            "a block has at most {SHARED_LIMIT} bytes of shared memory"
        )));
    }
    let mut message = vec![0u8; 2048];
    let (grid, block, arguments) = (launch.grid(), launch.block(), launch.argument_pointers());
    // SAFETY: the arrays outlive the call and have the lengths the emulator expects; the caller
    // answers for the kernel's arguments.
    let status = unsafe {
        whatwhere_emulate(
            name.as_ptr(),
            grid.as_ptr(),
            block.as_ptr(),
            launch.shared_bytes(),
            schedule.code(),
            arguments.as_ptr(),
            message.as_mut_ptr().cast(),
            message.len(),
        )
    };
    if status == 0 {
        return Ok(());
    }
    let end = message
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(message.len());
    Err(failed(
        String::from_utf8_lossy(&message[..end]).into_owned(),
    ))
}

/// Runs `launch`: not in this build, which has no emulator.
///
/// # Errors
/// Always [`Error::Device`].
///
/// # Safety
/// Safe; the signature is that of the build with the emulator.
#[cfg(not(emulator))]
pub unsafe fn run(_: &Launch, _: Schedule) -> Result<()> {
    Err(not_built())
}

pub(crate) fn not_built() -> Error {
    unavailable("this build has none: it needs the feature `emulator` and a C++ compiler".into())
}

fn unavailable(why: String) -> Error {
    Error::Device {
        device: "emulator".into(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedules_have_names() {
        let orders = ["forward", "reverse", "random"];
        let names = orders.map(|order| [order.to_owned(), format!("{order},late")]);
        let named = names
            .as_flattened()
            .iter()
            .map(|name| name.parse::<Schedule>().unwrap());
        assert!(named.eq(Schedule::all()));
        assert_eq!("fast".parse::<Schedule>().unwrap(), Schedule::FAST);
        let seeded: Schedule = "random:77,early".parse().unwrap();
        assert_eq!(seeded.order, Order::Random { seed: 77 });
        for name in ["", "quick", "random:", "random:268435456", "forward,soon"] {
            let said = name.parse::<Schedule>().unwrap_err().to_string();
            assert!(said.contains("known schedules"), "{said}");
        }
    }
}

/// The example of the documentation compiles.
#[cfg(doctest)]
#[doc = include_str!("../../docs/emulator.md")]
struct Documentation;
