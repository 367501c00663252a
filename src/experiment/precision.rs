//! The numbers a run computes in: `--dtype`.

use std::str::FromStr;

use crate::device::Device;
use crate::ops::set_tf32;
use crate::tensor::DType;
use crate::{Error, Result};

/// What activations and products are made of. Weights, their velocities, batch statistics and the loss
/// are f32 in all of them, f64 in the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// 32 bits throughout.
    F32,
    /// f32 in memory; products on tensor cores, which read 11 bits of each operand's 24.
    Tf32,
    /// 16 bits with f32's range and 8 bits of significand.
    Bf16,
    /// 16 bits with 11 bits of significand and a small range: the loss is scaled.
    F16,
    /// 64 bits throughout.
    F64,
}

impl FromStr for Precision {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Ok(match name {
            "f32" => Precision::F32,
            "tf32" => Precision::Tf32,
            "bf16" => Precision::Bf16,
            "f16" => Precision::F16,
            "f64" => Precision::F64,
            other => {
                let why = "expected one of f32 tf32 bf16 f16 f64";
                return Err(Error::setting("dtype", other, why));
            }
        })
    }
}

impl Precision {
    /// The type of activations.
    pub fn dtype(self) -> DType {
        match self {
            Precision::F32 | Precision::Tf32 => DType::F32,
            Precision::Bf16 => DType::BF16,
            Precision::F16 => DType::F16,
            Precision::F64 => DType::F64,
        }
    }

    /// Refuses what a device does not compute in; `name` is the setting's.
    pub(super) fn check(self, name: &str, device: Device) -> Result<()> {
        let wide = matches!(self, Precision::F32 | Precision::F64);
        if device != Device::Cpu || wide {
            return Ok(());
        }
        let why = "the CPU computes in f32 and f64: use --dtype f32, or --device cuda:0 (tiny sizes \
                   run on --device emulator)";
        Err(Error::setting("dtype", name, why))
    }

    /// Sets up this process to compute so.
    pub(super) fn prepare(self) {
        set_tf32(self == Precision::Tf32);
    }
}
