//! The tiles of x86 that sum floats, the full ones' loops in assembly where the compiler's order of instructions costs.
//!
//! AVX-512: 12x32, 24 sums, 2 columns, broadcasts from memory; the compiler's loop.
//!
//! AVX and AVX2: 6x16. Without FMA a row's broadcast becomes its second product, so that 12 sums, 2 columns, the
//! broadcast and a product are all 16 registers; the compiler takes one more and spills. Against its own loops, on Zen 3:
//! AVX 1.2 times as fast, AVX2 1.00 to 1.08 times.
//!
//! AVX2 with bfloat16: a register of 16 becomes two by a shuffle of bytes and a blend, which need none of the units of
//! multiply-adds: by LLVM's models they cost nothing from Haswell to Alder Lake, where a shift in place of the shuffle, as
//! fast on Zen 3, costs a twelfth. With half the panel to read it is 1.02 to 1.05 times as fast as with f32 on Zen 3,
//! whatever the number of rows.
//!
//! SSE2: 3x16. A product overwrites one of its factors, so that most take a copy, and a broadcast takes a load and a
//! shuffle: this order has the fewest of them that still need less than one load for every multiplication, which is all
//! that CPUs without AVX can do. Against the compiler's loop of a 2x16 tile, on Zen 3: 1.1 times as fast.

use super::bf16::{Bf16, Bf16Tile, like_f32};
use super::float32::F32;
use super::{Cursor, LINE, NR, Product, TURN, Tile};
use crate::isa::avx::Ymm;
use crate::isa::avx512::Avx512;
use crate::isa::sse2::Sse2;
use std::arch::x86_64::{__m128, __m256, _mm256_setzero_ps};

impl Tile<F32> for Avx512 {
    const MR: usize = 12;
    const NV: usize = 2;
    // A stretch of a panel is 48 KiB, and the product's block of A 288 KiB: both stand in an L2 of 512 KiB. Chosen by
    // these sizes; no others were measured.
    const KC: usize = 384;
}

impl<const FMA: bool> Tile<F32> for Ymm<FMA> {
    const MR: usize = 6;
    const NV: usize = 2;
    // Long blocks store and read the output seldom: with this one and its prefetch 36 rows rose from 90 to 95 GFLOP/s on
    // Zen 4. That the product's block of A, 768 KiB, is more than an L2 of 512 KiB costs nothing that can be seen: on
    // Zen 3, 256, 384, 512, 768 and 1024 were alike (82.8 to 84.8 % of the peak).
    const KC: usize = 1024;

    #[inline(always)]
    unsafe fn turns<const R: usize, const C: usize>(
        self,
        at: &mut Cursor<F32>,
        turns: usize,
        acc: &mut [[__m256; C]; R],
    ) {
        // SAFETY: the caller promises the operands of so many turns; `self` proves AVX, or AVX2 and FMA; `acc` is seen as
        // what it is.
        unsafe {
            match (R, C) {
                (6, 2) if FMA => full_tile_fma(at, turns, &mut *acc.as_mut_ptr().cast()),
                (6, 2) => full_tile_avx(at, turns, &mut *acc.as_mut_ptr().cast()),
                _ => super::turns(self, at, turns, acc),
            }
        }
    }
}

impl Bf16Tile for Avx512 {}

impl Tile<Bf16> for Avx512 {
    like_f32!();
}

impl<const FMA: bool> Bf16Tile for Ymm<FMA> {
    const WIDENING_ROWS: usize = if FMA { usize::MAX } else { <Self as Tile<F32>>::MR };
}

impl<const FMA: bool> Tile<Bf16> for Ymm<FMA> {
    like_f32!();

    #[inline(always)]
    unsafe fn turns<const R: usize, const C: usize>(
        self,
        at: &mut Cursor<Bf16>,
        turns: usize,
        acc: &mut [[__m256; C]; R],
    ) {
        // SAFETY: the caller promises the operands of so many turns; `self` proves AVX, or AVX2 and FMA; `acc` is seen as
        // what it is.
        unsafe {
            match (R, C) {
                (6, 2) if FMA => full_tile_bf16_fma(at, turns, &mut *acc.as_mut_ptr().cast()),
                (6, 2) => full_tile_bf16_avx(at, turns, &mut *acc.as_mut_ptr().cast()),
                _ => super::turns(self, at, turns, acc),
            }
        }
    }
}

impl Bf16Tile for Sse2 {}

impl Tile<Bf16> for Sse2 {
    like_f32!();
}

impl Tile<F32> for Sse2 {
    const MR: usize = 3;
    const NV: usize = 4;
    // A stretch of a panel is 32 KiB, the L1 of these CPUs. The tile is bound by its instructions and nothing else was
    // measured in its present form.
    const KC: usize = 256;

    #[inline(always)]
    unsafe fn turns<const R: usize, const C: usize>(
        self,
        at: &mut Cursor<F32>,
        turns: usize,
        acc: &mut [[__m128; C]; R],
    ) {
        // A factor in memory must be aligned, as panels are; slices of them need not be.
        let aligned = at.b.addr().is_multiple_of(size_of::<__m128>());
        // SAFETY: the caller promises the operands of so many turns; the full tile's are aligned; `acc` is seen as what
        // it is.
        unsafe {
            match (R, C) {
                (3, 4) if aligned => full_tile_sse2(at, turns, &mut *acc.as_mut_ptr().cast()),
                _ => super::turns(self, at, turns, acc),
            }
        }
    }
}

