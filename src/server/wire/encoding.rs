//! Rows of numbers in answers: as JSON, in base64 or as bytes, in the number formats and byte orders that vLLM's clients
//! decode.
//!
//! Invariant: a row is written straight from the float32s that the model gave, with no copy of it in between. Called by
//! the routes that answer with rows: a score is a row of one.

use super::fields::Fields;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};
use std::borrow::Cow;
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{AnyOfBuilder, ArrayBuilder, ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

/// The form of an answer: `encoding_format`, with what goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// JSON, with rows of this form.
    Json(RowForm),
    /// Bytes.
    Bytes {
        /// What they are.
        numbers: NumberFormat,
        /// Whether a header describes them.
        described: bool,
    },
}

/// The form of a row in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowForm {
    /// A list of numbers.
    Numbers,
    /// Its bytes as a string.
    Base64(NumberFormat),
    /// A bit for each number, whether it is not negative, eight to a byte of -128 to 127, the first the highest.
    Binary,
    /// The same with bytes of 0 to 255.
    Ubinary,
}

impl Form {
    /// Reads the fields; lists of numbers unless they say otherwise.
    pub fn from_fields(fields: &mut Fields<'_>) -> Self {
        let numbers = NumberFormat::from_fields(fields);
        match fields.choice("encoding_format", &["float", "base64", "bytes", "bytes_only"]) {
            Some("base64") => Self::Json(RowForm::Base64(numbers)),
            Some("bytes") => Self::Bytes { numbers, described: true },
            Some("bytes_only") => Self::Bytes { numbers, described: false },
            _ => Self::Json(RowForm::Numbers),
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
    /// float32, the first byte lowest.
    pub const LITTLE: Self = Self { dtype: EmbedDtype::Float32, endianness: Endianness::Little };

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

    /// The bytes of `row`.
    pub fn bytes(self, row: &[f32]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.width() * row.len());
        match self.dtype {
            EmbedDtype::Float32 => self.write(row, &mut bytes, f32::to_le_bytes),
            EmbedDtype::Float16 => self.write(row, &mut bytes, |number| half::f16::from_f32(number).to_le_bytes()),
            EmbedDtype::Bfloat16 => self.write(row, &mut bytes, |number| half::bf16::from_f32(number).to_le_bytes()),
            // Without infinities: what exceeds 448 by more than half a step is not a number.
            EmbedDtype::Fp8E4m3 => self.write(row, &mut bytes, |number| [fp8(number, 3, 0x7e, 0x7f)]),
            EmbedDtype::Fp8E5m2 => self.write(row, &mut bytes, |number| [fp8(number, 2, 0x7b, 0x7c)]),
        }
        bytes
    }

    /// Appends what `little` makes of each number, in the order of bytes that was asked for.
    fn write<const WIDTH: usize>(self, row: &[f32], bytes: &mut Vec<u8>, little: impl Fn(f32) -> [u8; WIDTH]) {
        let is_big = match self.endianness {
            Endianness::Native => cfg!(target_endian = "big"),
            Endianness::Big => true,
            Endianness::Little => false,
        };
        for &number in row {
            let mut number = little(number);
            if is_big {
                number.reverse();
            }
            bytes.extend_from_slice(&number);
        }
    }
}

/// A row in an answer that is JSON.
#[derive(Debug)]
pub struct Row<'a> {
    numbers: &'a [f32],
    form: RowForm,
}

impl<'a> Row<'a> {
    /// A row of these numbers in this form.
    pub fn new(numbers: &'a [f32], form: RowForm) -> Self {
        Self { numbers, form }
    }

    /// Its bits, eight to a byte.
    fn bits(&self) -> impl Iterator<Item = u8> {
        let byte =
            |eight: &[f32]| eight.iter().enumerate().fold(0, |byte, (i, &x)| byte | u8::from(x >= 0.0) << (7 - i));
        self.numbers.chunks(8).map(byte)
    }
}

impl Serialize for Row<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.form {
            // Widened, so that the digits are vLLM's.
            RowForm::Numbers => serializer.collect_seq(self.numbers.iter().map(|&number| f64::from(number))),
            RowForm::Base64(format) => serializer.serialize_str(&BASE64_STANDARD.encode(format.bytes(self.numbers))),
            RowForm::Binary => serializer.collect_seq(self.bits().map(|byte| i16::from(byte) - 128)),
            RowForm::Ubinary => serializer.collect_seq(self.bits()),
        }
    }
}

impl ToSchema for Row<'_> {
    fn name() -> Cow<'static, str> {
        "Row".into()
    }
}

