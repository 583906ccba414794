//! The tiles of NEON.
//!
//! That of f32: 12x8, 24 sums, 2 columns, 3 registers of rows, of which FMLA takes a lane. Four steps of its
//! loop are 110 instructions: 96 FMLA, 10 loads of 5 registers a step, 4 of the loop's own, none of them a spill. A splat
//! of each row in its place is too long for the compiler to unroll over 12 rows: the sums then stand in memory.
//!
//! That of integers has the same shape and takes lanes too: a step is 24 SDOT of words of four i8, or 48 SMLAL of words of
//! two i16, by the lower and by the upper halves of the columns.

use super::bf16::{Bf16, Bf16Tile, like_f32};
use super::float32::{F32, columns};
use super::integer::IntegerTile;
use super::{Cursor, Tile};
use crate::isa::neon::Neon;
use std::arch::aarch64::*;
use std::arch::asm;

impl IntegerTile for Neon {
    // Four rows a load, as with floats.
    #[inline(always)]
    unsafe fn products<const R: usize, const C: usize, const BYTES: bool>(
        self,
        a: *const i32,
        b: *const f32,
        sums: &mut [[int32x4_t; C]; R],
    ) {
        let (fours, rest) = sums.as_chunks_mut::<4>();
        let tail = a.wrapping_add(4 * fours.len());
        assert!(C == 2, "a tile of {C} registers of columns");
        // SAFETY: NEON is part of aarch64, and the caller promises SDOT for bytes, the columns, and `R` words at `a`.
        unsafe {
            let columns = Columns::<BYTES>::of(vld1q_s32(b.cast()), vld1q_s32(b.cast::<i32>().add(4)));
            for (i, rows) in fours.iter_mut().enumerate() {
                let x = vld1q_s32(a.add(4 * i));
                columns.times::<0, 0, 1, C>(x, &mut rows[0]);
                columns.times::<1, 2, 3, C>(x, &mut rows[1]);
                columns.times::<2, 4, 5, C>(x, &mut rows[2]);
                columns.times::<3, 6, 7, C>(x, &mut rows[3]);
            }
            for (i, row) in rest.iter_mut().enumerate() {
                columns.times::<0, 0, 1, C>(vld1q_dup_s32(tail.add(i)), row);
            }
        }
    }
}

/// The words of two registers of columns: of bytes as they are, of i16 the lower halves of both and then the upper ones.
#[derive(Clone, Copy)]
struct Columns<const BYTES: bool>(int32x4_t, int32x4_t);

impl<const BYTES: bool> Columns<BYTES> {
    #[inline(always)]
    fn of(x: int32x4_t, y: int32x4_t) -> Self {
        if BYTES {
            return Self(x, y);
        }
        // SAFETY: NEON is part of aarch64.
        unsafe {
            let (x, y) = (vreinterpretq_s16_s32(x), vreinterpretq_s16_s32(y));
            Self(vreinterpretq_s32_s16(vuzp1q_s16(x, y)), vreinterpretq_s32_s16(vuzp2q_s16(x, y)))
        }
    }

    /// Adds their products by word `LANE` of `x`, whose halves are `LOW` and `HIGH`, to the sums of a row. The instructions as
    /// such: the intrinsic of SDOT is not stable, and of two SMLAL the compiler makes SMULL, SMLAL and an addition.
    ///
    /// # Safety
    /// The CPU has SDOT, if `BYTES`.
    #[inline(always)]
    unsafe fn times<const LANE: i32, const LOW: i32, const HIGH: i32, const C: usize>(
        self,
        x: int32x4_t,
        row: &mut [int32x4_t; C],
    ) {
        let (mut sum, mut other) = (row[0], row[1]);
        if BYTES {
            // SAFETY: the caller promises SDOT; it touches registers alone.
            unsafe {
                asm!(
                    ".arch_extension dotprod",
                    "sdot {sum:v}.4s, {a:v}.16b, {x:v}.4b[{lane}]",
                    "sdot {other:v}.4s, {b:v}.16b, {x:v}.4b[{lane}]",
                    sum = inout(vreg) sum, other = inout(vreg) other, a = in(vreg) self.0, b = in(vreg) self.1,
                    x = in(vreg) x, lane = const LANE,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        } else {
            // SAFETY: NEON is part of aarch64; registers alone are touched.
            unsafe {
                asm!(
                    "smlal {sum:v}.4s, {a:v}.4h, {x:v}.h[{low}]",
                    "smlal2 {other:v}.4s, {a:v}.8h, {x:v}.h[{low}]",
                    "smlal {sum:v}.4s, {b:v}.4h, {x:v}.h[{high}]",
                    "smlal2 {other:v}.4s, {b:v}.8h, {x:v}.h[{high}]",
                    sum = inout(vreg) sum, other = inout(vreg) other, a = in(vreg) self.0, b = in(vreg) self.1,
                    x = in(vreg_low16) x, low = const LOW, high = const HIGH,
                    options(pure, nomem, nostack, preserves_flags)
                );
            }
        }
        (row[0], row[1]) = (sum, other);
    }
}

impl Bf16Tile for Neon {}

impl Tile<Bf16> for Neon {
    like_f32!();
}

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
