//! What the batches of an epoch add up to, summed where the network is.
//!
//! Reading a number from a GPU waits for everything before it. So kernels add the losses and count the
//! right answers, in double precision and in the order of the batches, and somebody reads the sums now and
//! then; they are what the host would have summed, bit for bit.

use crate::Result;
use crate::device::Device;
use crate::kernels::{Address, metrics};
use crate::tensor::{DType, Tensor};

use super::right_answers;

/// Sums over batches.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Sums {
    /// Mean losses, each times its batch's samples.
    pub loss: f64,
    /// Right answers.
    pub right: u64,
    /// The number of the first batch whose loss was not finite. From it on nothing was added.
    pub failed: Option<u64>,
}

/// The number of a batch: known here, and (where kernels run) lying in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Number {
    pub here: u64,
    pub there: Address,
}

/// Sums that grow.
pub(super) struct Tally {
    here: Sums,
    there: Option<There>,
}

/// Sums in a device's memory: an f64 and two integers of 64 bits, and the counts of one batch.
struct There {
    sums: Tensor,
    counts: Tensor,
}

impl Tally {
    /// For logits of `dtype` on `device`.
    pub fn new(device: Device, dtype: DType) -> Result<Self> {
        let kernels = matches!(dtype, DType::F32 | DType::F16 | DType::BF16);
        let there = match device != Device::Cpu && kernels {
            true => Some(There {
                sums: Tensor::zeros([24], DType::U8, device)?,
                counts: Tensor::zeros([3], DType::I32, device)?,
            }),
            false => None,
        };
        let here = Sums::default();
        Ok(Tally { here, there })
    }

    /// Whether reading waits for the device.
    pub fn is_remote(&self) -> bool {
        self.there.is_some()
    }

    /// Goes on from these sums.
    pub fn reset(&mut self, sums: Sums) -> Result<()> {
        self.here = sums;
        let Some(there) = &mut self.there else {
            return Ok(());
        };
        let failed = sums.failed.map_or(0, |number| number + 1);
        let words = [sums.loss.to_bits(), sums.right, failed];
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let bytes = Tensor::from_bytes([24], DType::U8, &bytes, Device::Cpu)?;
        there.sums.copy_from(&bytes)
    }

    /// Adds a batch with this mean loss.
    pub fn add(
        &mut self,
        number: Number,
        loss: &Tensor,
        logits: &Tensor,
        labels: &Tensor,
    ) -> Result<()> {
        let Some(there) = &mut self.there else {
            let value = loss.item()?;
            if !value.is_finite() {
                self.here.failed.get_or_insert(number.here);
            }
            if self.here.failed.is_none() {
                self.here.loss += value * labels.len() as f64;
                self.here.right += right_answers(logits, labels)?;
            }
            return Ok(());
        };
        let rows = metrics::Rows {
            rows: labels.len(),
            classes: logits.shape().channels(),
            ignore: None,
        };
        let counts = there.counts.address_mut()?;
        let pointers = [logits.address(), labels.address(), counts];
        let count = metrics::top_k(logits.dtype(), rows, [1, 1], pointers)?;
        let total = there.sums.address_mut()?;
        let sums = metrics::Sums {
            number: number.there,
            counts,
            total,
            whole: Address(total.0 + 8),
        };
        let sum = metrics::sums(loss.dtype(), rows, loss.address(), sums)?;
        logits.device().launch_all(&[count, sum])
    }

    /// The sums so far. Waits for the device.
    pub fn read(&mut self) -> Result<Sums> {
        if let Some(there) = &self.there {
            let bytes = there.sums.to_vec::<u8>()?;
            let word = |at: usize| {
                let bytes = bytes[8 * at..].first_chunk().copied();
                u64::from_le_bytes(bytes.unwrap_or_default())
            };
            self.here = Sums {
                loss: f64::from_bits(word(0)),
                right: word(1),
                failed: word(2).checked_sub(1),
            };
        }
        Ok(self.here)
    }
}