impl PartialSchema for Row<'_> {
    fn schema() -> RefOr<Schema> {
        let number = ObjectBuilder::new().schema_type(Type::Number);
        let bytes = ObjectBuilder::new().schema_type(Type::String).description(Some("Their bytes in base64."));
        let either = AnyOfBuilder::new().item(ArrayBuilder::new().items(number)).item(bytes);
        RefOr::T(Schema::AnyOf(either.description(Some("Numbers, in the form that was asked for.")).build()))
    }
}

/// The nearest float of 8 bits, of which `mantissa` are the fraction's: the one with the even code if two are as near.
/// `largest` is the code of the largest finite number, `beyond` stands for all above.
fn fp8(number: f32, mantissa: i32, largest: u8, beyond: u8) -> u8 {
    let sign = if number.is_sign_negative() { 0x80 } else { 0 };
    if number.is_nan() {
        return sign | 0x7f;
    }
    let (size, bias) = (f64::from(number).abs(), (1 << (6 - mantissa)) - 1);
    // Every float32 is a normal float64; below the smallest exponent steps get no smaller.
    let exponent = ((size.to_bits() >> 52) as i32 - 1023).max(1 - bias);
    let step = f64::from_bits(((exponent - mantissa + 1023) as u64) << 52);
    // So many steps, and the codes before them: a fraction that rounds up to the next power of two carries by itself.
    let code = (size / step).round_ties_even() + f64::from((exponent + bias - 1) << mantissa);
    sign | if code > f64::from(largest) { beyond } else { code as u8 }
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
            assert_eq!(name.bytes(&[number]), little, "{number} as {}", name.dtype_name());
            let mut big = little.clone();
            big.reverse();
            assert_eq!(format(dtype, Endianness::Big).bytes(&[number]), big);
            assert_eq!(
                format(dtype, Endianness::Native).bytes(&[number]),
                if cfg!(target_endian = "big") { big } else { little }
            );
        }
        let row = format(EmbedDtype::Float16, Endianness::Big).bytes(&[1.0, -2.0]);
        assert_eq!(row, [0x3c, 0x00, 0xc0, 0x00], "each number has its own order");
    }

    #[test]
    fn an_fp8_is_the_nearest_of_all() {
        for (mantissa, largest, beyond) in [(3, 0x7e, 0x7f), (2, 0x7b, 0x7c)] {
            let bias = (1 << (6 - mantissa)) - 1;
            let value = |code: u8| {
                let (exponent, fraction) = (i32::from(code >> mantissa), f64::from(code & ((1 << mantissa) - 1)));
                let fraction = fraction / f64::from(1 << mantissa);
                match exponent {
                    0 => fraction * f64::from(1 - bias).exp2(),
                    _ => (1.0 + fraction) * f64::from(exponent - bias).exp2(),
                }
            };
            for code in 0..=largest {
                assert_eq!(fp8(value(code) as f32, mantissa, largest, beyond), code);
                let (next, half) = (value(code + 1), (value(code) + value(code + 1)) / 2.0);
                let even = if code % 2 == 0 { code } else { code + 1 };
                let above = if code < largest { code + 1 } else { beyond };
                assert_eq!(fp8(half as f32, mantissa, largest, beyond), even, "between {code:#x} and the next");
                assert_eq!(fp8((half + (next - half) / 64.0) as f32, mantissa, largest, beyond), above);
                assert_eq!(fp8(-(half - (next - half) / 64.0) as f32, mantissa, largest, beyond), 0x80 | code);
            }
        }
    }

    #[test]
    fn a_row_is_written_in_vllms_digits_in_base64_or_as_bits() {
        let numbers = [-0.030_733_032_f32, 0.000_243_613_3, 1.0];
        let written = |numbers, form| serde_json::to_string(&Row::new(numbers, form)).expect("written");
        assert_eq!(written(&numbers, RowForm::Numbers), "[-0.030733032152056694,0.00024361330724786967,1.0]");
        let little = format(EmbedDtype::Float32, Endianness::Little);
        assert_eq!(written(&[1.0, -2.0], RowForm::Base64(little)), "\"AACAPwAAAMA=\"");
        let bits = [-1.0, 0.0, -1.0, 2.0, -1.0, -1.0, -1.0, 3.0, 1.0, 1.0, 1.0, -0.5, 1.0, -2.0, 1.0, 1.0];
        assert_eq!(
            (written(&bits, RowForm::Ubinary), written(&bits, RowForm::Binary)),
            ("[81,235]".into(), "[-47,107]".into())
        );
    }
}
