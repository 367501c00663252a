//! The tensors of a network: parameters and buffers, by name and by index.
//!
//! Layers hold [`Slot`]s, not tensors, so a network can be described, counted and printed without
//! allocating anything, and the optimizer, the checkpoint and the gradients all see one flat list.

use rayon::prelude::*;

use crate::device::Device;
use crate::rng::{Key, Purpose, name_hash};
use crate::tensor::{DType, Shape, Tensor};
use crate::{Error, Result};

/// The index of an entry of a [`Store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Slot(usize);

impl Slot {
    /// Position in [`Store::entries`].
    pub fn index(self) -> usize {
        self.0
    }
}

/// How the first values are drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// All of this value.
    Constant(f64),
    /// Normal with this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
}

/// A parameter (trained) or a buffer (kept, not trained: running statistics).
#[derive(Clone, Debug)]
pub struct Entry {
    /// Unique name; the key in checkpoints.
    pub name: String,
    /// Extents.
    pub shape: Shape,
    /// How it starts.
    pub init: Init,
    /// Whether gradients are taken for it.
    pub trained: bool,
    /// Whether layers read it in the activations' dtype; f32 else.
    pub narrow: bool,
    value: Option<Tensor>,
    /// The value in half precision, where layers read it so.
    copy: Option<Tensor>,
}

/// All tensors of a network.
///
/// A network that computes in half precision keeps its values in f32, since a step of training is often
/// smaller than a 16-bit number's last digit. Convolutions and linear layers read copies of theirs in
/// half precision, made by [`Store::initialise`] and [`Store::set`] and written by the optimizer along
/// with the values.
#[derive(Clone, Debug, Default)]
pub struct Store {
    entries: Vec<Entry>,
    dtype: DType,
}

impl Store {
    /// Declares a parameter that is read in the activations' dtype.
    pub fn parameter(&mut self, name: String, shape: impl Into<Shape>, init: Init) -> Slot {
        self.declare(name, shape.into(), init, [true, true])
    }

    /// Declares a parameter that is read in f32 where activations have half precision.
    pub fn wide_parameter(&mut self, name: String, shape: impl Into<Shape>, init: Init) -> Slot {
        self.declare(name, shape.into(), init, [true, false])
    }

    /// Declares a buffer, f32 where activations have half precision.
    pub fn buffer(&mut self, name: String, shape: impl Into<Shape>, init: Init) -> Slot {
        self.declare(name, shape.into(), init, [false, false])
    }

    fn declare(
        &mut self,
        name: String,
        shape: Shape,
        init: Init,
        [trained, narrow]: [bool; 2],
    ) -> Slot {
        self.entries.push(Entry {
            name,
            shape,
            init,
            trained,
            narrow,
            value: None,
            copy: None,
        });
        Slot(self.entries.len() - 1)
    }

    /// Draws all first values. A value depends on the seed and the entry's name alone, so networks
    /// that share a layer's name and shape start alike, whatever else was done to them.
    ///
    /// `dtype` is that of the activations, and of the values unless it is f16 or bf16: see [`Store`].
    pub fn initialise(&mut self, seed: u64, dtype: DType, device: Device) -> Result<()> {
        self.dtype = dtype;
        for slot in self.slots() {
            let entry = &self.entries[slot.0];
            let key = Key::new(seed, Purpose::Init, name_hash(&entry.name), 0);
            let mut values = vec![0f64; entry.shape.len()];
            const LANE: usize = 4096;
            values
                .par_chunks_mut(LANE)
                .enumerate()
                .for_each(|(lane, values)| {
                    let mut stream = key.stream(lane as u32);
                    values.fill_with(|| match entry.init {
                        Init::Constant(value) => value,
                        Init::Normal(std) => std * stream.normal(),
                        Init::Uniform(bound) => bound * (2.0 * stream.uniform() - 1.0),
                    });
                });
            let value =
                Tensor::from_slice(&entry.shape, &values, Device::Cpu)?.cast(self.value_dtype())?;
            self.set(slot, value.to_device(device)?)?;
        }
        Ok(())
    }

