//! The naive f64 twin of every kernel: the oracle of the tests. Slow and obvious.

/// `out[i][j] = sum_p a[i][p] * w[j][p]` for `a` (m, k), `w` (n, k).
pub fn matmul(a: &[f32], w: &[f32], m: usize, n: usize, k: usize) -> Vec<f64> {
    let at = |x: &[f32], i: usize, p: usize| f64::from(x[i * k + p]);
    (0..m * n).map(|ij| (0..k).map(|p| at(a, ij / n, p) * at(w, ij % n, p)).sum()).collect()
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
