//! The tile of plain Rust: 4x8, as the compiler makes it.

use super::Tile;
use super::bf16::{Bf16, Bf16Tile, like_f32};
use super::float32::F32;
use super::integer::IntegerTile;
use crate::isa::portable::Portable;

impl IntegerTile for Portable {}

impl Tile<F32> for Portable {
    const MR: usize = 4;
    const NV: usize = 2;
    // As with SSE2, which the compiler makes of it on x86: a stretch of a panel is 32 KiB. Measured nowhere. Interpreted, a
    // second block must come soon.
    const KC: usize = if cfg!(miri) { 8 } else { 256 };
}

impl Bf16Tile for Portable {}

impl Tile<Bf16> for Portable {
    like_f32!();
}