/// Defines a function that is [`Tile::turns`] for one size of tile.
///
/// `$step` are the instructions of step `\p`, one string or several: `{a}` and `{b}` point to the turn's operands,
/// `{a_step}` and `{b_step}` are the bytes of a step, and the sums, temporaries and constants are registers by their names.
///
/// A turn asks for one line ahead, also where [`Cursor`]'s `lines` are several, as for tasks of few rows: AVX2 is no
/// slower for it at 8 rows.
macro_rules! tile_loop {
    (
        $(#[$attribute:meta])*
        fn $name:ident: $product:ident, $rows:literal x $columns:literal of $v:ident in $class:ident,
        sums [$([$($sum:ident),+]),+], temporaries [$($temporary:ident),+],
        constants [$($constant:ident: $in:ident = $value:expr),*]
        { $($step:expr),+ $(,)? }
    ) => {
        $(#[$attribute])*
        #[inline]
        unsafe fn $name(at: &mut Cursor<$product>, turns: usize, acc: &mut [[$v; $columns]; $rows]) {
            const { assert!(TURN == 4, "the loop has steps 0 to 3") };
            if turns == 0 {
                return;
            }
            // Where there is nothing to fetch, the line that is being read anyway is asked for again and again.
            let (mut ahead, line) = match at.lines {
                0 => (at.b.cast(), 0),
                _ => (at.ahead, LINE),
            };
            let [$([$($sum),+]),+] = acc;
            // SAFETY: it reads the operands of `turns * TURN` steps, as the caller promises, and writes nothing but
            // registers; a prefetch may name any address.
            unsafe {
                std::arch::asm!(
                    "2:",
                    "prefetcht1 [{ahead}]",
                    ".irp p, 0, 1, 2, 3",
                    $($step,)+
                    ".endr",
                    "add {a}, {turn}*{a_step}",
                    "add {b}, {turn}*{b_step}",
                    "add {ahead}, {line}",
                    "dec {turns}",
                    "jnz 2b",
                    a = inout(reg) at.a,
                    b = inout(reg) at.b,
                    ahead = inout(reg) ahead,
                    line = in(reg) line,
                    turns = inout(reg) turns => _,
                    turn = const TURN,
                    a_step = const $rows * size_of::<f32>(),
                    b_step = const NR * size_of::<<$product as Product>::Right>(),
                    $($constant = in($in) $value,)*
                    $($temporary = out($class) _,)+
                    $($($sum = inout($class) *$sum,)+)+
                    options(nostack, readonly),
                );
            }
            at.ahead = ahead;
        }
    };
}

/// Row `i` by two columns, whose sums are `c` and `d`.
#[rustfmt::skip] // a line an instruction
macro_rules! fma_row {
    ($i:literal, $c:literal, $d:literal) => { concat!(
        "vbroadcastss {x}, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vfmadd231ps {", $c, "}, {x}, {b0}\n",
        "vfmadd231ps {", $d, "}, {x}, {b1}",
    ) };
}

/// Row `i` by two columns without FMA: the broadcast becomes the second product.
#[rustfmt::skip]
macro_rules! avx_row {
    ($i:literal, $c:literal, $d:literal) => { concat!(
        "vbroadcastss {x}, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vmulps {t}, {x}, {b0}\n",
        "vaddps {", $c, "}, {", $c, "}, {t}\n",
        "vmulps {x}, {x}, {b1}\n",
        "vaddps {", $d, "}, {", $d, "}, {x}",
    ) };
}

/// Six rows of a tile of 6x16, each a `$row`.
#[rustfmt::skip]
macro_rules! six_rows {
    ($row:ident) => { concat!(
        $row!("0", "c0", "d0"), "\n",
        $row!("1", "c1", "d1"), "\n",
        $row!("2", "c2", "d2"), "\n",
        $row!("3", "c3", "d3"), "\n",
        $row!("4", "c4", "d4"), "\n",
        $row!("5", "c5", "d5"),
    ) };
}

tile_loop! {
    /// [`Tile::turns`] of a full tile with FMA.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA; the operands of `turns` turns are readable at `at`.
    #[target_feature(enable = "avx2,fma")]
    fn full_tile_fma: F32, 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, b0, b1],
    constants []
    {
        "vmovups {b0}, ymmword ptr [{b} + {b_step}*\\p]",
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p + 32]",
        six_rows!(fma_row),
    }
}

/// For VPSHUFB: the lower half of every word, above zeros.
static LOWER_HALVES: Aligned = {
    const NONE: u8 = 0x80;
    let words = [NONE, NONE, 0, 1, NONE, NONE, 4, 5, NONE, NONE, 8, 9, NONE, NONE, 12, 13];
    Aligned([words, words])
};

/// A register in memory.
#[repr(align(32))]
struct Aligned([[u8; 16]; 2]);

