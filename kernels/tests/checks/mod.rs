//! Kernels against their f64 twins on given values: what the tests beside this and the fuzz target `kernels` share. The twin
//! is computed once for all CPUs that are checked against it: it takes most of the time, the more so where it is emulated.
//!
//! Invariant: padding is NaN wherever a kernel could read it, and outputs are before they are written, so that what
//! strays shows. Values are in [-1, 1], which the tolerances count on.

use ironrank_kernels::*;
use std::fmt::Display;

/// Each of these ISAs with each of these numbers of threads.
pub fn on_threads(isas: &[Isa], threads: &[usize]) -> Vec<Cpu> {
    let cpu = |isa, threads: usize| Cpu::new(isa, Pool::new(Some(threads), false).expect("threads"));
    isas.iter().flat_map(|&isa| threads.iter().map(move |&threads| cpu(isa, threads))).collect()
}

/// Reproducible values in [-1, 1).
pub fn noise(seed: u64, len: usize) -> Vec<f32> {
    let mut x = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        (x >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// `x` as a left operand whose padding is NaN: reading past the rows shows.
pub fn lhs(cpu: &Cpu, x: &[f32], m: usize, k: usize) -> Lhs {
    let mut lhs = Lhs::new(cpu.isa(), Storage::F32, m, k);
    let poison = vec![f32::NAN; m.next_multiple_of(cpu.isa().mr()) * k];
    cpu.pack_lhs(&poison, k, &mut lhs);
    cpu.pack_lhs(x, k, &mut lhs);
    lhs
}

pub fn weights(cpu: &Cpu, storage: Storage, w: &[f32], n: usize, k: usize) -> Weights {
    Weights::pack(cpu, storage, k, n, |row, out| out.copy_from_slice(&w[row * k..][..k]))
}

/// The value cut off to bfloat16.
pub fn bf16(x: f32) -> f32 {
    f32::from_bits(x.to_bits() & 0xFFFF_0000)
}

/// Such values that are bfloat16 too.
pub fn short_noise(seed: u64, len: usize) -> Vec<f32> {
    noise(seed, len).into_iter().map(bf16).collect()
}

/// The storages that hold these weights as they are.
pub fn storages<'a>(weights: impl IntoIterator<Item = &'a f32>) -> &'static [Storage] {
    match weights.into_iter().all(|&w| bf16(w) == w) {
        true => &[Storage::F32, Storage::Bf16],
        false => &[Storage::F32],
    }
}

/// Every CPU with every such storage.
fn stored<'a>(cpus: &'a [Cpu], storages: &'a [Storage]) -> impl Iterator<Item = (&'a Cpu, Storage)> {
    cpus.iter().flat_map(|cpu| storages.iter().map(move |&storage| (cpu, storage)))
}

#[track_caller]
pub fn assert_close(what: impl Display, cpu: &Cpu, got: f32, want: f64, tolerance: f64) {
    let error = (f64::from(got) - want).abs();
    assert!(
        error <= tolerance,
        "{what} on {:?}: got {got}, want {want}, error {error:.2e} > {tolerance:.2e}",
        cpu.isa()
    );
}

/// Product, and product onto a residual: `a` (m, k), `w` (n, k), in every storage that holds `w`.
pub fn check_matmul(cpus: &[Cpu], a: &[f32], w: &[f32], m: usize, n: usize, k: usize) {
    let want = reference::matmul(a, w, m, n, k);
    // Terms are below 1: k terms err by at most k^2 / 2 ulp, in practice by the square root.
    let tolerance = 1e-7 * (k as f64 + 1.0);
    for (cpu, storage) in stored(cpus, storages(w)) {
        let (a, w) = (lhs(cpu, a, m, k), weights(cpu, storage, w, n, k));
        let mut out = vec![f32::NAN; m * n];
        cpu.matmul(&a, &w, &mut out);
        for (&got, &want) in out.iter().zip(&want) {
            assert_close(format_args!("matmul {m}x{k}x{n}, {storage:?}"), cpu, got, want, tolerance);
        }
        let mut sum = noise(3, m * n);
        let before = sum.clone();
        cpu.matmul_add(&a, &w, &mut sum);
        for ((sum, before), product) in sum.iter().zip(before).zip(out) {
            assert_eq!(*sum, before + product, "the residual is the product plus what stood there");
        }
    }
}

