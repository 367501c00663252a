//! The prefetching loader.
//!
//! Worker `k` of `W` makes batches `k`, `k + W`, `k + 2W`, … and hands them over through a bounded
//! channel of its own; the reader takes from the channels in turn. So batches come in order without a
//! reorder buffer, and what a batch holds depends on the seed and the epoch alone.

use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{Augment, Dataset, Normalise, Resident, Transform, Window};
use crate::device::Device;
use crate::rng::{Key, Purpose};
use crate::tensor::{DType, Tensor};
use crate::{Error, Result};

/// How images become batches.
#[derive(Clone, Debug, PartialEq)]
pub struct LoaderOptions {
    /// Images in a batch.
    pub batch: usize,
    /// A new order every epoch, keyed by (seed, epoch); otherwise the order of the data set.
    pub shuffle: bool,
    /// Seed of the order and of the augmentation.
    pub seed: u64,
    /// Random changes of the images.
    pub augment: Augment,
    /// Normalisation constants; `None` for those of the data set.
    pub normalise: Option<Normalise>,
    /// Leave out the last batch of an epoch when it is not full.
    pub drop_last: bool,
    /// Threads that prepare batches; 0 prepares them on the caller's thread.
    pub workers: usize,
    /// Batches kept ready, all workers together (at least one each).
    pub prefetch: usize,
}

impl Default for LoaderOptions {
    fn default() -> Self {
        LoaderOptions {
            batch: 128,
            shuffle: true,
            seed: 0,
            augment: Augment::None,
            normalise: None,
            drop_last: false,
            workers: 1,
            prefetch: 4,
        }
    }
}

/// Some images, ready for a network.
#[derive(Clone, Debug)]
pub struct Batch {
    /// Normalised `f32`, NHWC.
    pub images: Tensor,
    /// Labels, `i32`, `[n]`.
    pub labels: Tensor,
    /// Which images of the data set these are.
    pub indices: Vec<u32>,
}

/// Makes the batches of any epoch of a data set.
#[derive(Clone)]
pub struct Loader {
    dataset: Arc<dyn Dataset>,
    options: LoaderOptions,
    transform: Arc<Transform>,
    residents: Arc<Mutex<BTreeMap<Device, Option<Arc<Resident>>>>>,
}

impl Loader {
    /// A loader of `dataset`.
    ///
    /// # Errors
    /// An empty data set, a batch of 0 or one larger than the set, images that are not RGB, and
    /// mirroring where it changes the class.
    pub fn new(dataset: Arc<dyn Dataset>, options: LoaderOptions) -> Result<Self> {
        let (len, batch) = (dataset.len(), options.batch);
        let name = format!("{} {}", dataset.name(), dataset.split());
        if len == 0 || len > u32::MAX as usize {
            let why = format!("has {len} images, expected 1 to {}", u32::MAX);
            return Err(Error::setting("data", name, why));
        }
        if batch == 0 || batch > len {
            let why = format!("{name} has {len} images: choose a batch of 1 to {len}");
            return Err(Error::setting("batch", batch, why));
        }
        if options.augment != Augment::None && !dataset.mirror_safe() {
            let why = format!("mirroring changes the classes of {name}; use none");
            return Err(Error::setting("augment", options.augment, why));
        }
        let normalise = options.normalise.unwrap_or(dataset.normalise());
        let transform = Arc::new(Transform::new(dataset.shape(), normalise)?);
        Ok(Loader {
            dataset,
            options,
            transform,
            residents: Arc::default(),
        })
    }

    /// The data set.
    pub fn dataset(&self) -> &Arc<dyn Dataset> {
        &self.dataset
    }

    /// The options.
    pub fn options(&self) -> &LoaderOptions {
        &self.options
    }

    /// Number of batches in an epoch.
    pub fn batches(&self) -> usize {
        let (len, batch) = (self.dataset.len(), self.options.batch);
        if self.options.drop_last {
            len / batch
        } else {
            len.div_ceil(batch)
        }
    }

    /// The order of the images in `epoch`.
    pub fn order(&self, epoch: u64) -> Vec<u32> {
        let len = self.dataset.len();
        if !self.options.shuffle {
            return (0..len as u32).collect();
        }
        let key = Key::new(self.options.seed, Purpose::Order, epoch, 0);
        key.stream(0).permutation(len)
    }

    /// The images of batch `number` of an epoch with this order.
    pub(crate) fn indices<'o>(&self, order: &'o [u32], number: usize) -> &'o [u32] {
        let begin = number * self.options.batch;
        &order[begin..(begin + self.options.batch).min(order.len())]
    }

    /// Batch `number` of `epoch`, made here and now.
    pub(crate) fn batch(&self, epoch: u64, number: usize) -> Result<Batch> {
        let (loader, order) = (self.clone(), self.order(epoch));
        let work = Work {
            loader,
            epoch,
            order,
        };
        work.batch(number)
    }

    /// The images on `device`, put there by the first call; `None` where they stay on the host.
    pub(crate) fn resident(&self, device: Device) -> Result<Option<Arc<Resident>>> {
        let mut known = self.residents.lock().unwrap_or_else(|e| e.into_inner());
        if let Some(resident) = known.get(&device) {
            return Ok(resident.clone());
        }
        let resident = Resident::new(self, device)?.map(Arc::new);
        known.insert(device, resident.clone());
        Ok(resident)
    }

    /// The batches of `epoch`, beginning with batch `start`: exactly what is left after `start`
    /// batches were taken. Threads end when the iterator is dropped.
    pub fn epoch(&self, epoch: u64, start: usize) -> Epoch {
        let work = Arc::new(Work {
            loader: self.clone(),
            epoch,
            order: self.order(epoch),
        });
        let end = self.batches();
        let workers = self.options.workers.min(end.saturating_sub(start));
        let lanes = (0..workers).map(|k| {
            let depth = self.options.prefetch.div_ceil(workers).max(1);
            Lane::start(Arc::clone(&work), (start + k..end).step_by(workers), depth)
        });
        let lanes = lanes.collect();
        Epoch {
            work,
            lanes,
            next: start,
            end,
        }
    }
}