tile_loop! {
    /// [`Tile::turns`] of a full tile of bfloat16 with AVX2 and FMA: the even columns of 16 in `b0`, the odd ones in `b1`.
    ///
    /// # Safety
    /// The CPU has AVX2 and FMA; the operands of `turns` turns are readable at `at`.
    #[target_feature(enable = "avx2,fma")]
    fn full_tile_bf16_fma: Bf16, 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, b0, b1],
    constants [lower_halves: reg = LOWER_HALVES.0.as_ptr(), zero: ymm_reg = _mm256_setzero_ps()]
    {
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p]",
        "vpshufb {b0}, {b1}, ymmword ptr [{lower_halves}]",
        "vpblendw {b1}, {zero}, {b1}, 0xaa",
        six_rows!(fma_row),
    }
}

tile_loop! {
    /// [`Tile::turns`] of a full tile without FMA.
    ///
    /// # Safety
    /// The CPU has AVX; the operands of `turns` turns are readable at `at`.
    #[target_feature(enable = "avx")]
    fn full_tile_avx: F32, 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, t, b0, b1],
    constants []
    {
        "vmovups {b0}, ymmword ptr [{b} + {b_step}*\\p]",
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p + 32]",
        six_rows!(avx_row),
    }
}

/// The upper half of every word.
static UPPER_HALVES: Aligned = Aligned([[0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF]; 2]);

tile_loop! {
    /// [`Tile::turns`] of a full tile of bfloat16 without FMA: words are shifted half a register at a time, and the mask stays
    /// in memory, where the compiler keeps it in a register and spills a sum every step.
    ///
    /// # Safety
    /// The CPU has AVX; the operands of `turns` turns are readable at `at`.
    #[target_feature(enable = "avx")]
    fn full_tile_bf16_avx: Bf16, 6 x 2 of __m256 in ymm_reg,
    sums [[c0, d0], [c1, d1], [c2, d2], [c3, d3], [c4, d4], [c5, d5]], temporaries [x, t, b0, b1],
    constants [upper_halves: reg = UPPER_HALVES.0.as_ptr()]
    {
        "vmovups {b1}, ymmword ptr [{b} + {b_step}*\\p]",
        "vpslld {b0:x}, {b1:x}, 16",
        "vmovdqu {t:x}, xmmword ptr [{b} + {b_step}*\\p + 16]",
        "vpslld {t:x}, {t:x}, 16",
        "vinsertf128 {b0}, {b0}, {t:x}, 1",
        "vandps {b1}, {b1}, ymmword ptr [{upper_halves}]",
        six_rows!(avx_row),
    }
}

/// Rows 0 and 1, broadcast in `x` and `y`, by the four columns at `offset`, whose sums are `c` and `d`.
#[rustfmt::skip] // a line an instruction
macro_rules! sse2_two_rows {
    ($offset:literal, $c:literal, $d:literal) => { concat!(
        "movaps {t}, xmmword ptr [{b} + {b_step}*\\p + ", $offset, "]\n",
        "movaps {u}, {t}\n",
        "mulps {u}, {x}\n",
        "addps {", $c, "}, {u}\n",
        "mulps {t}, {y}\n",
        "addps {", $d, "}, {t}",
    ) };
}

/// Row 2, broadcast in `x`, by the four columns at `offset`, whose sum is `c`: the product is made in a copy of `x`, or
/// in `x` itself the last time.
#[rustfmt::skip]
macro_rules! sse2_one_row {
    ($offset:literal, $c:literal, copy $t:literal) => { concat!(
        "movaps {", $t, "}, {x}\n",
        sse2_one_row!($offset, $c, $t),
    ) };
    ($offset:literal, $c:literal, $t:literal) => { concat!(
        "mulps {", $t, "}, xmmword ptr [{b} + {b_step}*\\p + ", $offset, "]\n",
        "addps {", $c, "}, {", $t, "}",
    ) };
}

tile_loop! {
    /// [`Tile::turns`] of a full tile.
    ///
    /// # Safety
    /// The operands of `turns` turns are readable at `at`, and `at.b` is aligned to 16 bytes.
    fn full_tile_sse2: F32, 3 x 4 of __m128 in xmm_reg,
    sums [[c0, c1, c2, c3], [d0, d1, d2, d3], [e0, e1, e2, e3]], temporaries [x, y, t, u],
    constants []
    {
        "movsd {y}, qword ptr [{a} + {a_step}*\\p]",
        "pshufd {x}, {y}, 0x00",
        "pshufd {y}, {y}, 0x55",
        sse2_two_rows!("0", "c0", "d0"),
        sse2_two_rows!("16", "c1", "d1"),
        sse2_two_rows!("32", "c2", "d2"),
        sse2_two_rows!("48", "c3", "d3"),
        "movss {x}, dword ptr [{a} + {a_step}*\\p + 8]",
        "pshufd {x}, {x}, 0x00",
        sse2_one_row!("0", "e0", copy "t"),
        sse2_one_row!("16", "e1", copy "u"),
        sse2_one_row!("32", "e2", copy "t"),
        sse2_one_row!("48", "e3", "x"),
    }
}
