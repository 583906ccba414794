//! How the values of [`super::weights`] stand in memory and in a file.

use crate::buffer::size;
use crate::tile::NR;

/// How weights stand in memory and in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Storage {
    /// As f32.
    F32,
    /// As bfloat16, the upper halves of f32: of weights that have no more digits. Products have the bits that they have
    /// with [`Storage::F32`].
    Bf16,
}

impl Storage {
    /// Bytes of `depth` steps of a panel of [`NR`] columns; a multiple of 64.
    pub(super) fn panel_bytes(self, depth: usize) -> usize {
        let value = match self {
            Self::F32 => size_of::<f32>(),
            Self::Bf16 => size_of::<u16>(),
        };
        size(&[depth, NR, value])
    }
}