/// The gated product of `x` (m, k) with `gate` and `up` (f, k), its padding included, in every storage that holds them.
pub fn check_gated(cpus: &[Cpu], x: &[f32], gate: &[f32], up: &[f32], [m, f, k]: [usize; 3]) {
    let (g, u) = (reference::matmul(x, gate, m, f, k), reference::matmul(x, up, m, f, k));
    let want: Vec<f64> = g.into_iter().zip(u).map(|(g, u)| reference::silu_mul(g, u)).collect();
    let read = |w: &[f32], row: usize, out: &mut [f32]| out.copy_from_slice(&w[row * k..][..k]);
    for (cpu, storage) in stored(cpus, storages(gate.iter().chain(up))) {
        let w = Weights::pack_gated(cpu, storage, k, f, |r, out| read(gate, r, out), |r, out| read(up, r, out));
        let mut out = Lhs::new(cpu.isa(), Storage::F32, m, f.next_multiple_of(NR));
        cpu.matmul_silu_mul(&lhs(cpu, x, m, k), &w, &mut out);
        for i in 0..m {
            for j in 0..f.next_multiple_of(NR) {
                let want = if j < f { want[i * f + j] } else { 0.0 };
                let tolerance = 1e-6 * (1.0 + want.abs()) * (k as f64).sqrt();
                assert_close(format_args!("silu(gate) * up, {storage:?}"), cpu, out.get(i, j), want, tolerance);
            }
        }
    }
}

/// RMSNorm of the rows of `x` (m, k), as a matrix and one by one.
pub fn check_rms_norm(cpus: &[Cpu], x: &[f32], weight: &[f32], m: usize) {
    let k = weight.len();
    let twin = |row: &[f32]| reference::rms_norm(&row.iter().map(|&x| x.into()).collect::<Vec<_>>(), weight, 1e-6);
    let want: Vec<Vec<f64>> = x.chunks_exact(k).map(twin).collect();
    let norm = RmsNorm { weight, eps: 1e-6 };
    for cpu in cpus {
        let mut out = Lhs::new(cpu.isa(), Storage::F32, m, k);
        cpu.rms_norm(x, norm, &mut out);
        for (i, (row, want)) in x.chunks_exact(k).zip(&want).enumerate() {
            let mut vector = vec![f32::NAN; k];
            cpu.rms_norm_vector(row, norm, &mut vector);
            for p in 0..k {
                assert_close("rms_norm", cpu, out.get(i, p), want[p], 1e-6 * (1.0 + want[p].abs()));
                assert_eq!(vector[p], out.get(i, p), "one vector and a matrix of rows agree");
            }
        }
    }
}

/// One sequence's projections, query heads, then key heads, then value heads in a row.
pub struct Sequence {
    pub qkv: Vec<f32>,
    pub len: usize,
}

/// Base of the rotary embedding.
pub const THETA: f64 = 1e6;

/// Attention outputs `[token][head * d + c]` of one sequence in f64.
pub fn attention_reference(shape: AttentionShape, x: &Sequence, q_norm: &[f32], k_norm: &[f32]) -> Vec<Vec<f64>> {
    let AttentionShape { heads, kv_heads, head_dim: d } = shape;
    let stride = (heads + 2 * kv_heads) * d;
    let head = |t: usize, h: usize| x.qkv[t * stride + h * d..][..d].iter().map(|&x| f64::from(x)).collect::<Vec<_>>();
    let turned = |h: usize, norm: &[f32]| -> Vec<Vec<f64>> {
        (0..x.len).map(|t| reference::rope(&reference::rms_norm(&head(t, h), norm, 1e-6), t, THETA)).collect()
    };
    let mut out = vec![Vec::new(); x.len];
    for h in 0..heads {
        let kv = h / (heads / kv_heads);
        let values: Vec<_> = (0..x.len).map(|t| head(t, heads + kv_heads + kv)).collect();
        let o = reference::attention(&turned(h, q_norm), &turned(heads + kv, k_norm), &values);
        out.iter_mut().zip(o).for_each(|(row, o)| row.extend(o));
    }
    out
}