    /// Every entry, in order of declaration.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Every slot, in order of declaration.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (0..self.entries.len()).map(Slot)
    }

    /// The dtype of the activations.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The dtype of the values.
    pub fn value_dtype(&self) -> DType {
        if is_half(self.dtype) {
            DType::F32
        } else {
            self.dtype
        }
    }

    /// Where the values are; the CPU before there are any.
    pub fn device(&self) -> Device {
        let first = self.entries.iter().find_map(|e| e.value.as_ref());
        first.map_or(Device::Cpu, Tensor::device)
    }

    /// Slots and entries of the parameters.
    pub fn parameters(&self) -> impl Iterator<Item = (Slot, &Entry)> {
        let all = self.entries.iter().enumerate();
        all.filter(|(_, e)| e.trained).map(|(i, e)| (Slot(i), e))
    }

    /// Number of trained numbers.
    pub fn parameter_count(&self) -> u64 {
        self.parameters().map(|(_, e)| e.shape.len() as u64).sum()
    }

    /// The value of an entry.
    ///
    /// # Errors
    /// [`Error::Setting`] before [`Store::initialise`].
    pub fn value(&self, slot: Slot) -> Result<&Tensor> {
        let entry = &self.entries[slot.0];
        entry.value.as_ref().ok_or_else(|| {
            Error::setting(
                "network",
                &entry.name,
                "its values were never initialised or loaded",
            )
        })
    }

    /// What layers read: the copy in half precision if there is one, else the value.
    ///
    /// # Errors
    /// As [`Store::value`].
    pub fn operand(&self, slot: Slot) -> Result<&Tensor> {
        match &self.entries[slot.0].copy {
            Some(copy) => Ok(copy),
            None => self.value(slot),
        }
    }

    /// The value of an entry, to be changed together with its copy in half precision, if it has one.
    pub fn value_mut(&mut self, slot: Slot) -> Result<(&mut Tensor, Option<&mut Tensor>)> {
        self.value(slot)?;
        let entry = &mut self.entries[slot.0];
        let value = entry.value.as_mut();
        let value = value.ok_or_else(|| Error::setting("network", slot.0, "not initialised"))?;
        Ok((value, entry.copy.as_mut()))
    }

    /// Takes the values of a store with the same entries. Nothing is copied: both refuse to change
    /// them while the other lives.
    ///
    /// # Errors
    /// [`Error::Shape`] names the first entry that differs.
    pub fn share(&mut self, other: &Store) -> Result<()> {
        let like = |a: &Entry, b: &Entry| a.name == b.name && a.shape == b.shape;
        let mut pairs = self.entries.iter().zip(&other.entries);
        let differing = pairs.find(|(own, other)| !like(own, other));
        if differing.is_some() || self.entries.len() != other.entries.len() {
            let (own, theirs) = (self.entries.len(), other.entries.len());
            let what = match differing {
                Some((own, other)) => format!("{} here, {} there", own.name, other.name),
                None => format!("{own} entries here, {theirs} there"),
            };
            return Err(Error::shape("store", what));
        }
        self.entries.clone_from(&other.entries);
        Ok(())
    }

    /// Gives buffers (not parameters) memory of their own, so that they can change.
    pub fn unshare_buffers(&mut self) -> Result<()> {
        for entry in self.entries.iter_mut().filter(|entry| !entry.trained) {
            entry.value = entry.value.as_ref().map(Tensor::deep_clone).transpose()?;
        }
        Ok(())
    }

    /// Replaces the value of an entry, and its copy in half precision.
    ///
    /// # Errors
    /// [`Error::Shape`] when the extents differ.
    pub fn set(&mut self, slot: Slot, value: Tensor) -> Result<()> {
        let entry = &mut self.entries[slot.0];
        if *value.shape() != entry.shape {
            let what = format!(
                "{} has shape {}, not {}",
                entry.name,
                entry.shape,
                value.shape()
            );
            return Err(Error::shape("store", what));
        }
        let copied = entry.narrow && is_half(self.dtype);
        entry.copy = copied.then(|| value.cast(self.dtype)).transpose()?;
        entry.value = Some(value);
        Ok(())
    }
}

fn is_half(dtype: DType) -> bool {
    matches!(dtype, DType::F16 | DType::BF16)
}
