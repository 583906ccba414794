//! The integer tiles of x86, the full ones in assembly: compilers copy and spill the sums of these instructions, and got
//! half of their speed.
//!
//! AVX-512: 12x32. 24 sums, 2 columns, a broadcast, and without VNNI two products. AVX2: 6x16: 12 sums, 2 columns, the
//! broadcast and a product are all 16 registers; without VNNI a sum that waits for its product takes a unit from the next
//! product, so that on Zen 3 it makes 0.8 times as many as VPMADDWD alone would, in whatever order.
//!
//! As the compiler makes them: AVX, whose integers are of 128 bits, in halves of 6x8, since 24 sums have no room (four rows and
//! more are 1.0 to 1.3 times as fast for it on Zen 3, fewer slower); SSE2, 3x16.

use super::NR;
use super::integer::{Block, IntegerTile};
use crate::isa::Simd;
use crate::isa::avx::{Vnni, Ymm};
use crate::isa::avx512::Avx512;
use crate::isa::sse2::Sse2;

impl IntegerTile for Avx512 {
    #[inline(always)]
    unsafe fn block<const R: usize, const C: usize, const BYTES: bool>(self, at: &Block) {
        // SAFETY: the caller promises what `at` says; `self` proves AVX-512 BW, and VNNI where it says so.
        unsafe {
            match (R, C, BYTES) {
                (12, 2, true) if self.bytes().is_some() => block_12x32_bytes(at),
                (12, 2, false) if self.vnni() => block_12x32_vnni(at),
                (12, 2, false) => block_12x32(at),
                _ => super::integer::block::<Self, R, C, BYTES>(self, at),
            }
        }
    }
}

impl<const FMA: bool> IntegerTile for Ymm<FMA> {
    #[inline(always)]
    unsafe fn block<const R: usize, const C: usize, const BYTES: bool>(self, at: &Block) {
        // SAFETY: the caller promises what `at` says; `FMA` proves AVX2 and FMA, and `self` VNNI in the encoding that it says;
        // two registers of columns are both of the block's.
        unsafe {
            match (R, C, BYTES, self.vnni()) {
                (6, 2, true, Vnni::Vex) if FMA => block_6x16_bytes(at),
                (6, 2, true, Vnni::Evex) if FMA => block_6x16_bytes_evex(at),
                (6, 2, false, Vnni::Vex) if FMA => block_6x16_vnni(at),
                (6, 2, false, Vnni::Evex) if FMA => block_6x16_vnni_evex(at),
                (6, 2, false, Vnni::None) if FMA => block_6x16(at),
                (4.., 2, ..) if !FMA => {
                    for column in [0, Self::LANES] {
                        super::integer::block::<Self, R, 1, BYTES>(self, &at.moved(column));
                    }
                }
                _ => super::integer::block::<Self, R, C, BYTES>(self, at),
            }
        }
    }
}

impl IntegerTile for Sse2 {}

impl Block {
    /// The same of columns further right.
    #[inline(always)]
    fn moved(&self, columns: usize) -> Self {
        let Self { scales, b, c, .. } = *self;
        Self { scales: scales.wrapping_add(columns), b: b.wrapping_add(columns), c: c.wrapping_add(columns), ..*self }
    }
}