/// The same on `cpu`, the sequences side by side in one batch and cut into runs of at most `chunk` tokens.
pub fn attention_batch(
    cpu: &Cpu,
    shape: AttentionShape,
    batch: &[&Sequence],
    q_norm: &[f32],
    k_norm: &[f32],
    chunk: usize,
) -> Vec<Vec<Vec<f32>>> {
    let AttentionShape { heads, kv_heads, head_dim: d } = shape;
    let stride = (heads + 2 * kv_heads) * d;
    let longest = batch.iter().map(|x| x.len).max().unwrap_or(0);
    let rope = Rope::new(THETA, d, longest);
    let mut tables = Vec::new();
    let mut used = 0;
    for x in batch.iter().rev() {
        let blocks = x.len.div_ceil(KV_BLOCK) as u32;
        tables.push((used..used + blocks).collect::<Vec<u32>>());
        used += blocks;
    }
    tables.reverse();
    let mut kv = KvBlocks::new(cpu.isa(), shape, used as usize);
    poison(cpu, shape, used, &mut kv);
    let mut result: Vec<Vec<Vec<f32>>> = batch.iter().map(|_| Vec::new()).collect();
    for at in (0..longest).step_by(chunk) {
        let (mut rows, mut runs, mut owners) = (Vec::new(), Vec::new(), Vec::new());
        for (i, x) in batch.iter().enumerate() {
            let tokens = at.min(x.len)..x.len.min(at + chunk);
            let first = rows.len() / stride;
            rows.extend_from_slice(&x.qkv[tokens.start * stride..tokens.end * stride]);
            if !tokens.is_empty() {
                runs.push(Run { rows: first..first + tokens.len(), start: at, blocks: &tables[i] });
                owners.push(i);
            }
        }
        let m = rows.len() / stride;
        let columns = |column| Heads { data: &rows, stride, column };
        let prepare = |weight| QkNormRope { norm: RmsNorm { weight, eps: 1e-6 }, rope: &rope };
        let pieces: Vec<KvPiece> = runs.iter().flat_map(Run::pieces).collect();
        cpu.store_kv(columns(heads * d), columns((heads + kv_heads) * d), Some(prepare(k_norm)), &pieces, &mut kv);
        let mut out = Lhs::new(cpu.isa(), Storage::F32, m, heads * d);
        cpu.attention(shape, columns(0), prepare(q_norm), &runs, &kv, &mut out);
        for (run, i) in runs.iter().zip(owners) {
            result[i].extend(run.rows.clone().map(|row| (0..heads * d).map(|p| out.get(row, p)).collect()));
        }
    }
    result
}

/// Fills all blocks with NaN: attention that reads past the stored keys shows.
fn poison(cpu: &Cpu, shape: AttentionShape, blocks: u32, kv: &mut KvBlocks) {
    let columns = shape.kv_heads * shape.head_dim;
    let rows = vec![f32::NAN; blocks as usize * KV_BLOCK * columns];
    let piece =
        |block| KvPiece { rows: block as usize * KV_BLOCK..(block as usize + 1) * KV_BLOCK, position: 0, block };
    let pieces: Vec<KvPiece> = (0..blocks).map(piece).collect();
    let heads = Heads { data: &rows, stride: columns, column: 0 };
    cpu.store_kv(heads, heads, None, &pieces, kv);
}

/// Attention of one sequence, in one run.
pub fn check_attention(cpus: &[Cpu], shape: AttentionShape, x: &Sequence, norm: &[f32]) {
    let want = attention_reference(shape, x, norm, norm);
    for cpu in cpus {
        let got = attention_batch(cpu, shape, &[x], norm, norm, usize::MAX / 2);
        for (got, want) in got[0].iter().flatten().zip(want.iter().flatten()) {
            assert_close(format_args!("attention {shape:?}, {} tokens", x.len), cpu, *got, *want, 3e-5);
        }
    }
}
