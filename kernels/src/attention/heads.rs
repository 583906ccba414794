//! The heads of a projection, and what happens to a query or a key before attention.

use crate::isa::Simd;
use crate::norm::RmsNorm;
use crate::rope::Rope;

/// Some columns of a row-major matrix: the heads of a projection, side by side from `column` on.
#[derive(Clone, Copy)]
pub struct Heads<'a> {
    /// The matrix.
    pub data: &'a [f32],
    /// Its row length.
    pub stride: usize,
    /// Where the first head begins.
    pub column: usize,
}

impl<'a> Heads<'a> {
    /// Panics unless `columns` columns lie within a row.
    pub(super) fn check(&self, columns: usize) {
        assert!(self.column.saturating_add(columns) <= self.stride, "the heads do not lie within a row");
    }

    #[inline(always)]
    pub(super) fn head(&self, row: usize, head: usize, d: usize) -> &'a [f32] {
        &self.data[row * self.stride + self.column + head * d..][..d]
    }
}

/// What happens to a query or key head before attention: RMSNorm over its channels, then rotation to its position.
#[derive(Clone, Copy)]
pub struct QkNormRope<'a> {
    /// Weight (d) and epsilon.
    pub norm: RmsNorm<'a>,
    /// Tables for heads of `d` channels.
    pub rope: &'a Rope,
}

impl QkNormRope<'_> {
    /// Panics unless it is made for heads of `d` channels.
    pub(super) fn check(&self, d: usize) {
        assert!(self.norm.weight.len() == d && self.rope.head_dim() == d, "norm and rotation are for other heads");
    }

    /// One head at `position`, the result times `scale`.
    #[inline(always)]
    pub(super) fn apply<S: Simd>(&self, s: S, x: &[f32], position: usize, scale: f32, out: &mut [f32]) {
        self.norm.apply(s, x, scale, out);
        self.rope.rotate(s, position, out);
    }
}
