//! A data set in the memory of a device, which makes the batches itself.

use super::{Augment, Loader};
use crate::device::Device;
use crate::kernels::Address;
use crate::kernels::transform::{self, Buffers};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// The images of a loader on a device, as bytes. A batch of them is one launch that reads what it needs
/// from memory (which epoch, which images), so that it can be part of a graph. It gives what the loader
/// gives, in f32 to the last bit.
pub(crate) struct Resident {
    images: Tensor,
    labels: Tensor,
    table: Tensor,
    shape: [usize; 3],
    pad: Option<usize>,
    seed: u64,
}

/// The share of a device's memory that the images may take is one in this.
const SHARE: usize = 4;

impl Resident {
    /// The images of `loader` on `device`; `None` where they stay on the host: the device has no kernels,
    /// the images are not in memory or are scaled, or they would take more than a quarter of the device's.
    ///
    /// # Errors
    /// An image that cannot be read, and the device's.
    pub fn new(loader: &Loader, device: Device) -> Result<Option<Self>> {
        let set = loader.dataset();
        let [h, w, c] = set.shape();
        let (count, size) = (set.len(), h * w * c);
        let most = device.memory_size()? / SHARE;
        let options = loader.options();
        let can = set.in_memory() && !options.augment.scales();
        if !can || count > i32::MAX as usize || count.saturating_mul(size) > most {
            return Ok(None);
        }
        let mut images = Tensor::empty([count, h, w, c], DType::U8, Device::Cpu)?;
        let bytes = images.data_mut::<u8>()?;
        for (index, image) in bytes.chunks_exact_mut(size).enumerate() {
            loader.read(0, index as u32, image)?;
        }
        let labels: Vec<i32> = (0..count).map(|i| set.label(i) as i32).collect();
        let table = options.normalise.unwrap_or(set.normalise()).table();
        Ok(Some(Resident {
            images: images.to_device(device)?,
            labels: Tensor::from_slice([count], &labels, device)?,
            table: Tensor::from_slice([c, 256], table.as_flattened(), device)?,
            shape: [h, w, c],
            pad: match options.augment {
                Augment::CropFlip { pad } => Some(pad),
                _ => None,
            },
            seed: options.seed,
        }))
    }

    /// `count` images in `dtype` and their labels: those whose numbers (i32) lie at `indices`, in the epoch
    /// whose number (64 bits) lies at `epoch`.
    ///
    /// # Errors
    /// Of the planner.
    pub fn batch(
        &self,
        dtype: DType,
        count: usize,
        [epoch, indices]: [Address; 2],
    ) -> Result<[Tensor; 2]> {
        let (device, [h, w, c]) = (self.images.device(), self.shape);
        let mut images = Tensor::empty([count, h, w, c], dtype, device)?;
        let mut labels = Tensor::empty([count], DType::I32, device)?;
        let batch = transform::Batch {
            samples: self.labels.len(),
            batch: count,
            map: [h, w],
            pad: self.pad,
            seed: self.seed,
            epoch: 0,
        };
        let buffers = Buffers {
            images: self.images.address(),
            labels: self.labels.address(),
            indices,
            epoch,
            table: self.table.address(),
            to: images.address_mut()?,
            to_labels: labels.address_mut()?,
        };
        device.launch(&transform::launch(dtype, batch, buffers)?)?;
        Ok([images, labels])
    }
}

impl Loader {
    /// The first image whose label is no class of a network with so many.
    ///
    /// # Errors
    /// [`Error::Sample`] names it. Kernels do not look at labels.
    pub fn expect_classes(&self, classes: usize) -> Result<()> {
        let set = self.dataset();
        let bad = (0..set.len()).find(|&i| set.label(i) as usize >= classes);
        let Some(index) = bad else { return Ok(()) };
        Err(Error::Sample {
            dataset: format!("{} {}", set.name(), set.split()),
            index,
            what: format!(
                "label {}, but the network has {classes} classes",
                set.label(index)
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{LoaderOptions, OpenOptions, Split, open};
    use crate::kernels::emulator;

    /// Bit for bit the loader's batches, over epochs, whether images are moved or not.
    #[test]
    fn batches_are_those_of_the_host() {
        if !emulator::is_available() {
            return;
        }
        let options = OpenOptions {
            size: Some(16),
            count: Some(11),
            ..OpenOptions::default()
        };
        let set = open("texture", Split::Train, &options).unwrap();
        for augment in [Augment::None, Augment::CropFlip { pad: 2 }] {
            let options = LoaderOptions {
                batch: 4,
                seed: 3,
                augment,
                ..LoaderOptions::default()
            };
            let loader = Loader::new(set.clone(), options).unwrap();
            let resident = loader.resident(Device::Emulator).unwrap().unwrap();
            for epoch in [0u64, 5] {
                for batch in loader.epoch(epoch, 0) {
                    let batch = batch.unwrap();
                    let indices: Vec<i32> = batch.indices.iter().map(|&i| i as i32).collect();
                    let count = indices.len();
                    let indices = Tensor::from_slice([count], &indices, Device::Emulator).unwrap();
                    let words = [epoch as i32, 0];
                    let words = Tensor::from_slice([2], &words, Device::Emulator).unwrap();
                    let places = [words.address(), indices.address()];
                    let [images, labels] = resident.batch(DType::F32, count, places).unwrap();
                    assert_eq!(images.as_bytes().unwrap(), batch.images.as_bytes().unwrap());
                    assert_eq!(labels.as_bytes().unwrap(), batch.labels.as_bytes().unwrap());
                }
            }
        }
    }

    #[test]
    fn the_cpu_has_no_resident_images_and_labels_are_looked_at() {
        let set = open("layout", Split::Train, &OpenOptions::default()).unwrap();
        let loader = Loader::new(set, LoaderOptions::default()).unwrap();
        assert!(loader.resident(Device::Cpu).unwrap().is_none());
        let classes = loader.dataset().classes().len();
        assert!(loader.expect_classes(classes).is_ok());
        let said = loader.expect_classes(classes - 1).unwrap_err().to_string();
        assert!(said.contains(&format!("label {}", classes - 1)), "{said}");
    }
}
