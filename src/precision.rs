//! How exactly a model is computed: what was asked for, and what that is on this CPU.
//!
//! Invariant: which precision a CPU takes follows from what it has, never from a clock, so that a score doesn't change
//! from start to start. Asked for by `options`, decided by `startup`; everything that tells of it says the same names.

use ironrank_kernels::{Isa, Storage};

/// What the matrices of a model are multiplied as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Floats of 32 bits, with all digits of the checkpoint.
    Exact,
    /// Integers of 12 bits on both sides, in words of 16: nearer to float32 than bfloat16 is.
    Int16,
    /// Integers of 8 bits on both sides.
    Int8,
}

/// What is asked for, for any CPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// By `--dtype`.
    pub dtype: Dtype,
    /// By `--quantization int8`, which counts before that.
    pub int8: bool,
}

/// What `--dtype` may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// All digits.
    Float32,
    /// 16 bits, if that is faster.
    Bfloat16,
    /// The same.
    Float16,
}

impl Precision {
    /// How files, answers and reports call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Int16 => "int16",
            Self::Int8 => "int8",
        }
    }

    /// How weights stand for it, of which `bf16` says whether they are bfloat16 in the checkpoint.
    pub fn storage(self, bf16: bool) -> Storage {
        match self {
            Self::Exact if bf16 => Storage::Bf16,
            Self::Exact => Storage::F32,
            Self::Int16 => Storage::I16,
            Self::Int8 => Storage::I8,
        }
    }

    /// How sentences call it.
    pub fn described(self) -> &'static str {
        match self {
            Self::Exact => "float32",
            Self::Int16 => "16-bit integers",
            Self::Int8 => "8-bit integers",
        }
    }
}

impl Asked {
    /// What nobody has to ask for.
    pub const EXACT: Self = Self { dtype: Dtype::Float32, int8: false };

    /// What it comes to on a CPU with `isa`.
    pub fn on(self, isa: Isa) -> Precision {
        match self.dtype {
            _ if self.int8 => Precision::Int8,
            Dtype::Bfloat16 | Dtype::Float16 if isa.gains_by_int16() => Precision::Int16,
            Dtype::Bfloat16 | Dtype::Float16 | Dtype::Float32 => Precision::Exact,
        }
    }

    /// What there is to say where it comes to something else on a CPU with `isa`.
    pub fn notice(self, isa: Isa) -> Option<String> {
        let other = self.dtype != Dtype::Float32 && self.on(isa) == Precision::Exact;
        other.then(|| {
            format!(
                "--dtype {} is computed in float32: 16 bits are no faster on {} of this CPU.",
                self.dtype.name(),
                isa.name()
            )
        })
    }
}

impl Dtype {
    /// vLLM's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Float32 => "float32",
            Self::Bfloat16 => "bfloat16",
            Self::Float16 => "float16",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_comes_to_what_the_cpu_gains_by() {
        for isa in Isa::available() {
            assert_eq!(Asked::EXACT.on(isa), Precision::Exact);
            assert_eq!(Asked::EXACT.notice(isa), None);
            let sixteen = if isa.gains_by_int16() { Precision::Int16 } else { Precision::Exact };
            for dtype in [Dtype::Bfloat16, Dtype::Float16] {
                let asked = Asked { dtype, int8: false };
                assert_eq!(asked.on(isa), sixteen, "{dtype:?} on {isa:?}");
                assert_eq!(asked.notice(isa).is_some(), sixteen == Precision::Exact, "{dtype:?} on {isa:?}");
            }
            for dtype in [Dtype::Float32, Dtype::Bfloat16, Dtype::Float16] {
                let asked = Asked { dtype, int8: true };
                assert_eq!((asked.on(isa), asked.notice(isa)), (Precision::Int8, None));
            }
        }
    }
}
