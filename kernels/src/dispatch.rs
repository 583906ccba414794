//! Which instruction sets this CPU has ([`Isa`]), and the one place where a kernel crosses from "chosen at run time" to
//! "compiled for it" ([`Isa::dispatch`]).
//!
//! Invariant: an `Isa` exists only by detection, as the proof that it carries. It is a plain value passed down inside
//! [`crate::Cpu`]; nothing is looked up again, and nothing falls back by itself.

#[cfg(target_arch = "aarch64")]
use crate::isa::neon::Neon;
use crate::isa::portable::Portable;
use crate::isa::{ByteProduct, Routine, Simd};
#[cfg(target_arch = "x86_64")]
use crate::isa::{
    avx::{Avx, Avx2, Vnni},
    avx512::Avx512,
    family,
    sse2::Sse2,
};
use crate::tile::Tile;
use crate::tile::bf16::Bf16Tile;
use crate::tile::float32::F32;
use crate::tile::integer::IntegerTile;
use std::fmt;

/// All that a kernel may ask of an instruction set: its vectors, and a tile of every product.
pub trait Arch: Tile<F32> + Bf16Tile + IntegerTile {}

impl<S: Tile<F32> + Bf16Tile + IntegerTile> Arch for S {}

/// A computation written once for every ISA.
pub trait Kernel {
    /// What it returns.
    type Output;
    /// Runs it; implementations are `inline(always)`.
    fn run<S: Arch>(self, s: S) -> Self::Output;
}

impl<K: Kernel, S: Arch> Routine<S> for K {
    type Output = K::Output;

    #[inline(always)]
    fn run(self, s: S) -> K::Output {
        Kernel::run(self, s)
    }
}

/// An instruction set that this CPU has: a variant exists only by detection.
#[derive(Clone, Copy)]
#[non_exhaustive]
pub enum Isa {
    /// AVX-512 F, BW, DQ and VL, with VNNI or without, with AMX or without.
    #[cfg(target_arch = "x86_64")]
    Avx512(Avx512),
    /// AVX2 with FMA, with AVX-VNNI or without.
    #[cfg(target_arch = "x86_64")]
    Avx2(Avx2),
    /// AVX without FMA: Sandy Bridge, Ivy Bridge.
    #[cfg(target_arch = "x86_64")]
    Avx(Avx),
    /// The baseline of x86-64.
    #[cfg(target_arch = "x86_64")]
    Sse2(Sse2),
    /// The baseline of aarch64, with SDOT or without.
    #[cfg(target_arch = "aarch64")]
    Neon(Neon),
    /// Plain Rust, for every other target.
    Portable(Portable),
}

impl Isa {
    /// All that this CPU has, best first, each with all of its capabilities.
    pub fn available() -> Vec<Isa> {
        let found = [
            #[cfg(target_arch = "x86_64")]
            Avx512::detect().map(Isa::Avx512),
            #[cfg(target_arch = "x86_64")]
            Avx2::detect().map(Isa::Avx2),
            #[cfg(target_arch = "x86_64")]
            Avx::detect().map(Isa::Avx),
            #[cfg(target_arch = "x86_64")]
            Some(Isa::Sse2(Sse2::BASELINE)),
            #[cfg(target_arch = "aarch64")]
            Some(Isa::Neon(Neon::detect())),
            Some(Isa::Portable(Portable)),
        ];
        found.into_iter().flatten().collect()
    }

    /// The best this CPU has.
    pub fn best() -> Isa {
        Self::available()[0]
    }

    /// All of [`Isa::available`], and those with AMX, VNNI or SDOT also without it. And AVX2 with the VNNI of AVX-512, which is
    /// there for tests: what runs with AVX-VNNI runs on CPUs that have AVX-512's alone, in another encoding.
    pub fn variants() -> Vec<Isa> {
        let plain = |isa: Isa| Some(isa.same_bits()).filter(|plain| plain.name() != isa.name());
        let variants = |isa: Isa| {
            [
                Some(isa),
                #[cfg(target_arch = "x86_64")]
                isa.without_amx(),
                #[cfg(target_arch = "x86_64")]
                isa.with_evex(),
                plain(isa),
            ]
        };
        Self::available().into_iter().flat_map(variants).flatten().collect()
    }

    /// AVX-512 with VNNI, where it has AMX too.
    #[cfg(target_arch = "x86_64")]
    fn without_amx(self) -> Option<Isa> {
        match self {
            Isa::Avx512(s) if s.amx() => Some(Isa::Avx512(s.without_amx())),
            _ => None,
        }
    }

