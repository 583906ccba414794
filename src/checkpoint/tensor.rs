//! One tensor of a checkpoint, read row by row as f32.
//!
//! Invariant: a tensor was checked when its checkpoint was opened, so that every row lies within its file; it shares
//! the mapping, or has its bytes for itself, and may outlive the checkpoint. Called by the model, which packs the rows.

use super::synthetic::Synthetic;
use half::f16;
use half::slice::HalfFloatSliceExt;
use ironrank_kernels::MappedFile;
use std::fmt;
use std::sync::Arc;

/// The type of a tensor's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// bfloat16.
    Bf16,
    /// IEEE binary16.
    F16,
    /// IEEE binary32.
    F32,
}

impl Dtype {
    /// Bytes of one number.
    pub fn bytes(self) -> usize {
        match self {
            Self::Bf16 | Self::F16 => 2,
            Self::F32 => 4,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bf16 => "BF16",
            Self::F16 => "F16",
            Self::F32 => "F32",
        })
    }
}

/// A matrix, or a vector as one row; it keeps the file or the memory that it lies in.
#[derive(Clone)]
pub struct Tensor {
    pub(super) backing: Backing,
    pub(super) dtype: Dtype,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

/// Where the numbers come from.
#[derive(Clone)]
pub(super) enum Backing {
    Mapped { map: Arc<MappedFile>, start: usize },
    Owned(Arc<[u8]>),
    Synthetic(Synthetic),
}

impl Tensor {
    /// Number of rows; 1 for a vector.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Numbers in a row.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The type in which the numbers are stored.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// All rows as they are stored; `None` of a synthetic tensor, which is stored nowhere.
    pub(super) fn stored(&self) -> Option<&[u8]> {
        match &self.backing {
            Backing::Mapped { map, start } => Some(&map[*start..][..self.rows * self.cols * self.dtype.bytes()]),
            Backing::Owned(bytes) => Some(bytes),
            Backing::Synthetic(_) => None,
        }
    }

    /// A tensor of this shape and type whose rows, equal to these, stand elsewhere.
    pub(super) fn from(&self, backing: Backing) -> Self {
        Self { backing, ..self.clone() }
    }

    /// Bytes of memory that it takes, of this process or of a mapped file.
    pub fn bytes(&self) -> usize {
        self.stored().map_or(0, <[u8]>::len)
    }

    /// Widens row `row` to f32.
    ///
    /// # Panics
    /// If there is no such row or `out` is not [`Self::cols`] long.
    pub fn read_row(&self, row: usize, out: &mut [f32]) {
        assert!(row < self.rows, "row {row} of a tensor of {} rows", self.rows);
        assert_eq!(out.len(), self.cols, "length of a row");
        let size = self.dtype.bytes();
        match &self.backing {
            Backing::Mapped { .. } | Backing::Owned(_) => {
                let bytes = self.stored().expect("the rows are stored");
                widen(&bytes[row * self.cols * size..][..self.cols * size], self.dtype, out);
            }
            Backing::Synthetic(weights) => {
                weights.fill(row * self.cols, out);
                match self.dtype {
                    Dtype::Bf16 => out.iter_mut().for_each(|x| *x = half::bf16::from_f32(*x).to_f32()),
                    Dtype::F16 => out.iter_mut().for_each(|x| *x = f16::from_f32(*x).to_f32()),
                    Dtype::F32 => {}
                }
            }
        }
    }
}

/// Little-endian numbers of `dtype` to f32.
pub(super) fn widen(bytes: &[u8], dtype: Dtype, out: &mut [f32]) {
    match dtype {
        // Written by hand because it vectorises: a bfloat16 is the upper half of its f32.
        Dtype::Bf16 => {
            for (value, b) in out.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = f32::from_bits(u32::from(u16::from_le_bytes(*b)) << 16);
            }
        }
        // `half` looks for the conversion instruction once per call, so it gets many numbers at a time.
        Dtype::F16 => {
            let mut block = [f16::ZERO; 256];
            for (values, bytes) in out.chunks_mut(block.len()).zip(bytes.chunks(2 * block.len())) {
                let block = &mut block[..values.len()];
                for (number, b) in block.iter_mut().zip(bytes.as_chunks::<2>().0) {
                    *number = f16::from_le_bytes(*b);
                }
                block.convert_to_f32_slice(values);
            }
        }
        Dtype::F32 => {
            for (value, b) in out.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = f32::from_le_bytes(*b);
            }
        }
    }
}
