//! A matrix of a layer, from the checkpoint's tensors to the kernels' panels, as the architecture's table tells.
//!
//! Invariant: a matrix that is packed holds finite numbers only. Called by `packed`.

use crate::checkpoint::Checkpoint;
use crate::checkpoint::architecture::{Matrix, Order, Part, layer_tensor};
use crate::error::{Error, ErrorKind, Result};
use ironrank_kernels::{Cpu, Storage, Weights};
use std::sync::atomic::{AtomicBool, Ordering};

/// Depth and outputs of a matrix.
pub(super) type Shape = (usize, usize);

/// The matrices of a checkpoint: those of the first layer, then those of the next.
pub(super) struct Matrices<'a> {
    checkpoint: &'a Checkpoint,
    layer: Vec<Matrix>,
}

impl<'a> Matrices<'a> {
    pub fn of(checkpoint: &'a Checkpoint) -> Self {
        Self { checkpoint, layer: checkpoint.layer().iter().filter_map(Part::matrix).cloned().collect() }
    }

    pub fn shapes(&self) -> Vec<Shape> {
        let layer: Vec<Shape> = self.layer.iter().map(|matrix| (matrix.depth, matrix.outputs())).collect();
        layer.repeat(self.checkpoint.config().num_hidden_layers)
    }

    /// Packs matrix `index`; an error if a number of it is none.
    pub fn pack(&self, cpu: &Cpu, index: usize) -> Result<Weights> {
        let (layer, matrix) = (index / self.layer.len(), &self.layer[index % self.layer.len()]);
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
            (Order::Gated, [gate, up]) => {
                Weights::pack_gated(cpu, Storage::F32, matrix.depth, matrix.pieces[0].rows, gate, up)
            }
            (Order::Gated, _) => unreachable!("a gate and what it lets through are two tensors"),
            (Order::Stacked, readers) => {
                Weights::pack(cpu, Storage::F32, matrix.depth, matrix.outputs(), |mut row, out| {
                    for (piece, read) in matrix.pieces.iter().zip(readers) {
                        if row < piece.outputs {
                            return read(row, out);
                        }
                        row -= piece.outputs;
                    }
                })
            }
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
