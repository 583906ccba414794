//! A matrix of a layer, from the checkpoint's tensors to the kernels' panels, as the architecture's table tells.
//!
//! Invariant: a matrix that is packed holds finite numbers only. Called by `packed`.

use crate::checkpoint::architecture::{Matrix, Order, Part, layer_tensor};
use crate::checkpoint::{Checkpoint, Dtype};
use crate::error::{Error, ErrorKind, Result};
use crate::precision::Precision;
use ironrank_kernels::{Cpu, MappedFile, Storage, Weights};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a matrix is when it is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub storage: Storage,
    pub depth: usize,
    pub outputs: usize,
}

impl Shape {
    pub fn bytes(self) -> usize {
        Weights::packed_bytes(self.storage, self.depth, self.outputs)
    }

    /// What the table of a file says of it.
    pub fn words(self) -> [u64; 3] {
        [self.storage as u64, self.depth as u64, self.outputs as u64]
    }

    /// The matrix from byte `start` of `file` on.
    pub fn mapped(self, file: &Arc<MappedFile>, start: usize) -> Weights {
        Weights::mapped(file, start, self.storage, self.depth, self.outputs)
    }
}

/// The matrices of a checkpoint in a precision: those of the first layer, then those of the next.
pub(super) struct Matrices<'a> {
    checkpoint: &'a Checkpoint,
    precision: Precision,
    layer: Vec<Matrix>,
}

impl<'a> Matrices<'a> {
    pub fn of(checkpoint: &'a Checkpoint, precision: Precision) -> Self {
        Self { checkpoint, precision, layer: checkpoint.layer().iter().filter_map(Part::matrix).cloned().collect() }
    }

    pub fn shapes(&self) -> Vec<Shape> {
        let matrices = self.checkpoint.config().num_hidden_layers * self.layer.len();
        (0..matrices).map(|index| self.shape(index)).collect()
    }

    /// The layer of matrix `index`, and its row of the table.
    fn find(&self, index: usize) -> (usize, &Matrix) {
        (index / self.layer.len(), &self.layer[index % self.layer.len()])
    }

    fn shape(&self, index: usize) -> Shape {
        let (layer, matrix) = self.find(index);
        let dtype = |name| self.checkpoint.dtype(&layer_tensor(layer, name));
        // Where one is not, float32 loses nothing.
        let bf16 = matrix.pieces.iter().all(|piece| dtype(piece.name) == Dtype::Bf16);
        Shape { storage: self.precision.storage(bf16), depth: matrix.depth, outputs: matrix.outputs() }
    }

    /// Packs matrix `index`; an error if a number of it is none.
    pub fn pack(&self, cpu: &Cpu, index: usize) -> Result<Weights> {
        let ((layer, matrix), Shape { storage, depth, outputs }) = (self.find(index), self.shape(index));
        let broken = AtomicBool::new(false);
        let reader = |(name, shape): (&str, Vec<usize>)| {
            let (tensor, broken) = (self.checkpoint.tensor(&layer_tensor(layer, name), &shape)?, &broken);
            Ok(move |row: usize, out: &mut [f32]| {
                let (weights, surplus) = out.split_at_mut(tensor.cols());
                surplus.fill(0.0);
                if row >= tensor.rows() {
                    return weights.fill(0.0);
                }
                tensor.read_row(row, weights);
                // Without a branch for each number, so that it vectorises.
                if !weights.iter().fold(true, |good, number| good & number.is_finite()) {
                    broken.store(true, Ordering::Relaxed);
                }
            })
        };
        let readers = matrix.tensors().into_iter().map(reader).collect::<Result<Vec<_>>>()?;
        let packed = match (matrix.order, &*readers) {
            (Order::Gated, [gate, up]) => Weights::pack_gated(cpu, storage, depth, matrix.pieces[0].rows, gate, up),
            (Order::Gated, _) => unreachable!("a gate and what it lets through are two tensors"),
            (Order::Stacked, readers) => Weights::pack(cpu, storage, depth, outputs, |mut row, out| {
                for (piece, read) in matrix.pieces.iter().zip(readers) {
                    if row < piece.outputs {
                        return read(row, out);
                    }
                    row -= piece.outputs;
                }
            }),
        };
        match broken.into_inner() {
            true => Err(Error::new(
                ErrorKind::Checkpoint,
                format!(
                    "The checkpoint has NaN or infinity in a matrix of layer {layer}: its file is damaged or was not \
                     copied to its end; fetch it again."
                ),
            )),
            false => Ok(packed),
        }
    }
}
