//! SIMD kernels of a transformer's forward pass in f32, chosen at run time.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
mod buffer;

pub use buffer::{Buffer, MappedFile};
