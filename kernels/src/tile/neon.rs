//! The f32 tile of NEON: 12x8, 24 sums, 2 columns, 3 registers of rows, of which FMLA takes a lane. Four steps of its
//! loop are 110 instructions: 96 FMLA, 10 loads of 5 registers a step, 4 of the loop's own, none of them a spill. A splat
//! of each row in its place is too long for the compiler to unroll over 12 rows: the sums then stand in memory.

use super::float32::{F32, columns};
use super::integer::IntegerTile;
use super::{Cursor, Tile};
use crate::isa::neon::Neon;
use std::arch::aarch64::{float32x4_t, vfmaq_laneq_f32, vfmaq_n_f32, vld1q_f32};

impl IntegerTile for Neon {}

impl Tile<F32> for Neon {
    const MR: usize = 12;
    const NV: usize = 2;
    // A stretch of a panel is 32 KiB, an L1 of the smaller cores. Chosen by that size: measured on no such machine.
    const KC: usize = 256;

    // Four rows a load. Written out by lanes, which are constants of the instruction.
    #[inline(always)]
    unsafe fn step<const R: usize, const C: usize>(self, at: &Cursor<F32>, acc: &mut [[float32x4_t; C]; R]) {
        // SAFETY: the caller promises the columns.
        let columns: [float32x4_t; C] = unsafe { columns(self, at) };
        let a = at.a;
        let (fours, rest) = acc.as_chunks_mut::<4>();
        let tail = a.wrapping_add(4 * fours.len());
        // SAFETY: NEON is part of aarch64; the caller promises `R` values at `a`.
        unsafe {
            for (i, rows) in fours.iter_mut().enumerate() {
                let x = vld1q_f32(a.add(4 * i));
                for (j, column) in columns.into_iter().enumerate() {
                    rows[0][j] = vfmaq_laneq_f32::<0>(rows[0][j], column, x);
                    rows[1][j] = vfmaq_laneq_f32::<1>(rows[1][j], column, x);
                    rows[2][j] = vfmaq_laneq_f32::<2>(rows[2][j], column, x);
                    rows[3][j] = vfmaq_laneq_f32::<3>(rows[3][j], column, x);
                }
            }
            for (i, row) in rest.iter_mut().enumerate() {
                for (sum, column) in row.iter_mut().zip(columns) {
                    *sum = vfmaq_n_f32(*sum, column, *tail.add(i));
                }
            }
        }
    }
}
