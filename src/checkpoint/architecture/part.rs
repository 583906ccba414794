//! The words in which an architecture is told: its classes, and the parts of a layer.
//!
//! Invariant: no architecture is known here; tensors are told in the order of the forward pass. Used by the tables beside
//! it, and by all that folds over them.

/// The classes of an architecture in Hugging Face's library.
#[derive(Debug, Clone, Copy)]
pub struct Classes {
    /// See [`Class::Causal`].
    pub causal: &'static str,
    /// See [`Class::Classification`].
    pub classification: &'static str,
    /// See [`Class::Body`].
    pub body: &'static str,
    /// Their `model_type`.
    pub model_type: &'static str,
}

/// What stands on a model's layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// An output matrix: an original reranker, or an embedding model that has no use for it.
    Causal,
    /// A score head: a converted reranker.
    Classification,
    /// Nothing: an embedding model.
    Body,
}

impl Classes {
    /// Which of them is called `name`.
    pub fn find(&self, name: &str) -> Option<Class> {
        let all =
            [(self.causal, Class::Causal), (self.classification, Class::Classification), (self.body, Class::Body)];
        all.into_iter().find(|(class, _)| *class == name).map(|(_, class)| class)
    }
}

/// The shape of a tensor that the files have.
pub type ShapeOf<'a> = &'a dyn Fn(&str) -> Option<Vec<usize>>;

/// What a layer consists of, in the order of the forward pass.
#[derive(Debug, Clone)]
pub enum Part {
    /// One tensor, kept as it is.
    Vector {
        /// Name within the layer.
        name: &'static str,
        /// Numbers.
        len: usize,
    },
    /// One or more tensors, packed into one matrix.
    Matrix(Matrix),
}

/// A matrix as it is packed, and the tensors that it is made of.
#[derive(Debug, Clone)]
pub struct Matrix {
    /// Its tensors, in order.
    pub pieces: Vec<Piece>,
    /// Numbers in a row of each tensor.
    pub cols: usize,
    /// Depth when packed: `cols`, or more, with zeros behind them.
    pub depth: usize,
    /// How the tensors share the outputs.
    pub order: Order,
}

/// What a tensor gives to a matrix.
#[derive(Debug, Clone, Copy)]
pub struct Piece {
    /// Name within the layer.
    pub name: &'static str,
    /// Rows of the tensor, each of which becomes an output.
    pub rows: usize,
    /// Outputs that it takes: `rows`, or more, with zeros behind them.
    pub outputs: usize,
}

/// How the tensors of a matrix share its outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// One tensor behind the other.
    Stacked,
    /// Two tensors of as many rows, a panel of the first and one of the second by turns: a gate and what it lets through.
    Gated,
}

impl Part {
    /// Names within the layer and shapes of its tensors.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        match self {
            Self::Vector { name, len } => vec![(name, vec![*len])],
            Self::Matrix(matrix) => matrix.tensors(),
        }
    }

    /// The matrix that it is, if it is one.
    pub fn matrix(&self) -> Option<&Matrix> {
        match self {
            Self::Vector { .. } => None,
            Self::Matrix(matrix) => Some(matrix),
        }
    }
}

impl Matrix {
    /// Names within the layer and shapes of its tensors.
    pub fn tensors(&self) -> Vec<(&'static str, Vec<usize>)> {
        self.pieces.iter().map(|piece| (piece.name, vec![piece.rows, self.cols])).collect()
    }

    /// Outputs when packed.
    pub fn outputs(&self) -> usize {
        self.pieces.iter().map(|piece| piece.outputs).sum()
    }
}

/// The whole name of a tensor of layer `index`.
pub fn layer_tensor(index: usize, name: &str) -> String {
    format!("model.layers.{index}.{name}")
}
