//! f32 by f32: a step is a multiply-add of each row's value, in all lanes, with each register of columns.

use super::{Cursor, Product};
use crate::isa::Simd;

/// f32 by f32, summed in f32.
#[derive(Clone, Copy)]
pub struct F32;

impl Product for F32 {
    type Left = f32;
    type Right = f32;

    #[inline(always)]
    unsafe fn step<S: Simd, const R: usize, const C: usize>(s: S, at: &Cursor<F32>, acc: &mut [[S::V; C]; R]) {
        // SAFETY: the caller promises the columns, and the values of the rows.
        unsafe { multiply_add(s, at.a, columns(s, at), acc) }
    }
}

/// `acc[i][j] += a[i] * columns[j]`.
///
/// # Safety
/// `R` values are readable at `a`.
#[inline(always)]
pub(super) unsafe fn multiply_add<S: Simd, const R: usize, const C: usize>(
    s: S,
    a: *const f32,
    columns: [S::V; C],
    acc: &mut [[S::V; C]; R],
) {
    for (i, row) in acc.iter_mut().enumerate() {
        // SAFETY: the caller promises `R` values, and `i < R`.
        let x = s.splat(unsafe { *a.add(i) });
        for (sum, column) in row.iter_mut().zip(columns) {
            *sum = s.mul_add(x, column, *sum);
        }
    }
}

/// The columns of one step.
///
/// # Safety
/// `LANES` values are readable at each of the `C` columns.
#[inline(always)]
pub(super) unsafe fn columns<S: Simd, const C: usize>(s: S, at: &Cursor<F32>) -> [S::V; C] {
    let mut columns = [s.splat(0.0); C];
    for (j, column) in columns.iter_mut().enumerate() {
        // SAFETY: the caller promises column `j < C`.
        *column = unsafe { s.load_ptr(at.b.add(at.column(j, S::LANES))) };
    }
    columns
}
