//! Scores as bytes: the number formats and byte orders that vLLM's clients decode.
//!
//! Called by `pooling`.

use super::fields::Fields;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// The form in which an answer holds its numbers: `encoding_format`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncodingFormat {
    /// JSON numbers.
    Float,
    /// JSON strings.
    Base64,
    /// Bytes, described in a header.
    Bytes,
    /// Bytes alone.
    BytesOnly,
}

impl EncodingFormat {
    /// Reads the field; JSON numbers unless it says otherwise.
    pub fn from_fields(fields: &mut Fields<'_>) -> Self {
        match fields.choice("encoding_format", &["float", "base64", "bytes", "bytes_only"]) {
            Some("base64") => Self::Base64,
            Some("bytes") => Self::Bytes,
            Some("bytes_only") => Self::BytesOnly,
            _ => Self::Float,
        }
    }
}

/// How a number is written in bytes: `embed_dtype` and `endianness`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFormat {
    dtype: EmbedDtype,
    endianness: Endianness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EmbedDtype {
    Float32,
    Float16,
    Bfloat16,
    Fp8E4m3,
    Fp8E5m2,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Endianness {
    Native,
    Big,
    Little,
}

impl NumberFormat {
    /// Reads both fields; float32 in the machine's own order unless they say otherwise.
    pub fn from_fields(fields: &mut Fields<'_>) -> Self {
        let dtype = match fields.choice("embed_dtype", &["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]) {
            Some("float16") => EmbedDtype::Float16,
            Some("bfloat16") => EmbedDtype::Bfloat16,
            Some("fp8_e4m3") => EmbedDtype::Fp8E4m3,
            Some("fp8_e5m2") => EmbedDtype::Fp8E5m2,
            _ => EmbedDtype::Float32,
        };
        let endianness = match fields.choice("endianness", &["native", "big", "little"]) {
            Some("big") => Endianness::Big,
            Some("little") => Endianness::Little,
            _ => Endianness::Native,
        };
        Self { dtype, endianness }
    }

    /// How many bytes a number takes.
    pub fn width(self) -> usize {
        match self.dtype {
            EmbedDtype::Float32 => 4,
            EmbedDtype::Float16 | EmbedDtype::Bfloat16 => 2,
            EmbedDtype::Fp8E4m3 | EmbedDtype::Fp8E5m2 => 1,
        }
    }

    /// The number format, as requests name it.
    pub fn dtype_name(self) -> &'static str {
        match self.dtype {
            EmbedDtype::Float32 => "float32",
            EmbedDtype::Float16 => "float16",
            EmbedDtype::Bfloat16 => "bfloat16",
            EmbedDtype::Fp8E4m3 => "fp8_e4m3",
            EmbedDtype::Fp8E5m2 => "fp8_e5m2",
        }
    }

    /// The byte order, as requests name it.
    pub fn endianness_name(self) -> &'static str {
        match self.endianness {
            Endianness::Native => "native",
            Endianness::Big => "big",
            Endianness::Little => "little",
        }
    }

    /// The bytes of `number`.
    pub fn bytes(self, number: f32) -> Vec<u8> {
        let mut bytes = match self.dtype {
            EmbedDtype::Float32 => number.to_le_bytes().to_vec(),
            EmbedDtype::Float16 => half::f16::from_f32(number).to_le_bytes().to_vec(),
            EmbedDtype::Bfloat16 => half::bf16::from_f32(number).to_le_bytes().to_vec(),
            // Without infinities: what exceeds 448 by more than half a step is not a number.
            EmbedDtype::Fp8E4m3 => vec![fp8(number, 3, 0x7e, 0x7f)],
            EmbedDtype::Fp8E5m2 => vec![fp8(number, 2, 0x7b, 0x7c)],
        };
        let is_big = match self.endianness {
            Endianness::Native => cfg!(target_endian = "big"),
            Endianness::Big => true,
            Endianness::Little => false,
        };
        if is_big {
            bytes.reverse();
        }
        bytes
    }

    /// The bytes of `number` in base64.
    pub fn base64(self, number: f32) -> String {
        BASE64_STANDARD.encode(self.bytes(number))
    }
}