/// Defines a function that is [`IntegerTile::block`] for one size of tile.
///
/// `$start` sets the sums, `$step` are the instructions of step `\p`; then `$scales` loads the columns' scales, and
/// `$set` or `$add` takes the rows to the output, moving `{c}` on by `{stride}`. `{a}` and `{b}` point to the turn's words,
/// which `{a_step}` and `{b_step}` bytes are a step of.
macro_rules! block_loop {
    (
        $(#[$attribute:meta])*
        fn $name:ident: $rows:literal rows,
        start [$($start:expr),+ $(,)?], step [$($step:expr),+ $(,)?], scales [$($scales:expr),+ $(,)?],
        set [$($set:expr),+ $(,)?], add [$($add:expr),+ $(,)?], clobbers [$($register:tt),+]
    ) => {
        $(#[$attribute])*
        #[inline]
        unsafe fn $name(at: &Block) {
            // SAFETY: it reads the scales and words of the block and reads and writes the tile's rows of the output, as the
            // caller promises; a prefetch may name any address.
            unsafe {
                std::arch::asm!(
                    $($start,)+
                    "2:",
                    "prefetcht1 [{ahead}]",
                    ".irp p, 0, 1, 2, 3",
                    $($step,)+
                    ".endr",
                    "add {a}, 4*{a_step}",
                    "add {b}, 4*{b_step}",
                    "add {ahead}, {ahead_step}",
                    "dec {turns}",
                    "jnz 2b",
                    $($scales,)+
                    "test {add}, {add}",
                    "jnz 3f",
                    $($set,)+
                    "jmp 4f",
                    "3:",
                    $($add,)+
                    "4:",
                    a = inout(reg) at.a.wrapping_add($rows) => _,
                    b = inout(reg) at.b => _,
                    ahead = inout(reg) at.ahead => _,
                    ahead_step = in(reg) at.ahead_step,
                    turns = inout(reg) at.words / 4 => _,
                    scales_a = in(reg) at.a,
                    scales_b = in(reg) at.scales,
                    add = in(reg) usize::from(at.add),
                    c = inout(reg) at.c => _,
                    stride = in(reg) at.c_stride * size_of::<f32>(),
                    a_step = const $rows * size_of::<f32>(),
                    b_step = const NR * size_of::<f32>(),
                    $(out($register) _,)+
                    options(nostack),
                );
            }
        }
    };
}

/// Row `i` by two columns: its broadcast, then `product`s into its sums `x` and `y`.
#[rustfmt::skip] // a line an instruction
macro_rules! zmm_row {
    ($product:literal, $i:literal, $x:literal, $y:literal) => { concat!(
        "vpbroadcastd zmm26, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        $product, " zmm", $x, ", zmm26, zmm24\n",
        $product, " zmm", $y, ", zmm26, zmm25",
    ) };
}

/// Row `i` by two columns without VNNI.
#[rustfmt::skip]
macro_rules! zmm_row_pairs {
    ($i:literal, $x:literal, $y:literal) => { concat!(
        "vpbroadcastd zmm26, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vpmaddwd zmm27, zmm26, zmm24\n",
        "vpmaddwd zmm28, zmm26, zmm25\n",
        "vpaddd zmm", $x, ", zmm", $x, ", zmm27\n",
        "vpaddd zmm", $y, ", zmm", $y, ", zmm28",
    ) };
}

/// Row `i` of the sums `x` and `y`, times its scale and the columns', to the output.
#[rustfmt::skip]
macro_rules! zmm_out {
    (set $i:literal, $x:literal, $y:literal) => { concat!(
        zmm_out!($i, $x, $y),
        "vmulps zmm", $x, ", zmm", $x, ", zmm27\n",
        "vmulps zmm", $y, ", zmm", $y, ", zmm28\n",
        zmm_out!($x, $y),
    ) };
    (add $i:literal, $x:literal, $y:literal) => { concat!(
        zmm_out!($i, $x, $y),
        "vfmadd213ps zmm", $x, ", zmm27, zmmword ptr [{c}]\n",
        "vfmadd213ps zmm", $y, ", zmm28, zmmword ptr [{c} + 64]\n",
        zmm_out!($x, $y),
    ) };
    ($i:literal, $x:literal, $y:literal) => { concat!(
        "vbroadcastss zmm26, dword ptr [{scales_a} + 4*", $i, "]\n",
        "vmulps zmm27, zmm26, zmm24\n",
        "vmulps zmm28, zmm26, zmm25\n",
        "vcvtdq2ps zmm", $x, ", zmm", $x, "\n",
        "vcvtdq2ps zmm", $y, ", zmm", $y, "\n",
    ) };
    ($x:literal, $y:literal) => { concat!(
        "vmovups zmmword ptr [{c}], zmm", $x, "\n",
        "vmovups zmmword ptr [{c} + 64], zmm", $y, "\n",
        "add {c}, {stride}",
    ) };
}

/// Twelve times `macro!(arguments, i, x, y)`: row `i` has the sums `x` and `y`.
macro_rules! zmm_block {
    ($(#[$attribute:meta])* fn $name:ident, start [$($start:expr),+], row $row:ident!($($argument:literal),*)) => {
        block_loop! {
            $(#[$attribute])*
            fn $name: 12 rows,
            start [$($start),+],
            step [
                "vmovdqu32 zmm24, zmmword ptr [{b} + {b_step}*\\p]",
                "vmovdqu32 zmm25, zmmword ptr [{b} + {b_step}*\\p + 64]",
                $row!($($argument,)* "0", "0", "12"), $row!($($argument,)* "1", "1", "13"),
                $row!($($argument,)* "2", "2", "14"), $row!($($argument,)* "3", "3", "15"),
                $row!($($argument,)* "4", "4", "16"), $row!($($argument,)* "5", "5", "17"),
                $row!($($argument,)* "6", "6", "18"), $row!($($argument,)* "7", "7", "19"),
                $row!($($argument,)* "8", "8", "20"), $row!($($argument,)* "9", "9", "21"),
                $row!($($argument,)* "10", "10", "22"), $row!($($argument,)* "11", "11", "23"),
            ],
            scales ["vmovups zmm24, zmmword ptr [{scales_b}]", "vmovups zmm25, zmmword ptr [{scales_b} + 64]"],
            set [
                zmm_out!(set "0", "0", "12"), zmm_out!(set "1", "1", "13"), zmm_out!(set "2", "2", "14"),
                zmm_out!(set "3", "3", "15"), zmm_out!(set "4", "4", "16"), zmm_out!(set "5", "5", "17"),
                zmm_out!(set "6", "6", "18"), zmm_out!(set "7", "7", "19"), zmm_out!(set "8", "8", "20"),
                zmm_out!(set "9", "9", "21"), zmm_out!(set "10", "10", "22"), zmm_out!(set "11", "11", "23"),
            ],
            add [
                zmm_out!(add "0", "0", "12"), zmm_out!(add "1", "1", "13"), zmm_out!(add "2", "2", "14"),
                zmm_out!(add "3", "3", "15"), zmm_out!(add "4", "4", "16"), zmm_out!(add "5", "5", "17"),
                zmm_out!(add "6", "6", "18"), zmm_out!(add "7", "7", "19"), zmm_out!(add "8", "8", "20"),
                zmm_out!(add "9", "9", "21"), zmm_out!(add "10", "10", "22"), zmm_out!(add "11", "11", "23"),
            ],
            clobbers [
                "zmm0", "zmm1", "zmm2", "zmm3", "zmm4", "zmm5", "zmm6", "zmm7", "zmm8", "zmm9", "zmm10", "zmm11", "zmm12",
                "zmm13", "zmm14", "zmm15", "zmm16", "zmm17", "zmm18", "zmm19", "zmm20", "zmm21", "zmm22", "zmm23", "zmm24",
                "zmm25", "zmm26", "zmm27", "zmm28"
            ]
        }
    };
}

/// All sums zero, or what a panel of bytes starts from.
#[rustfmt::skip]
macro_rules! zmm_start {
    (zeros) => { ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23\n\
        vpxord zmm\\i, zmm\\i, zmm\\i\n\
        .endr" };
    (integers) => { "vmovdqu32 zmm24, zmmword ptr [{b} - {b_step}]\n\
        vmovdqu32 zmm25, zmmword ptr [{b} - {b_step} + 64]\n\
        .irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\
        vmovdqa32 zmm\\i, zmm24\n\
        .endr\n\
        .irp i, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23\n\
        vmovdqa32 zmm\\i, zmm25\n\
        .endr" };
}

zmm_block! {
    /// The full tile of words of two i16.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and AVX-512 BW.
    #[target_feature(enable = "avx512f,avx512bw")]
    fn block_12x32, start [zmm_start!(zeros)], row zmm_row_pairs!()
}

zmm_block! {
    /// The full tile of words of two i16, with VNNI.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn block_12x32_vnni, start [zmm_start!(zeros)], row zmm_row!("vpdpwssd")
}

zmm_block! {
    /// The full tile of words of four i8, with VNNI.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and AVX-512 VNNI.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn block_12x32_bytes, start [zmm_start!(integers)], row zmm_row!("vpdpbusd")
}

/// Row `i` by two columns: its broadcast, then `product`s into its sums `x` and `y`.
#[rustfmt::skip]
macro_rules! ymm_row {
    ($product:literal, $i:literal, $x:literal, $y:literal) => { concat!(
        "vpbroadcastd ymm14, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        $product, " ymm", $x, ", ymm14, ymm12\n",
        $product, " ymm", $y, ", ymm14, ymm13",
    ) };
}

/// Row `i` by two columns without VNNI: the broadcast becomes the second product.
#[rustfmt::skip]
macro_rules! ymm_row_pairs {
    ($i:literal, $x:literal, $y:literal) => { concat!(
        "vpbroadcastd ymm14, dword ptr [{a} + {a_step}*\\p + 4*", $i, "]\n",
        "vpmaddwd ymm15, ymm14, ymm12\n",
        "vpmaddwd ymm14, ymm14, ymm13\n",
        "vpaddd ymm", $x, ", ymm", $x, ", ymm15\n",
        "vpaddd ymm", $y, ", ymm", $y, ", ymm14",
    ) };
}

/// Row `i` of the sums `x` and `y`, times its scale and the columns', to the output.
#[rustfmt::skip]
macro_rules! ymm_out {
    (set $i:literal, $x:literal, $y:literal) => { concat!(
        ymm_out!($i, $x, $y),
        "vmulps ymm", $x, ", ymm", $x, ", ymm15\n",
        "vmulps ymm", $y, ", ymm", $y, ", ymm14\n",
        ymm_out!($x, $y),
    ) };
    (add $i:literal, $x:literal, $y:literal) => { concat!(
        ymm_out!($i, $x, $y),
        "vfmadd213ps ymm", $x, ", ymm15, ymmword ptr [{c}]\n",
        "vfmadd213ps ymm", $y, ", ymm14, ymmword ptr [{c} + 32]\n",
        ymm_out!($x, $y),
    ) };
    ($i:literal, $x:literal, $y:literal) => { concat!(
        "vbroadcastss ymm14, dword ptr [{scales_a} + 4*", $i, "]\n",
        "vmulps ymm15, ymm14, ymm12\n",
        "vmulps ymm14, ymm14, ymm13\n",
        "vcvtdq2ps ymm", $x, ", ymm", $x, "\n",
        "vcvtdq2ps ymm", $y, ", ymm", $y, "\n",
    ) };
    ($x:literal, $y:literal) => { concat!(
        "vmovups ymmword ptr [{c}], ymm", $x, "\n",
        "vmovups ymmword ptr [{c} + 32], ymm", $y, "\n",
        "add {c}, {stride}",
    ) };
}

/// All sums zero, or what a panel of bytes starts from.
#[rustfmt::skip]
macro_rules! ymm_start {
    (zeros) => { ".irp i, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11\n\
        vpxor ymm\\i, ymm\\i, ymm\\i\n\
        .endr" };
    (integers) => { "vmovdqu ymm12, ymmword ptr [{b} - {b_step}]\n\
        vmovdqu ymm13, ymmword ptr [{b} - {b_step} + 32]\n\
        .irp i, 0, 1, 2, 3, 4, 5\n\
        vmovdqa ymm\\i, ymm12\n\
        .endr\n\
        .irp i, 6, 7, 8, 9, 10, 11\n\
        vmovdqa ymm\\i, ymm13\n\
        .endr" };
}

/// Six times `macro!(arguments, i, x, y)`: row `i` has the sums `x` and `y`.
macro_rules! ymm_block {
    ($(#[$attribute:meta])* fn $name:ident, start [$($start:expr),+], row $row:ident!($($argument:literal),*)) => {
        block_loop! {
            $(#[$attribute])*
            fn $name: 6 rows,
            start [$($start),+],
            step [
                "vmovdqu ymm12, ymmword ptr [{b} + {b_step}*\\p]",
                "vmovdqu ymm13, ymmword ptr [{b} + {b_step}*\\p + 32]",
                $row!($($argument,)* "0", "0", "6"), $row!($($argument,)* "1", "1", "7"),
                $row!($($argument,)* "2", "2", "8"), $row!($($argument,)* "3", "3", "9"),
                $row!($($argument,)* "4", "4", "10"), $row!($($argument,)* "5", "5", "11"),
            ],
            scales ["vmovups ymm12, ymmword ptr [{scales_b}]", "vmovups ymm13, ymmword ptr [{scales_b} + 32]"],
            set [
                ymm_out!(set "0", "0", "6"), ymm_out!(set "1", "1", "7"), ymm_out!(set "2", "2", "8"),
                ymm_out!(set "3", "3", "9"), ymm_out!(set "4", "4", "10"), ymm_out!(set "5", "5", "11"),
            ],
            add [
                ymm_out!(add "0", "0", "6"), ymm_out!(add "1", "1", "7"), ymm_out!(add "2", "2", "8"),
                ymm_out!(add "3", "3", "9"), ymm_out!(add "4", "4", "10"), ymm_out!(add "5", "5", "11"),
            ],
            clobbers [
                "ymm0", "ymm1", "ymm2", "ymm3", "ymm4", "ymm5", "ymm6", "ymm7", "ymm8", "ymm9", "ymm10", "ymm11", "ymm12",
                "ymm13", "ymm14", "ymm15"
            ]
        }
    };
}

ymm_block! {
    /// The full tile of words of two i16.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and AVX2 and FMA.
    #[target_feature(enable = "avx2,fma")]
    fn block_6x16, start [ymm_start!(zeros)], row ymm_row_pairs!()
}

ymm_block! {
    /// The full tile of words of two i16, with AVX-VNNI.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and FMA and AVX-VNNI.
    #[target_feature(enable = "avx2,fma,avxvnni")]
    fn block_6x16_vnni, start [ymm_start!(zeros)], row ymm_row!("{{vex}} vpdpwssd")
}

ymm_block! {
    /// The full tile of words of four i8, with AVX-VNNI.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and FMA and AVX-VNNI.
    #[target_feature(enable = "avx2,fma,avxvnni")]
    fn block_6x16_bytes, start [ymm_start!(integers)], row ymm_row!("{{vex}} vpdpbusd")
}

ymm_block! {
    /// The full tile of words of two i16, with VNNI of AVX-512.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and FMA, AVX512_VNNI and AVX-512 VL.
    #[target_feature(enable = "avx2,fma,avx512vnni,avx512vl")]
    fn block_6x16_vnni_evex, start [ymm_start!(zeros)], row ymm_row!("{{evex}} vpdpwssd")
}

ymm_block! {
    /// The full tile of words of four i8, with VNNI of AVX-512.
    ///
    /// # Safety
    /// What [`IntegerTile::block`] asks for, and FMA, AVX512_VNNI and AVX-512 VL.
    #[target_feature(enable = "avx2,fma,avx512vnni,avx512vl")]
    fn block_6x16_bytes_evex, start [ymm_start!(integers)], row ymm_row!("{{evex}} vpdpbusd")
}
