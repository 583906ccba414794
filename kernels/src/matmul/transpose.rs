//! Rows to columns: what was made row by row becomes a stretch of an operand, depth step after depth step.
//!
//! Called where operands are laid out: weights, left operands, keys and queries.

use crate::isa::Simd;

/// `out[p * width + i] = rows[i * stride + p]` for `i < count`, `p < k`: rows side by side, depth step after step.
#[inline(always)]
pub(crate) fn transpose<S: Simd>(
    s: S,
    rows: &[f32],
    stride: usize,
    k: usize,
    count: usize,
    out: &mut [f32],
    width: usize,
) {
    // Sixteen depth steps at a time: a row's cache line is read while it is hot, and writes stay within a few lines.
    const STEPS: usize = 16;
    let whole = if count < 4 { 0 } else { k / 4 * 4 };
    for p in (0..whole).step_by(STEPS) {
        for i in (0..count).step_by(4) {
            // The last four rows, some of them for the second time, where four do not divide their number.
            let i = i.min(count - 4);
            for p in (p..whole.min(p + STEPS)).step_by(4) {
                s.transpose_4x4(&rows[i * stride + p..], stride, &mut out[p * width + i..], width);
            }
        }
    }
    for p in whole..k {
        for i in 0..count {
            out[p * width + i] = rows[i * stride + p];
        }
    }
}
