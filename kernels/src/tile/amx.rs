//! The register tile of bytes with AMX: up to 32 rows times one panel of [`NR`] columns, a block of the depth after the other.
//!
//! Operands stand as `integer` says, but for the left one's words, which are row after row: two row tiles of
//! [`ROW_TILE`]. Four tile registers are the sums, two the rows and two the columns. The sums of a block pass through memory,
//! from which vector registers scale them and add them to the output while the next block is multiplied. What is added up,
//! and in which order, is as in every other integer tile: the same bits.
//!
//! Two row tiles at a time, because otherwise loading the columns takes longer than multiplying by them.

use super::integer::{IntegerArgs, ROW_TILE, header};
use super::{LINE, NR};
use crate::buffer::size;
use crate::isa::Simd;
use crate::isa::amx::{Amx, ShapedTiles};
use std::arch::asm;

/// Words of a block: a tile register has half of them.
const WORDS: usize = 32;

/// 32-bit values of a block of a row tile: its scales, its words.
const LEFT: usize = ROW_TILE + ROW_TILE * WORDS;

/// 32-bit values of a block of a panel.
const RIGHT: usize = header(true) + WORDS * NR;

/// Bytes from a row of sums, or a step of a panel, to the next, and of a row of words.
const ROW: usize = NR * size_of::<f32>();

/// Rows of a tile.
const ROWS: usize = 2 * ROW_TILE;

/// 32-bit values of all rows by a panel.
#[repr(align(64))]
struct Square([f32; ROWS * NR]);

/// Empties tile registers.
macro_rules! zeros {
    ($registers:literal) => {
        concat!(".irp i, ", $registers, "\ntilezero tmm\\i\n.endr")
    };
}

/// What a thread multiplies bytes with: its tile registers, and memory for what comes of them.
pub struct AmxTile {
    _shaped: ShapedTiles,
    /// A block's sums, which are integers, and those of the block before.
    sums: [Square; 2],
    /// What all blocks have come to.
    out: Square,
}

impl AmxTile {
    /// Rows of a tile.
    pub const ROWS: usize = ROWS;

    /// For one task.
    #[inline(always)]
    pub fn new(amx: Amx) -> Self {
        const { assert!(ROW == WORDS * size_of::<f32>()) };
        let zeros = || Square([0.0; ROWS * NR]);
        Self { _shaped: amx.shape_tiles(), sums: [zeros(), zeros()], out: zeros() }
    }

    /// Computes one tile after checking that the slices cover what the sizes say.
    #[inline(always)]
    pub fn tile<S: Simd>(&mut self, s: S, args: IntegerArgs) {
        let IntegerArgs { rows, blocks, a_stride, c_stride, .. } = args;
        assert!((1..=ROWS).contains(&rows) && blocks > 0 && c_stride >= NR && args.words == WORDS && args.bytes);
        let last = if rows > ROW_TILE { a_stride } else { 0 };
        assert!(args.a.len() >= size(&[blocks, LEFT]).saturating_add(last));
        assert!(args.b.len() >= size(&[blocks, RIGHT]));
        assert!(args.c.len() >= size(&[rows - 1, c_stride]).saturating_add(NR));
        let (a, b) = (args.a.as_ptr(), args.b.as_ptr());
        let lines = size_of_val(args.ahead).div_ceil(LINE * blocks);
        let mut ahead = args.ahead.as_ptr();
        if args.add {
            for (c, out) in args.c.chunks(c_stride).zip(self.out.0.chunks_exact_mut(NR)).take(rows) {
                out.copy_from_slice(&c[..NR]);
            }
        }
        // Each block is scaled a turn after it is multiplied.
        for block in 0..=blocks {
            if block < blocks {
                let a = a.wrapping_add(block * LEFT + ROW_TILE);
                let b = b.wrapping_add(block * RIGHT + header(true));
                let sums = &mut self.sums[block % 2];
                // SAFETY: `self` has shaped the tile registers; the asserts above say that the block lies within the panel
                // and the row tiles, the second one where there are so many rows.
                unsafe {
                    match rows > ROW_TILE {
                        true => two(a, a.wrapping_add(a_stride), b, sums),
                        false => one(a, b, sums),
                    }
                }
                for _ in 0..lines {
                    s.prefetch_l2(ahead.cast());
                    ahead = ahead.wrapping_byte_add(LINE);
                }
            }
            if let Some(block) = block.checked_sub(1) {
                let sums = &self.sums[block % 2];
                let right = &args.b[block * RIGHT..][..NR];
                for first in (0..rows).step_by(ROW_TILE) {
                    let left = &args.a[first / ROW_TILE * a_stride + block * LEFT..][..ROW_TILE.min(rows - first)];
                    let (sums, out) = (&sums.0[first * NR..], &mut self.out.0[first * NR..]);
                    match args.add || block > 0 {
                        true => scale::<S, true>(s, left, right, sums, out),
                        false => scale::<S, false>(s, left, right, sums, out),
                    }
                }
            }
        }
        for (c, out) in args.c.chunks_mut(c_stride).zip(self.out.0.chunks_exact(NR)).take(rows) {
            c[..NR].copy_from_slice(out);
        }
    }