    /// AVX2 with the VNNI of AVX-512.
    #[cfg(target_arch = "x86_64")]
    fn with_evex(self) -> Option<Isa> {
        match self {
            Isa::Avx2(s) => s.with_evex().map(Isa::Avx2),
            _ => None,
        }
    }

    /// The plainest instruction set whose kernels all give the same bits: this one without AMX, VNNI or SDOT, which only
    /// sum integers.
    pub fn same_bits(self) -> Isa {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) => Isa::Avx512(s.plain()),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) => Isa::Avx2(s.plain()),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(s) => Isa::Neon(s.plain()),
            other => other,
        }
    }

    /// The ISA called `name`; the error lists the available ones.
    pub fn named(name: &str) -> Result<Isa, UnavailableIsa> {
        Self::variants()
            .into_iter()
            .find(|isa| isa.name() == name)
            .ok_or_else(|| UnavailableIsa { asked: name.to_owned() })
    }

    /// The name that `--isa` takes.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) if s.amx() => "avx512-amx",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) if s.vnni() => "avx512-vnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) if s.vnni() == Vnni::Evex => "avx2-vnni-evex",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) if s.vnni() == Vnni::Vex => "avx2-vnni",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(_) => "avx2",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx(_) => "avx",
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2(_) => "sse2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(s) if s.dotprod() => "neon-dotprod",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => "neon",
            Isa::Portable(_) => "portable",
        }
    }

    /// Whether [`crate::Storage::I16`] is multiplied faster here than f32. Decided by what the CPU is and not by a clock: what it
    /// decides must not change from start to start.
    pub fn gains_by_int16(self) -> bool {
        match self {
            // Without VNNI two instructions take the place of one that multiplies half as many.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) => s.vnni(),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) => s.vnni() != Vnni::None || family::multiplies_i16_faster(),
            // Its integers are of 128 bits, its floats of 256.
            #[cfg(target_arch = "x86_64")]
            Isa::Avx(_) => false,
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2(_) => true,
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(_) => false,
            Isa::Portable(_) => false,
        }
    }

    /// Whether bytes are multiplied as such, four times as many as f32, and not as i16.
    pub fn multiplies_bytes(self) -> bool {
        self.bytes().is_some()
    }

    /// Rows of this ISA's register tile: the row interleaving of [`crate::Lhs`].
    pub fn mr(self) -> usize {
        self.dispatch(AskConstants).mr
    }

    /// Depth of a block of a product.
    pub(crate) fn kc(self) -> usize {
        self.dispatch(AskConstants).kc
    }

    /// [`Bf16Tile::WIDENING_ROWS`].
    pub(crate) fn widening_rows(self) -> usize {
        self.dispatch(AskConstants).widening_rows
    }

    /// How it multiplies bytes, if it does.
    pub(crate) fn bytes(self) -> Option<ByteProduct> {
        self.dispatch(AskConstants).bytes
    }

    /// Runs `kernel` compiled for this ISA. Called once per kernel call and thread, never per vector.
    #[inline]
    pub(crate) fn dispatch<K: Kernel>(self, kernel: K) -> K::Output {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512(s) => s.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2(s) => s.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx(s) => s.vectorize(kernel),
            #[cfg(target_arch = "x86_64")]
            Isa::Sse2(s) => s.vectorize(kernel),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon(s) => s.vectorize(kernel),
            Isa::Portable(s) => s.vectorize(kernel),
        }
    }
}

/// Asks an ISA's tiles for their [`Constants`].
struct AskConstants;

/// What products are laid out and planned by.
struct Constants {
    mr: usize,
    kc: usize,
    widening_rows: usize,
    bytes: Option<ByteProduct>,
}

impl Kernel for AskConstants {
    type Output = Constants;

    #[inline(always)]
    fn run<S: Arch>(self, s: S) -> Constants {
        let (mr, kc) = (<S as Tile<F32>>::MR, <S as Tile<F32>>::KC);
        Constants { mr, kc, widening_rows: S::WIDENING_ROWS, bytes: s.bytes() }
    }
}

impl fmt::Debug for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The answer to a name that is unknown or not available on this CPU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnavailableIsa {
    asked: String,
}

impl fmt::Display for UnavailableIsa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = Isa::variants().into_iter().map(Isa::name).collect();
        write!(f, "The instruction set '{}' is not available on this CPU; available: {}.", self.asked, names.join(", "))
    }
}

impl std::error::Error for UnavailableIsa {}
