//! Hand-written CUDA kernels, a small autograd, and two studies of what ConvNets see and where.
#![warn(missing_docs)]

pub mod autograd;
pub mod check;
pub mod cli;
pub mod cpu;
pub mod data;
pub mod device;
pub mod error;
pub mod experiment;
pub mod kernels;
pub mod models;
pub mod nn;
pub mod ops;
pub mod rng;
pub mod spatial;
pub mod tensor;
pub mod train;
pub mod what;

pub use error::{Error, Result};
