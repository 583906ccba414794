//! What the numbers of an embedding model mean: a sequence's row is the state of its last token, and vectors are made of that.
//!
//! Invariant: lengths are computed in f64 and every component is rounded once. Used by the server and by commands; the
//! engine moves rows and does not know.

/// The vector of a state: its first `dimensions` numbers, or all of them, with length 1 where `normalize` says so. A vector
/// of zeros has no direction and stays as it is.
///
/// # Panics
/// If there are fewer numbers than `dimensions`.
pub fn vector(state: &[f32], dimensions: Option<usize>, normalize: bool) -> Vec<f32> {
    let part = &state[..dimensions.unwrap_or(state.len())];
    let length = dot(part, part).sqrt();
    match normalize && length > 0.0 {
        true => part.iter().map(|&x| (f64::from(x) / length) as f32).collect(),
        false => part.to_vec(),
    }
}

/// The cosine of the angle between two vectors of any length; 0 if one of them has no direction.
pub fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let lengths = (dot(a, a) * dot(b, b)).sqrt();
    if lengths > 0.0 { (dot(a, b) / lengths) as f32 } else { 0.0 }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vector_is_sliced_before_it_is_normalised() {
        let state = [3.0, -4.0, 12.0];
        assert_eq!(vector(&state, Some(2), true), [0.6, -0.8]);
        assert_eq!(vector(&state, Some(2), false), [3.0, -4.0]);
        assert_eq!(vector(&state, None, true), [3.0 / 13.0, -4.0 / 13.0, 12.0 / 13.0]);
    }

    #[test]
    fn neither_huge_numbers_nor_zeros_make_a_vector_none() {
        assert_eq!(vector(&[1e30, 0.0], None, true), [1.0, 0.0]);
        assert_eq!(vector(&[1e-30, 0.0], None, true), [1.0, 0.0]);
        assert_eq!(vector(&[0.0, -0.0], None, true), [0.0, 0.0]);
        assert_eq!(cosine(&[1e30, 0.0], &[1e30, 1e30]), std::f32::consts::FRAC_1_SQRT_2);
        assert_eq!(cosine(&[0.0, 0.0], &[1.0, 1.0]), 0.0);
        assert_eq!(cosine(&[0.6, -0.8], &[0.6, -0.8]), 1.0);
        assert_eq!(cosine(&[2.0, 0.0], &[-1.0, 0.0]), -1.0);
    }
}
