//! Whether the numbers of a checkpoint can be a model's: those that a copy which was cut or damaged leaves behind can't.
//!
//! Beginning, middle and end of each tensor are looked at, some pages of it: a file that has its length but not its data
//! ends in zeros, over whole tensors as a rule. Every number of a matrix is looked at when it is packed. Called by
//! `Checkpoint`.

use super::fault::fail;
use super::names::{EMBEDDING, OUTPUT};
use super::shards::TensorPlace;
use super::tensor::{Dtype, widen};
use crate::error::Error;
use std::path::Path;

/// Bytes that are looked at in one place; smaller tensors are looked at wholly.
const SAMPLE: usize = 16 << 10;

/// At most one error for tensors of zeros, and one for numbers that are none.
pub fn problems<'p>(tensors: impl Iterator<Item = (&'p String, &'p TensorPlace)>) -> Vec<Error> {
    let (mut empty, mut broken) = (Vec::new(), Vec::new());
    for (name, place) in tensors {
        match Samples::of(place) {
            samples if samples.are_zero(name) => empty.push((place, name)),
            samples if !samples.are_finite(place.dtype) => broken.push((place, name)),
            _ => {}
        }
    }
    let problem = |found: Vec<(&TensorPlace, &String)>, what: &str| {
        let (place, name) = found.first()?;
        let more = if found.len() > 1 { format!(", and {} more", found.len() - 1) } else { String::new() };
        let advice = "the file is damaged or was not copied to its end; fetch it again";
        Some(fail(Path::new(&place.file), format!("has {what} in tensor {name}{more}: {advice}")))
    };
    let zeros = problem(empty, "nothing but zeros");
    zeros.into_iter().chain(problem(broken, "NaN or infinity")).collect()
}

/// Beginning, middle and end of a tensor.
struct Samples<'p>([&'p [u8]; 3]);

impl<'p> Samples<'p> {
    fn of(place: &'p TensorPlace) -> Self {
        let bytes = &place.map[place.start..place.start + place.bytes];
        let length = bytes.len().min(SAMPLE);
        // A sample is a whole number of any type's numbers, and begins with one.
        let middle = (bytes.len() - length) / 2 / 4 * 4;
        Self([0, middle, bytes.len() - length].map(|start| &bytes[start..start + length]))
    }

    /// Whether the tensor `name` can't be a model's. The embedding may end in rows of tokens that were never trained,
    /// and a bias may be zero.
    fn are_zero(&self, name: &str) -> bool {
        let [beginning, middle, end] = self.0.map(|sample| sample.iter().all(|&byte| byte == 0));
        match name {
            EMBEDDING | OUTPUT => middle && (beginning || end),
            bias if bias.ends_with(".bias") => false,
            _ => end || beginning && middle,
        }
    }

    fn are_finite(&self, dtype: Dtype) -> bool {
        let mut numbers = vec![0.0; SAMPLE / dtype.bytes()];
        self.0.iter().all(|sample| {
            let numbers = &mut numbers[..sample.len() / dtype.bytes()];
            widen(sample, dtype, numbers);
            numbers.iter().all(|number| number.is_finite())
        })
    }
}
