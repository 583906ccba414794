//! Scores as bytes: the number formats, byte orders and header texts that vLLM's clients decode.
//!
//! Called by `pooling`.

use super::fields::Fields;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::ser::Formatter;
use std::io;

/// The form of the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// JSON numbers.
    Float,
    /// JSON strings.
    Base64,
    /// Bytes, described in a header.
    Bytes,
    /// Bytes alone.
    BytesOnly,
}

impl Format {
    /// `encoding_format`.
    pub fn from_fields(fields: &mut Fields<'_>) -> Self {
        match fields.choice("encoding_format", &["float", "base64", "bytes", "bytes_only"]) {
            Some("base64") => Self::Base64,
            Some("bytes") => Self::Bytes,
            Some("bytes_only") => Self::BytesOnly,
            _ => Self::Float,
        }
    }
}

/// How a number is written in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encoding {
    dtype: Dtype,
    endianness: Endianness,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dtype {
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

impl Encoding {
    /// `embed_dtype` and `endianness`.
    pub fn from_fields(fields: &mut Fields<'_>) -> Self {
        let dtype = match fields.choice("embed_dtype", &["float32", "float16", "bfloat16", "fp8_e4m3", "fp8_e5m2"]) {
            Some("float16") => Dtype::Float16,
            Some("bfloat16") => Dtype::Bfloat16,
            Some("fp8_e4m3") => Dtype::Fp8E4m3,
            Some("fp8_e5m2") => Dtype::Fp8E5m2,
            _ => Dtype::Float32,
        };
        let endianness = match fields.choice("endianness", &["native", "big", "little"]) {
            Some("big") => Endianness::Big,
            Some("little") => Endianness::Little,
            _ => Endianness::Native,
        };
        Self { dtype, endianness }
    }

    /// Bytes of a number.
    pub fn width(self) -> usize {
        match self.dtype {
            Dtype::Float32 => 4,
            Dtype::Float16 | Dtype::Bfloat16 => 2,
            Dtype::Fp8E4m3 | Dtype::Fp8E5m2 => 1,
        }
    }

    /// The number format, as requests name it.
    pub fn dtype_name(self) -> &'static str {
        match self.dtype {
            Dtype::Float32 => "float32",
            Dtype::Float16 => "float16",
            Dtype::Bfloat16 => "bfloat16",
            Dtype::Fp8E4m3 => "fp8_e4m3",
            Dtype::Fp8E5m2 => "fp8_e5m2",
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

    /// `number` in bytes.
    pub fn bytes(self, number: f32) -> Vec<u8> {
        let mut bytes = match self.dtype {
            Dtype::Float32 => number.to_le_bytes().to_vec(),
            Dtype::Float16 => half::f16::from_f32(number).to_le_bytes().to_vec(),
            Dtype::Bfloat16 => half::bf16::from_f32(number).to_le_bytes().to_vec(),
            // Without infinities: what exceeds 448 by more than half a step is not a number.
            Dtype::Fp8E4m3 => vec![fp8(number, 3, 0x7e, 0x7f)],
            Dtype::Fp8E5m2 => vec![fp8(number, 2, 0x7b, 0x7c)],
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

    /// The same in base64.
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

/// JSON as Python's `json.dumps` writes it: a space behind commas and colons, and ASCII only, as headers need it.
pub fn python_json(value: &impl Serialize) -> String {
    let mut bytes = Vec::new();
    let written = value.serialize(&mut serde_json::Serializer::with_formatter(&mut bytes, PythonFormatter));
    debug_assert!(written.is_ok(), "strings and numbers can be written into memory");
    bytes.into_iter().map(char::from).collect()
}

struct PythonFormatter;

impl Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(b", ") }
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut units = [0; 2];
        for c in fragment.chars() {
            match c {
                ' '..='~' => writer.write_all(&[c as u8])?,
                _ => c.encode_utf16(&mut units).iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoding(dtype: Dtype, endianness: Endianness) -> Encoding {
        Encoding { dtype, endianness }
    }

    #[test]
    fn numbers_have_the_bytes_that_pytorch_gives_them() {
        for (dtype, number, little) in [
            (Dtype::Float32, 0.411_638_83, vec![0x53, 0xc2, 0xd2, 0x3e]),
            (Dtype::Float16, 0.411_638_83, vec![0x96, 0x36]),
            (Dtype::Bfloat16, 0.411_638_83, vec![0xd3, 0x3e]),
            (Dtype::Fp8E4m3, 0.411_638_83, vec![0x2d]),
            (Dtype::Fp8E5m2, 0.411_638_83, vec![0x37]),
            (Dtype::Fp8E4m3, -0.357_194_66, vec![0xab]),
            (Dtype::Fp8E4m3, 448.0, vec![0x7e]),
            (Dtype::Fp8E4m3, 464.0, vec![0x7e]),
            (Dtype::Fp8E4m3, 465.0, vec![0x7f]),
            (Dtype::Fp8E5m2, 57344.0, vec![0x7b]),
            (Dtype::Fp8E5m2, 61440.0, vec![0x7c]),
            (Dtype::Fp8E5m2, 0.0, vec![0x00]),
            (Dtype::Fp8E4m3, 1.0, vec![0x38]),
            (Dtype::Fp8E5m2, 1.0, vec![0x3c]),
        ] {
            let name = encoding(dtype, Endianness::Little);
            assert_eq!(name.bytes(number), little, "{number} as {}", name.dtype_name());
            let mut big = little.clone();
            big.reverse();
            assert_eq!(encoding(dtype, Endianness::Big).bytes(number), big);
            assert_eq!(
                encoding(dtype, Endianness::Native).bytes(number),
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

    #[test]
    fn a_header_is_ascii_whatever_the_name_of_the_request() {
        assert_eq!(
            python_json(&serde_json::json!({"a": ["é\u{7f}\n😀", 1], "b": 2})),
            r#"{"a": ["\u00e9\u007f\n\ud83d\ude00", 1], "b": 2}"#
        );
    }
}