/// The batches of one epoch, in order; made by [`Loader::epoch`]. After an error it ends.
pub struct Epoch {
    work: Arc<Work>,
    lanes: VecDeque<Result<Lane>>,
    next: usize,
    end: usize,
}

impl Iterator for Epoch {
    type Item = Result<Batch>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.end {
            return None;
        }
        let batch = match self.lanes.pop_front() {
            None => self.work.batch(self.next),
            Some(Err(error)) => Err(error),
            Some(Ok(lane)) => {
                let batch = lane.receive(self.next);
                self.lanes.push_back(Ok(lane));
                batch
            }
        };
        self.next = if batch.is_ok() {
            self.next + 1
        } else {
            self.end
        };
        Some(batch)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end.saturating_sub(self.next);
        (left, Some(left))
    }
}

/// One worker thread and the channel it fills.
struct Lane {
    batches: Option<Receiver<Result<Batch>>>,
    thread: Option<JoinHandle<()>>,
}

impl Lane {
    fn start(
        work: Arc<Work>,
        numbers: impl Iterator<Item = usize> + Send + 'static,
        depth: usize,
    ) -> Result<Self> {
        let (sender, receiver) = sync_channel(depth);
        let workers = work.loader.options.workers;
        let run = move || {
            for number in numbers {
                let batch = work.batch(number);
                // An error ends the epoch; a closed channel means nobody listens any more.
                let failed = batch.is_err();
                if sender.send(batch).is_err() || failed {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("whatwhere-loader".into());
        let thread = thread.spawn(run).map_err(|error| {
            let why = format!("cannot start a loader thread ({error}); use fewer workers or 0");
            Error::setting("workers", workers, why)
        })?;
        Ok(Lane {
            batches: Some(receiver),
            thread: Some(thread),
        })
    }

    fn receive(&self, number: usize) -> Result<Batch> {
        let received = self
            .batches
            .as_ref()
            .and_then(|batches| batches.recv().ok());
        received.unwrap_or_else(|| {
            let why = format!("the loader thread ended before batch {number}");
            Err(Error::setting("data", "loader", why))
        })
    }
}

/// Closes the channel first, so that a worker waiting to send wakes up, then joins the thread.
impl Drop for Lane {
    fn drop(&mut self) {
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic of the data set was already reported as an error of its sample.
            let _ = thread.join();
        }
    }
}

/// What all workers of an epoch share.
struct Work {
    loader: Loader,
    epoch: u64,
    order: Vec<u32>,
}

impl Work {
    fn batch(&self, number: usize) -> Result<Batch> {
        let Loader {
            dataset,
            options,
            transform,
            ..
        } = &self.loader;
        let [h, w, c] = dataset.shape();
        let indices = self.loader.indices(&self.order, number).to_vec();
        let mut bytes = vec![0; h * w * c];
        let mut images = Tensor::empty([indices.len(), h, w, c], DType::F32, Device::Cpu)?;
        let pixels = images.data_mut::<f32>()?;
        for (&index, out) in indices.iter().zip(pixels.chunks_exact_mut(h * w * c)) {
            self.loader.read(self.epoch, index, &mut bytes)?;
            let place = options.augment.draw(options.seed, self.epoch, index);
            transform.apply(&bytes, place, out);
        }
        let labels: Vec<i32> = indices
            .iter()
            .map(|&i| dataset.label(i as usize) as i32)
            .collect();
        let labels = Tensor::from_slice([labels.len()], &labels, Device::Cpu)?;
        Ok(Batch {
            images,
            labels,
            indices,
        })
    }
}

impl Loader {
    /// One image, or the window of it that the augmentation scales; an error or a panic of the data
    /// set names it.
    pub(super) fn read(&self, epoch: u64, sample: u32, bytes: &mut [u8]) -> Result<()> {
        let (dataset, options) = (&self.dataset, &self.options);
        let index = sample as usize;
        let fill = || match options.augment.scales() {
            false => dataset.fill(index, bytes),
            true => {
                let mut choose = |extent: [usize; 2]| {
                    let window = options.augment.window(options.seed, epoch, sample, extent);
                    window.unwrap_or(Window::whole(extent))
                };
                dataset.fill_window(index, &mut choose, bytes)
            }
        };
        let sample = |what| Error::Sample {
            dataset: format!("{} {}", dataset.name(), dataset.split()),
            index,
            what,
        };
        match catch_unwind(AssertUnwindSafe(fill)) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error @ Error::Sample { .. })) => Err(error),
            Ok(Err(error)) => Err(sample(error.to_string())),
            Err(panic) => {
                let text = panic.downcast_ref::<&str>().map(|s| s.to_string());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
                let text = text.unwrap_or_else(|| "no message".into());
                Err(sample(format!("the data set panicked: {text}")))
            }
        }
    }
}
