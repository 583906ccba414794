//! The naive f64 twin of every kernel: the oracle of the tests. Slow and obvious.

/// `out[i][j] = sum_p a[i][p] * w[j][p]` for `a` (m, k), `w` (n, k).
pub fn matmul(a: &[f32], w: &[f32], m: usize, n: usize, k: usize) -> Vec<f64> {
    let at = |x: &[f32], i: usize, p: usize| f64::from(x[i * k + p]);
    (0..m * n).map(|ij| (0..k).map(|p| at(a, ij / n, p) * at(w, ij % n, p)).sum()).collect()
}

/// How numbers become integers.
#[derive(Clone, Copy)]
pub struct Integers {
    /// The largest.
    pub limit: u16,
    /// Depth of a block.
    pub block: usize,
    /// Whether a block's values are mixed by eights before they are rounded.
    pub mixed: bool,
}

impl Integers {
    /// Those of [`crate::Storage::I16`].
    pub const I16: Self = Self { limit: 2047, block: 256, mixed: false };
    /// Those of [`crate::Storage::I8`].
    pub const I8: Self = Self { limit: 127, block: 128, mixed: true };
}

/// The same of integers, to the bit: both sides become integers in blocks of the depth, block after block their exact sum
/// times the product of its scales is added in f32, `fused` with one rounding or else with two.
pub fn matmul_integers(a: &[f32], w: &[f32], [m, n, k]: [usize; 3], integers: Integers, fused: bool) -> Vec<f32> {
    let quantized = |x: &[f32]| -> Vec<(f32, Vec<i64>)> {
        let blocks = x.chunks(k.max(1)).flat_map(|row| row.chunks(integers.block));
        blocks.map(|block| quantize(block, integers)).collect()
    };
    let (a, mut w, blocks) = (quantized(a), quantized(w), k.div_ceil(integers.block));
    if integers.mixed {
        w.iter_mut().for_each(|(scale, _)| *scale /= 8.0);
    }
    let element = |i: usize, j: usize| {
        let mut sum = 0.0_f32;
        for (b, ((x, a), (y, w))) in a[i * blocks..][..blocks].iter().zip(&w[j * blocks..][..blocks]).enumerate() {
            let (exact, scale) = (a.iter().zip(w).map(|(a, w)| a * w).sum::<i64>(), x * y);
            sum = match b {
                0 => exact as f32 * scale,
                _ if fused => (exact as f32).mul_add(scale, sum),
                _ => exact as f32 * scale + sum,
            };
        }
        sum
    };
    (0..m * n).map(|ij| element(ij / n, ij % n)).collect()
}

/// A block's scale and its integers.
fn quantize(values: &[f32], Integers { limit, block, mixed }: Integers) -> (f32, Vec<i64>) {
    let values = if mixed { mix(values, block) } else { values.to_vec() };
    let largest = values.iter().fold(0.0_f32, |largest, x| largest.max(x.abs()));
    let scale = largest / f32::from(limit);
    if scale < f32::MIN_POSITIVE {
        return (0.0, vec![0; values.len()]);
    }
    let inverse = 1.0 / scale;
    let integers = values.iter().map(|x| (x * inverse).round_ties_even() as i64).collect();
    (scale, integers)
}

/// A block, filled up with zeros to `depth`, its values `j`, `j + n / 8` and so on mixed by the Walsh-Hadamard transform.
fn mix(block: &[f32], depth: usize) -> Vec<f32> {
    let mut x = block.to_vec();
    x.resize(depth, 0.0);
    let n = x.len() / 8;
    for bit in [1, 2, 4] {
        let mixed = |i: usize| {
            let other = x[((i / n) ^ bit) * n + i % n];
            if (i / n) & bit == 0 { x[i] + other } else { other - x[i] }
        };
        x = (0..x.len()).map(mixed).collect();
    }
    x
}

/// `x / sqrt(mean(x^2) + eps) * weight` of one vector.
pub fn rms_norm(x: &[f64], weight: &[f32], eps: f64) -> Vec<f64> {
    let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
    x.iter().zip(weight).map(|(x, &w)| x / (mean + eps).sqrt() * f64::from(w)).collect()
}

/// One head turned to `position`; the angle is rounded to f32 as in [`crate::Rope`].
pub fn rope(x: &[f64], position: usize, theta: f64) -> Vec<f64> {
    let (d, half) = (x.len(), x.len() / 2);
    (0..d)
        .map(|c| {
            let i = c % half;
            let inverse = 1.0 / theta.powf(f64::from((2 * i) as f32 / d as f32)) as f32;
            let (sin, cos) = f64::from(position as f32 * inverse).sin_cos();
            if c < half { x[i] * cos - x[i + half] * sin } else { x[c] * cos + x[i] * sin }
        })
        .collect()
}

/// `silu(gate) * up`.
pub fn silu_mul(gate: f64, up: f64) -> f64 {
    gate / (1.0 + (-gate).exp()) * up
}

/// Causal attention of one head: `q`, `k`, `v` hold one vector a position, already normalised and rotated.
pub fn attention(q: &[Vec<f64>], k: &[Vec<f64>], v: &[Vec<f64>]) -> Vec<Vec<f64>> {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    q.iter()
        .enumerate()
        .map(|(t, q)| {
            let scores: Vec<f64> = k[..=t].iter().map(|k| dot(q, k) / (q.len() as f64).sqrt()).collect();
            let maximum = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let weights: Vec<f64> = scores.iter().map(|s| (s - maximum).exp()).collect();
            let sum: f64 = weights.iter().sum();
            (0..q.len()).map(|c| weights.iter().zip(v).map(|(w, v)| w * v[c]).sum::<f64>() / sum).collect()
        })
        .collect()
}
