//! How the values of [`super::weights`] stand in memory and in a file.

use super::quantize::{Scheme, Side};
use crate::buffer::size;
use crate::dispatch::Isa;
use crate::isa::ByteProduct;
use crate::tile::NR;

/// How weights stand in memory and in a file, by these numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// As f32.
    F32 = 0,
    /// As bfloat16, the upper halves of f32: of weights that have no more digits. Products have the bits that they have
    /// with [`Storage::F32`].
    Bf16 = 1,
    /// As integers of 12 bits, with a scale for each column and 256 values of the depth.
    I16 = 2,
    /// As integers of 8 bits, with a scale for each column and 128 values of the depth, which are mixed by eights.
    I8 = 3,
}

impl Storage {
    /// Bytes of `depth` steps of a panel of [`NR`] columns, of integers whole blocks and what is left of the depth; a
    /// multiple of 64.
    #[inline(always)]
    pub(super) fn panel_bytes(self, depth: usize) -> usize {
        match self {
            Self::F32 => size(&[depth, NR, size_of::<f32>()]),
            Self::Bf16 => size(&[depth, NR, size_of::<u16>()]),
            Self::I16 => size(&[Scheme::I16.len(depth, Side::right(false)), size_of::<f32>()]),
            Self::I8 => size(&[Scheme::I8.len(depth, Side::right(true)), size_of::<f32>()]),
        }
    }

    /// How the left operand of a product with such weights becomes integers on `isa`; `None` if it stays as it is.
    pub(super) fn scheme(self, isa: Isa) -> Option<Scheme> {
        match (self, isa.bytes()) {
            (Self::F32 | Self::Bf16, _) => None,
            (Self::I16, _) => Some(Scheme::I16),
            (Self::I8, Some(ByteProduct::Offset)) => Some(Scheme::I8_OFFSET),
            #[cfg(target_arch = "aarch64")]
            (Self::I8, Some(ByteProduct::Signed)) => Some(Scheme::I8),
            #[cfg(target_arch = "x86_64")]
            (Self::I8, Some(ByteProduct::Tiles(_))) => Some(Scheme::I8_ROWS),
            (Self::I8, None) => Some(Scheme::I8_WIDENED),
        }
    }
}
