//! SIMD kernels of a transformer's forward pass in f32, chosen at run time.
//!
//! [`Cpu`] is an [`Isa`] (what the instructions are) and a [`Pool`] (which threads run them); every kernel is one of its
//! methods. A kernel is written once against `Simd` (in `isa`: vectors) and `Tile` (in `tile`: register tiles of
//! vectors), compiled for each ISA, and entered through `Isa::dispatch`: once per call and thread. What several kernels
//! share, tiles and the packing of operands, is compiled apart, by `Simd::vectorize`. Files import downwards only:
//! `buffer`; `isa`, `activation`; `tile`; `dispatch`; `pool`, `cpu`, `lanes`; `matmul`; `norm`, `rope`, `attention`.
//!
//! Letters: `m` rows or tokens, `n` outputs, `k` depth, `h` heads, `d` channels of a head; tiles of `MR` x `NR`,
//! blocks of `MC` rows and `KC` depth.
//!
//! Wrong shapes are bugs of the caller and panic. `unsafe` is denied except in the modules marked below, which are the
//! list to audit.
#![deny(unsafe_code)]

mod activation;
mod attention;
#[allow(unsafe_code)] // memory maps
mod buffer;
mod cpu;
mod dispatch;
#[allow(unsafe_code)] // a signal handler
mod fault;
#[allow(unsafe_code)] // intrinsics and functions compiled for them, licensed by detection
mod isa;
mod lanes;
mod matmul;
mod norm;
mod peak;
#[allow(unsafe_code)] // outputs written by several threads, block by block
mod pool;
pub mod reference;
mod rope;
#[allow(unsafe_code)] // the innermost loops read and write through pointers
mod tile;

pub use attention::{AttentionShape, Heads, KV_BLOCK, KvBlocks, KvPiece, QkNormRope, Run};
pub use buffer::{Buffer, MappedFile};
pub use cpu::Cpu;
pub use dispatch::{Isa, UnavailableIsa};
pub use fault::explain_bus_errors;

pub use matmul::lhs::Lhs;
pub use matmul::storage::Storage;
pub use matmul::weights::Weights;
pub use norm::RmsNorm;
pub use pool::{Machine, Pool, PoolError};
pub use rope::Rope;
pub use tile::NR;