    /// Multiplies full tile registers so many times, each time into four sums, and returns how many products that makes.
    #[inline(always)]
    pub fn chains(&self, turns: usize) -> usize {
        assert!(turns > 0, "a loop that ends at zero begins above it");
        // SAFETY: `self` has shaped the tile registers, and nothing else is touched.
        unsafe {
            asm!(
                zeros!("0, 1, 2, 3, 4, 5"),
                "2:",
                "tdpbssd tmm0, tmm4, tmm5",
                "tdpbssd tmm1, tmm4, tmm5",
                "tdpbssd tmm2, tmm4, tmm5",
                "tdpbssd tmm3, tmm4, tmm5",
                "dec {turns}",
                "jnz 2b",
                turns = inout(reg) turns => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _,
                options(nostack, nomem),
            );
        }
        // Rows, columns, four bytes of each of a register's words.
        4 * turns * ROW_TILE * (NR / 2) * (4 * WORDS / 2)
    }
}

/// Rows of `sums`, times the scale of each and those of the columns, become `out` or are added to it.
#[inline(always)]
fn scale<S: Simd, const ADD: bool>(s: S, left: &[f32], right: &[f32], sums: &[f32], out: &mut [f32]) {
    for ((left, sums), out) in left.iter().zip(sums.chunks_exact(NR)).zip(out.chunks_exact_mut(NR)) {
        let left = s.splat(*left);
        for j in (0..NR).step_by(S::LANES) {
            let scale = s.mul(left, s.load(&right[j..]));
            let sum = s.to_f32(s.words(s.load(&sums[j..])));
            let out = &mut out[j..];
            s.store(if ADD { s.mul_add(sum, scale, s.load(out)) } else { s.mul(sum, scale) }, out);
        }
    }
}

/// One row tile's half of the depth, from byte `$a` of its rows and `$b` of the panel on: its words into tmm`$rows`, by the columns in tmm6
/// and tmm7 into the sums tmm`$x` and tmm`$y`. `load` fetches the columns, each as late as it is needed.
#[rustfmt::skip] // a line an instruction
macro_rules! half {
    (load $b:literal, $row_tile:literal, $a:literal, $rows:literal, $x:literal, $y:literal) => { concat!(
        "tileloadd tmm6, [{b} + {row}", $b, "]\n",
        "tileloadd tmm", $rows, ", [{", $row_tile, "} + {row}", $a, "]\n",
        "tdpbssd tmm", $x, ", tmm", $rows, ", tmm6\n",
        "tileloadd tmm7, [{b} + {row}", $b, " + 64]\n",
        "tdpbssd tmm", $y, ", tmm", $rows, ", tmm7",
    ) };
    ($row_tile:literal, $a:literal, $rows:literal, $x:literal, $y:literal) => { concat!(
        "tileloadd tmm", $rows, ", [{", $row_tile, "} + {row}", $a, "]\n",
        "tdpbssd tmm", $x, ", tmm", $rows, ", tmm6\n",
        "tdpbssd tmm", $y, ", tmm", $rows, ", tmm7",
    ) };
}

/// The sums of one block of two row tiles by a panel.
///
/// # Safety
/// The tile registers are shaped; 16 rows of 32 words are readable at `a` and `a2`, and 32 steps of a panel at `b`.
#[inline(always)]
unsafe fn two(a: *const f32, a2: *const f32, b: *const f32, sums: &mut Square) {
    // SAFETY: as the caller promises; 32 rows of sums are written.
    unsafe {
        asm!(
            zeros!("0, 1, 2, 3"),
            half!(load "", "a", "", "4", "0", "1"),
            half!("a2", "", "5", "2", "3"),
            half!(load " + {half}", "a", " + 64", "4", "0", "1"),
            half!("a2", " + 64", "5", "2", "3"),
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            "tilestored [{sums} + {row} + {half}], tmm2",
            "tilestored [{sums} + {row} + {half} + 64], tmm3",
            a = in(reg) a,
            a2 = in(reg) a2,
            b = in(reg) b,
            sums = in(reg) sums.0.as_mut_ptr(),
            row = in(reg) ROW,
            half = const ROW_TILE * ROW,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
    }
}

/// The sums of one block of one row tile by a panel.
///
/// # Safety
/// The tile registers are shaped; 16 rows of 32 words are readable at `a`, and 32 steps of a panel at `b`.
#[inline(always)]
unsafe fn one(a: *const f32, b: *const f32, sums: &mut Square) {
    // SAFETY: as the caller promises; 16 rows of sums are written.
    unsafe {
        asm!(
            zeros!("0, 1"),
            half!(load "", "a", "", "4", "0", "1"),
            half!(load " + {half}", "a", " + 64", "5", "0", "1"),
            "tilestored [{sums} + {row}], tmm0",
            "tilestored [{sums} + {row} + 64], tmm1",
            a = in(reg) a,
            b = in(reg) b,
            sums = in(reg) sums.0.as_mut_ptr(),
            row = in(reg) ROW,
            half = const ROW_TILE * ROW,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
    }
}