/// The nearest float of 8 bits, of which `mantissa` are the fraction's: the one with the even code if two are as near.
/// `largest` is the code of the largest finite number, `beyond` stands for all above.
fn fp8(number: f32, mantissa: u32, largest: u8, beyond: u8) -> u8 {
    let (sign, size) = (if number.is_sign_negative() { 0x80 } else { 0 }, f64::from(number).abs());
    if number.is_nan() {
        return sign | 0x7f;
    }
    let bias = (1 << (6 - mantissa)) - 1;
    let value = |code: u8| {
        let (exponent, fraction) = (i32::from(code >> mantissa), f64::from(code & ((1 << mantissa) - 1)));
        let fraction = fraction / f64::from(1u32 << mantissa);
        match exponent {
            0 => fraction * f64::from(1 - bias).exp2(),
            _ => (1.0 + fraction) * f64::from(exponent - bias).exp2(),
        }
    };
    let above = (0..=largest).find(|code| value(*code) >= size);
    let code = match above {
        Some(0) => 0,
        Some(above) => {
            let (down, up) = (size - value(above - 1), value(above) - size);
            if up < down || (up == down && above.is_multiple_of(2)) { above } else { above - 1 }
        }
        None => {
            let step = value(largest) - value(largest - 1);
            let over = size - value(largest);
            if over < step / 2.0 || (over == step / 2.0 && largest.is_multiple_of(2)) { largest } else { beyond }
        }
    };
    sign | code
}

#[cfg(test)]
mod tests {
    use super::*;

    fn format(dtype: EmbedDtype, endianness: Endianness) -> NumberFormat {
        NumberFormat { dtype, endianness }
    }

    #[test]
    fn numbers_have_the_bytes_that_pytorch_gives_them() {
        for (dtype, number, little) in [
            (EmbedDtype::Float32, 0.411_638_83, vec![0x53, 0xc2, 0xd2, 0x3e]),
            (EmbedDtype::Float16, 0.411_638_83, vec![0x96, 0x36]),
            (EmbedDtype::Bfloat16, 0.411_638_83, vec![0xd3, 0x3e]),
            (EmbedDtype::Fp8E4m3, 0.411_638_83, vec![0x2d]),
            (EmbedDtype::Fp8E5m2, 0.411_638_83, vec![0x37]),
            (EmbedDtype::Fp8E4m3, -0.357_194_66, vec![0xab]),
            (EmbedDtype::Fp8E4m3, 448.0, vec![0x7e]),
            (EmbedDtype::Fp8E4m3, 464.0, vec![0x7e]),
            (EmbedDtype::Fp8E4m3, 465.0, vec![0x7f]),
            (EmbedDtype::Fp8E5m2, 57344.0, vec![0x7b]),
            (EmbedDtype::Fp8E5m2, 61440.0, vec![0x7c]),
            (EmbedDtype::Fp8E5m2, 0.0, vec![0x00]),
            (EmbedDtype::Fp8E4m3, 1.0, vec![0x38]),
            (EmbedDtype::Fp8E5m2, 1.0, vec![0x3c]),
        ] {
            let name = format(dtype, Endianness::Little);
            assert_eq!(name.bytes(number), little, "{number} as {}", name.dtype_name());
            let mut big = little.clone();
            big.reverse();
            assert_eq!(format(dtype, Endianness::Big).bytes(number), big);
            assert_eq!(
                format(dtype, Endianness::Native).bytes(number),
                if cfg!(target_endian = "big") { big } else { little }
            );
        }
    }

    #[test]
    fn an_fp8_is_the_nearest_of_all() {
        for mantissa in [2, 3] {
            let (largest, beyond) = if mantissa == 3 { (0x7e, 0x7f) } else { (0x7b, 0x7c) };
            let codes: Vec<u8> = (0..100).map(|i| fp8(i as f32 / 99.0, mantissa, largest, beyond)).collect();
            assert!(codes.is_sorted(), "{codes:?}");
            assert!(codes[99] > codes[50] && codes[0] == 0);
        }
    }
}
