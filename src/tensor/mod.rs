//! Tensors: a shape, a dtype, a device and a flat, contiguous, shared buffer.
//!
//! There are no strides and no views but [`Tensor::reshape`], so every kernel sees plain memory.
//! Images are NHWC. A clone shares the buffer; [`Tensor::data_mut`] refuses while it is shared, which
//! is how an in-place change under a tape's feet is caught.

mod constant;
mod convert;
mod dtype;
mod host;
mod shape;

use std::fmt;
use std::sync::Arc;

pub use dtype::{DType, Element, Real};
pub(crate) use host::update_on_host;
pub use shape::Shape;

use crate::device::{Buffer, Device};
use crate::kernels::Address;
use crate::{Error, Result};

/// An n-dimensional array on a device. Cheap to clone; see the module's page.
#[derive(Clone)]
pub struct Tensor {
    shape: Shape,
    dtype: DType,
    device: Device,
    buffer: Arc<Buffer>,
}

impl Tensor {
    /// A tensor with unspecified contents, for an operation that writes every element.
    pub fn empty(shape: impl Into<Shape>, dtype: DType, device: Device) -> Result<Self> {
        let shape = shape.into();
        let buffer = device.allocate(shape.len() * dtype.size())?;
        Ok(Tensor {
            shape,
            dtype,
            device,
            buffer: Arc::new(buffer),
        })
    }

    /// All zeros.
    pub fn zeros(shape: impl Into<Shape>, dtype: DType, device: Device) -> Result<Self> {
        let mut tensor = Self::empty(shape, dtype, device)?;
        let bytes = tensor.bytes();
        tensor.unique("a new tensor")?.clear(bytes)?;
        Ok(tensor)
    }

    /// Every element `value`.
    pub fn full<T: Element>(shape: impl Into<Shape>, value: T, device: Device) -> Result<Self> {
        let mut tensor = Self::empty(shape, T::DTYPE, Device::Cpu)?;
        tensor.data_mut::<T>()?.fill(value);
        tensor.to_device(device)
    }

