//! Where batches come from: images that lie on the network's device, or the host's loader.

use std::sync::Arc;

use super::tally::Number;
use crate::data::{Batch, Epoch, Loader, Resident};
use crate::device::Device;
use crate::kernels::Address;
use crate::ops::Clock;
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// A batch before it is on the device.
pub(super) enum Given {
    /// Images and labels of the host.
    Host(Batch),
    /// Which of the device's images.
    Indices(Vec<u32>),
}

impl Given {
    /// Its images.
    pub fn len(&self) -> usize {
        match self {
            Given::Host(batch) => batch.labels.len(),
            Given::Indices(indices) => indices.len(),
        }
    }
}

/// Makes batches on a device.
pub(super) struct Source {
    loader: Loader,
    device: Device,
    dtype: DType,
    resident: Option<Arc<Resident>>,
    /// Where kernels run: what differs from batch to batch, in memory.
    control: Option<Tensor>,
}

/// Where things are in the control memory: number and epoch, 64 bits each, then indices of 32 bits.
const NUMBER: usize = 0;
const EPOCH: usize = 8;
const INDICES: usize = 16;

impl Source {
    /// Batches of `loader` for a network on `device` that reads images in `dtype`.
    ///
    /// # Errors
    /// [`Error::Sample`] for an image that cannot be read.
    pub fn new(loader: &Loader, device: Device, dtype: DType) -> Result<Self> {
        let kernels = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        let resident = match kernels {
            true => loader.resident(device)?,
            false => None,
        };
        let bytes = INDICES + 4 * loader.options().batch;
        let control = match device {
            Device::Cpu => None,
            _ => Some(Tensor::zeros([bytes], DType::U8, device)?),
        };
        Ok(Source {
            loader: loader.clone(),
            device,
            dtype,
            resident,
            control,
        })
    }

    /// The batches of `epoch` from batch `start` on.
    pub fn feed(&self, epoch: u64, start: usize) -> Feed {
        match self.resident {
            None => Feed::Host(self.loader.epoch(epoch, start)),
            Some(_) => Feed::Indices {
                order: self.loader.order(epoch),
                loader: self.loader.clone(),
                next: start,
            },
        }
    }

    /// Writes what kernels will read of a batch: its number, its epoch and which images it has.
    pub fn announce(&mut self, number: u64, epoch: u64, given: &Given) -> Result<()> {
        let Some(control) = &mut self.control else {
            return Ok(());
        };
        let mut bytes = Vec::with_capacity(control.len());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&epoch.to_le_bytes());
        if let Given::Indices(indices) = given {
            bytes.extend(indices.iter().flat_map(|index| index.to_le_bytes()));
        }
        bytes.resize(control.len(), 0);
        let bytes = Tensor::from_bytes([bytes.len()], DType::U8, &bytes, Device::Cpu)?;
        control.copy_from(&bytes)
    }

    /// Images and labels of the batch last announced, on the device.
    pub fn batch(&self, given: &Given) -> Result<[Tensor; 2]> {
        match (given, &self.resident) {
            (Given::Host(batch), _) => Ok([
                batch.images.to_device(self.device)?,
                batch.labels.to_device(self.device)?,
            ]),
            (Given::Indices(indices), Some(resident)) => {
                let places = [self.place(EPOCH), self.place(INDICES)];
                resident.batch(self.dtype, indices.len(), places)
            }
            (Given::Indices(_), None) => {
                let device = self.device.to_string();
                let why = "it holds no images".into();
                Err(Error::Device { device, why })
            }
        }
    }

    /// The number last announced, for kernels that draw; none on the CPU.
    pub fn clock(&self) -> Result<Option<Clock>> {
        let control = self.control.clone();
        control.map(|memory| Clock::new(memory, NUMBER)).transpose()
    }

    /// The number last announced, which is `here`.
    pub fn number(&self, here: u64) -> Number {
        let there = self.place(NUMBER);
        Number { here, there }
    }

    fn place(&self, offset: usize) -> Address {
        let start = self.control.as_ref().map(Tensor::address);
        start.map_or(Address(0), |start| Address(start.0 + offset as u64))
    }
}

/// The batches of an epoch, one after another.
pub(super) enum Feed {
    /// Made by the loader's threads.
    Host(Epoch),
    /// To be made by the device.
    Indices {
        loader: Loader,
        order: Vec<u32>,
        next: usize,
    },
}

impl Iterator for Feed {
    type Item = Result<Given>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Feed::Host(epoch) => Some(epoch.next()?.map(Given::Host)),
            Feed::Indices {
                loader,
                order,
                next,
            } => {
                let number = *next;
                *next += 1;
                let more = number < loader.batches();
                more.then(|| Ok(Given::Indices(loader.indices(order, number).to_vec())))
            }
        }
    }
}
