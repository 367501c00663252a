//! The study of *what* a network sees: concepts, and the measures of what is done with them.

pub mod concepts;
pub mod metrics;
pub mod protocol;
