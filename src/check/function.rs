//! What is checked: a function of tensors and its vector-Jacobian product.

use crate::Result;
use crate::ops::{Operation, Output, Saved};
use crate::tensor::{Shape, Tensor};

/// A function of tensors and its vector-Jacobian product, on any device.
///
/// Every [`Operation`] is one. [`closures`] makes one of two closures. Implement it yourself for anything
/// else: the harness knows no more of a function than this.
pub trait Function: Sync {
    /// Its name, for reports.
    fn name(&self) -> &str;

    /// The shape of the result, where the function promises one beforehand.
    ///
    /// # Errors
    /// What is wrong with the operands.
    fn promised(&self, _inputs: &[&Shape]) -> Result<Option<Shape>> {
        Ok(None)
    }

    /// The value, where the inputs are; side results without a gradient beside it.
    ///
    /// # Errors
    /// What is wrong with the inputs.
    fn forward(&self, inputs: &[&Tensor]) -> Result<Output>;

    /// For each input i with `wanted[i]`, Jᵢᵀ · `cotangent`; `None` for the others.
    ///
    /// # Errors
    /// What is wrong with the inputs or the cotangent.
    fn vjp(
        &self,
        inputs: &[&Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>>;

    /// Both. A function that keeps things for the backward pass does them in one go.
    ///
    /// # Errors
    /// As the two.
    fn run(
        &self,
        inputs: &[&Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<(Output, Vec<Option<Tensor>>)> {
        Ok((self.forward(inputs)?, self.vjp(inputs, cotangent, wanted)?))
    }
}

/// What is or holds an [`Operation`].
pub trait AsOperation: Sync {
    /// The operation.
    fn as_operation(&self) -> &dyn Operation;
}

impl<O: Operation> AsOperation for O {
    fn as_operation(&self) -> &dyn Operation {
        self
    }
}

impl AsOperation for Box<dyn Operation> {
    fn as_operation(&self) -> &dyn Operation {
        &**self
    }
}

impl<O: AsOperation> Function for O {
    fn name(&self) -> &str {
        self.as_operation().name()
    }

    fn promised(&self, inputs: &[&Shape]) -> Result<Option<Shape>> {
        self.as_operation().output_shape(inputs).map(Some)
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        self.as_operation().forward(inputs, &mut Saved::default())
    }

    fn vjp(
        &self,
        inputs: &[&Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        Ok(self.run(inputs, cotangent, wanted)?.1)
    }

    fn run(
        &self,
        inputs: &[&Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<(Output, Vec<Option<Tensor>>)> {
        let (op, mut saved) = (self.as_operation(), Saved::default());
        let output = op.forward(inputs, &mut saved)?;
        // Casts return another dtype than they are given. A copy: operations may overwrite a cotangent that
        // nobody else holds.
        let cotangent = cotangent.cast(output.value.dtype())?.deep_clone()?;
        let gradients = op.vjp(saved, cotangent, wanted)?;
        Ok((output, gradients))
    }
}

/// A function of two closures: the value of inputs, and the gradients of inputs and a cotangent, one for
/// each input that has one.
///
/// ```
/// use whatwhere::check::{Check, closures};
/// use whatwhere::ops::Input;
/// use whatwhere::tensor::Tensor;
/// # use whatwhere::{Result, device::Device};
/// # fn main() -> Result<()> {
/// fn map(x: &Tensor, f: impl Fn(f64, usize) -> f64) -> Result<Tensor> {
///     let values = x.to_f64_vec()?.into_iter().enumerate();
///     let values: Vec<f64> = values.map(|(i, v)| f(v, i)).collect();
///     Tensor::from_slice(x.shape(), &values, Device::Cpu)?.cast(x.dtype())
/// }
/// let square = closures(
///     "square",
///     |inputs| map(inputs[0], |x, _| x * x),
///     |inputs, dy| {
///         let dy = dy.to_f64_vec()?;
///         Ok(vec![Some(map(inputs[0], |x, i| 2.0 * x * dy[i])?)])
///     },
/// );
/// let report = Check::new(&square, &[Input::normal([3, 4])]).run()?;
/// assert!(report.passed(), "{report}");
/// # Ok(())
/// # }
/// ```
pub fn closures<F, V>(name: &str, forward: F, vjp: V) -> impl Function + use<F, V>
where
    F: Fn(&[&Tensor]) -> Result<Tensor> + Sync,
    V: Fn(&[&Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + Sync,
{
    Closures {
        name: name.to_owned(),
        forward,
        vjp,
    }
}

struct Closures<F, V> {
    name: String,
    forward: F,
    vjp: V,
}

impl<F, V> Function for Closures<F, V>
where
    F: Fn(&[&Tensor]) -> Result<Tensor> + Sync,
    V: Fn(&[&Tensor], &Tensor) -> Result<Vec<Option<Tensor>>> + Sync,
{
    fn name(&self) -> &str {
        &self.name
    }

    fn forward(&self, inputs: &[&Tensor]) -> Result<Output> {
        Ok((self.forward)(inputs)?.into())
    }

    fn vjp(
        &self,
        inputs: &[&Tensor],
        cotangent: &Tensor,
        wanted: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut gradients = (self.vjp)(inputs, cotangent)?;
        for (gradient, wanted) in gradients.iter_mut().zip(wanted) {
            gradient.take_if(|_| !wanted);
        }
        Ok(gradients)
    }
}