    /// A copy of `values` in this shape.
    ///
    /// # Errors
    /// [`Error::Length`] when the counts differ.
    pub fn from_slice<T: Element>(
        shape: impl Into<Shape>,
        values: &[T],
        device: Device,
    ) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != values.len() {
            return Err(Error::Length {
                expected: shape.len(),
                found: values.len(),
                shape,
            });
        }
        // SAFETY: elements are plain data.
        let bytes = unsafe {
            std::slice::from_raw_parts(values.as_ptr().cast(), std::mem::size_of_val(values))
        };
        Self::from_bytes(shape, T::DTYPE, bytes, device)
    }

    /// A copy of raw bytes: little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Length`] when they are not those of the shape.
    pub fn from_bytes(
        shape: impl Into<Shape>,
        dtype: DType,
        bytes: &[u8],
        device: Device,
    ) -> Result<Self> {
        let mut tensor = Self::empty(shape, dtype, device)?;
        if tensor.bytes() != bytes.len() {
            return Err(Error::Length {
                expected: tensor.len(),
                found: bytes.len() / dtype.size(),
                shape: tensor.shape,
            });
        }
        tensor.unique("a new tensor")?.write(bytes)?;
        Ok(tensor)
    }

    /// A rank-0 tensor.
    pub fn scalar<T: Element>(value: T, device: Device) -> Result<Self> {
        Self::from_slice([], &[value], device)
    }

    /// A tensor of this shape, dtype and device with unspecified contents.
    pub fn empty_like(&self) -> Result<Self> {
        Self::empty(&self.shape, self.dtype, self.device)
    }

    /// Extents.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Extents as a slice.
    pub fn dims(&self) -> &[usize] {
        self.shape.dims()
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Where the data lives.
    pub fn device(&self) -> Device {
        self.device
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.shape.is_empty()
    }

    /// Size of the data in bytes.
    pub fn bytes(&self) -> usize {
        self.len() * self.dtype.size()
    }

    /// The same elements in another shape; shares the buffer.
    ///
    /// # Errors
    /// [`Error::Length`] when the counts differ.
    pub fn reshape(&self, shape: impl Into<Shape>) -> Result<Self> {
        let shape = shape.into();
        if shape.len() != self.len() {
            return Err(Error::Length {
                expected: shape.len(),
                found: self.len(),
                shape,
            });
        }
        Ok(Tensor {
            shape,
            ..self.clone()
        })
    }

    /// The elements, in row-major order.
    ///
    /// # Errors
    /// [`Error::DType`] when `T` is not the element type; [`Error::Unreadable`] on a GPU
    /// ([`Tensor::to_device`] copies).
    pub fn data<T: Element>(&self) -> Result<&[T]> {
        self.expect_dtype::<T>()?;
        // SAFETY: the buffer is aligned for every element type, initialised, and holds `len` elements
        // of `dtype` (checked at construction); `Element` types accept every bit pattern.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.host()?.cast(), self.len()) })
    }

    /// The elements, to be written.
    ///
    /// # Errors
    /// [`Error::InPlace`] while another tensor or a tape shares the buffer; [`Error::DType`];
    /// [`Error::Unreadable`] on a GPU.
    pub fn data_mut<T: Element>(&mut self) -> Result<&mut [T]> {
        self.expect_dtype::<T>()?;
        let len = self.len();
        let buffer = self.unique("a tensor")?;
        // SAFETY: as in `data`, and `unique` gave the only reference.
        Ok(unsafe { std::slice::from_raw_parts_mut(buffer.host_mut()?.cast(), len) })
    }

    /// Where the elements are in the memory of their device, for a kernel that reads them.
    pub fn address(&self) -> Address {
        self.buffer.address()
    }

    /// Where the elements are, for a kernel that writes them.
    ///
    /// # Errors
    /// [`Error::InPlace`] while another tensor or a tape shares the buffer.
    pub fn address_mut(&mut self) -> Result<Address> {
        Ok(self.unique("a tensor")?.address())
    }

    /// This tensor on `device`: itself if it is there, else a copy.
    pub fn to_device(&self, device: Device) -> Result<Self> {
        if device == self.device {
            return Ok(self.clone());
        }
        let mut copy = Self::empty(&self.shape, self.dtype, device)?;
        copy.copy_from(self)?;
        Ok(copy)
    }

    /// Overwrites the elements with those of a tensor of the same shape and dtype, on any device.
    ///
    /// # Errors
    /// [`Error::InPlace`] while another tensor or a tape shares the buffer; [`Error::Shape`] and
    /// [`Error::DType`] where the two differ.
    pub fn copy_from(&mut self, source: &Tensor) -> Result<()> {
        if self.shape != source.shape {
            let what = format!("a tensor of {} into one of {}", source.shape, self.shape);
            return Err(Error::shape("copy_from", what));
        }
        if self.dtype != source.dtype {
            return Err(Error::DType {
                op: "copy_from",
                expected: "the same dtype",
                found: source.dtype,
            });
        }
        let bytes = self.bytes();
        self.unique("a tensor")?.copy_from(&source.buffer, bytes)
    }

    /// Whether no other tensor and no tape shares the buffer.
    pub fn is_unique(&mut self) -> bool {
        Arc::get_mut(&mut self.buffer).is_some()
    }

    /// Whether the two share one buffer.
    pub(crate) fn shares_buffer_with(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.buffer, &other.buffer)
    }

    /// The elements copied out, from any device.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.on_host()?.data::<T>().map(<[T]>::to_vec)
    }

    /// The only element of a one-element floating tensor, as `f64`.
    pub fn item(&self) -> Result<f64> {
        if self.len() != 1 {
            return Err(Error::shape(
                "item",
                format!("expected one element, found shape {}", self.shape),
            ));
        }
        Ok(self.to_f64_vec()?[0])
    }

    /// A copy with a buffer of its own.
    pub fn deep_clone(&self) -> Result<Self> {
        let mut copy = self.empty_like()?;
        copy.copy_from(self)?;
        Ok(copy)
    }

    /// This tensor if nobody shares its buffer, else a copy: something that may be overwritten.
    pub fn into_unique(mut self) -> Result<Self> {
        if self.is_unique() {
            Ok(self)
        } else {
            self.deep_clone()
        }
    }

    /// The raw bytes, little-endian elements in row-major order.
    ///
    /// # Errors
    /// [`Error::Unreadable`] on a GPU, as [`Tensor::data`].
    pub fn as_bytes(&self) -> Result<&[u8]> {
        // SAFETY: the buffer holds that many initialised bytes.
        Ok(unsafe { std::slice::from_raw_parts(self.buffer.host()?, self.bytes()) })
    }

    fn expect_dtype<T: Element>(&self) -> Result<()> {
        if self.dtype == T::DTYPE {
            return Ok(());
        }
        Err(Error::DType {
            op: "tensor data",
            expected: std::any::type_name::<T>(),
            found: self.dtype,
        })
    }

    fn unique(&mut self, what: &str) -> Result<&mut Buffer> {
        Arc::get_mut(&mut self.buffer).ok_or_else(|| Error::InPlace {
            what: format!("{what} of shape {}", self.shape),
        })
    }
}

/// Shape, dtype, device and the first few elements.
impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor {} {} on {}", self.shape, self.dtype, self.device)?;
        match self.to_f64_vec() {
            Ok(values) if values.len() <= 8 => write!(f, " {values:?}"),
            Ok(values) => write!(f, " {:?}…", &values[..8]),
            Err(_) => Ok(()),
        }
    }
}
