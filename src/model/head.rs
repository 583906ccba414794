//! The head of a model as it is run: of a reranker one vector that the last hidden state is multiplied with, and a bias; of
//! an embedding model none.
//!
//! Invariant: the numbers are the checkpoint's, widened to f32. Which tokens make a head is not known here: [`crate::head`]
//! says.

use crate::checkpoint::{Checkpoint, SCORE, SCORE_BIAS};
use crate::error::Result;

/// What becomes of the last token's state behind the final norm.
#[derive(Debug, Clone)]
pub enum Head {
    /// A margin: a row is one number.
    Margin(LinearHead),
    /// Nothing: a row is the state.
    State,
}

/// What makes a margin of the last hidden state.
#[derive(Debug, Clone)]
pub struct LinearHead {
    /// (hidden)
    pub weights: Vec<f32>,
    /// Added to the product.
    pub bias: f32,
}

impl LinearHead {
    /// `score.weight`, and `score.bias` if there is one.
    pub fn of_score(checkpoint: &Checkpoint, bias: bool) -> Result<Self> {
        let weights = checkpoint.vector(SCORE, &[1, checkpoint.config().hidden_size])?;
        let bias = if bias { checkpoint.vector(SCORE_BIAS, &[1])?[0] } else { 0.0 };
        Ok(Self { weights, bias })
    }

    /// The output matrix's row of the token `yes` minus that of `no`, if there is one.
    ///
    /// # Panics
    /// If the matrix has no such row.
    pub fn of_tokens(checkpoint: &Checkpoint, yes: u32, no: Option<u32>) -> Result<Self> {
        let output = checkpoint.output_matrix()?;
        let row = |id: u32| {
            let mut row = vec![0.0; output.cols()];
            output.read_row(id as usize, &mut row);
            row
        };
        let mut weights = row(yes);
        if let Some(no) = no {
            weights.iter_mut().zip(row(no)).for_each(|(yes, no)| *yes -= no);
        }
        Ok(Self { weights, bias: 0.0 })
    }
}
