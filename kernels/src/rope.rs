//! Rotary position embedding: pairs of channels (i, i + d/2) turn by the angle `position * theta^(-2i/d)`.
//!
//! Angles are rounded as Hugging Face transformers rounds them (inverse frequency, then angle, in f32): at position
//! 2,000 an exact angle would differ by 1e-4, more than every other rounding of the forward pass.
//! Source: Su et al., "RoFormer"; the half-split pairing of GPT-NeoX.

use crate::buffer::Buffer;
use crate::isa::Simd;

/// Cosines and sines of every position below a limit.
pub struct Rope {
    /// Per position `half` cosines, then `half` sines.
    table: Buffer,
    half: usize,
}

impl Rope {
    /// Tables for `positions` positions of heads of `head_dim` channels (even).
    pub fn new(theta: f64, head_dim: usize, positions: usize) -> Self {
        assert!(head_dim.is_multiple_of(2), "a head of {head_dim} channels has no pairs");
        let half = head_dim / 2;
        let inverse: Vec<f32> = (0..half)
            .map(|i| {
                let exponent = (2 * i) as f32 / head_dim as f32;
                1.0 / theta.powf(f64::from(exponent)) as f32
            })
            .collect();
        let mut table = Buffer::zeroed(positions * head_dim);
        for (position, row) in table.chunks_exact_mut(head_dim.max(1)).enumerate() {
            let (cos, sin) = row.split_at_mut(half);
            for (i, inverse) in inverse.iter().enumerate() {
                let (s, c) = f64::from(position as f32 * inverse).sin_cos();
                (cos[i], sin[i]) = (c as f32, s as f32);
            }
        }
        Self { table, half }
    }

    /// Channels of the heads it is for.
    pub(crate) fn head_dim(&self) -> usize {
        2 * self.half
    }

    /// Bytes in memory.
    pub fn bytes(&self) -> usize {
        self.table.len() * size_of::<f32>()
    }

    /// Turns one head in place: `x[i] cos - x[i + d/2] sin` and `x[i + d/2] cos + x[i] sin`.
    #[inline(always)]
    pub(crate) fn rotate<S: Simd>(&self, s: S, position: usize, x: &mut [f32]) {
        let (low, high) = x.split_at_mut(self.half);
        let (cos, sin) = self.table[position * 2 * self.half..][..2 * self.half].split_at(self.half);
        let whole = self.half / S::LANES * S::LANES;
        for i in (0..whole).step_by(S::LANES) {
            let (a, b) = (s.load(&low[i..]), s.load(&high[i..]));
            let (c, d) = (s.load(&cos[i..]), s.load(&sin[i..]));
            s.store(s.sub(s.mul(a, c), s.mul(b, d)), &mut low[i..]);
            s.store(s.add(s.mul(b, c), s.mul(a, d)), &mut high[i..]);
        }
        for i in whole..self.half {
            let (a, b) = (low[i], high[i]);
            low[i] = a * cos[i] - b * sin[i];
            high[i] = b * cos[i] + a * sin[i];
        }
    }
}
