//! The integer products: on every ISA, with and without VNNI or SDOT, the integers and the sums of an exact twin, to the bit.

use crate::checks::{noise, on_threads};
use crate::isas;
use ironrank_kernels::*;

/// The integer storages.
const STORAGES: [(Storage, reference::Integers); 2] =
    [(Storage::I16, reference::Integers::I16), (Storage::I8, reference::Integers::I8)];

fn cpus(threads: &[usize]) -> Vec<Cpu> {
    on_threads(&isas(true), threads)
}

/// Whether a multiply-add of this ISA rounds once.
fn is_fused(cpu: &Cpu) -> bool {
    match cpu.isa().name() {
        "avx512-amx" | "avx512-vnni" | "avx512" | "avx2-vnni" | "avx2-vnni-evex" | "avx2" | "neon-dotprod" | "neon" => {
            true
        }
        "avx" | "sse2" | "portable" => false,
        name => panic!("does {name} fuse?"),
    }
}

fn lhs(cpu: &Cpu, storage: Storage, x: &[f32], k: usize) -> Lhs {
    let m = x.len() / k;
    let mut lhs = Lhs::new(cpu.isa(), storage, m, k);
    // Rows past the last, which must not be read, hold other integers and scales that are none.
    let poison: Vec<f32> = noise(9, m.next_multiple_of(lhs.mr()) * k).iter().map(|x| x * f32::MAX).collect();
    cpu.pack_lhs(&poison, k, &mut lhs);
    cpu.pack_lhs(x, k, &mut lhs);
    lhs
}

fn weights(cpu: &Cpu, storage: Storage, w: &[f32], n: usize, k: usize) -> Weights {
    Weights::pack(cpu, storage, k, n, |row, out| out.copy_from_slice(&w[row * k..][..k]))
}

/// Values whose magnitude changes from row to row and along the depth, some blocks nothing but zeros.
fn uneven(seed: u64, rows: usize, k: usize) -> Vec<f32> {
    let mut x = noise(seed, rows * k);
    for (i, x) in x.iter_mut().enumerate() {
        let (row, p) = (i / k, i % k);
        *x *= [1.0, 1e-3, 40.0, 0.0, 1e-20, 1.0][(row + p / 64) % 6];
    }
    x
}

#[test]
fn products_are_those_of_exact_integers_to_the_bit() {
    let cpus = cpus(&[1, 3]);
    let sizes = [1, 2, 3, 5, 6, 7, 11, 12, 13, 24].map(|m| [m, 70, 300]).into_iter();
    let sizes =
        sizes.chain([1, 7, 15, 16, 17, 63, 127, 128, 129, 255, 256, 257, 1000, 1024, 1153, 2049].map(|k| [5, 33, k]));
    for [m, n, k] in sizes.chain([[193, 64, 130], [25, 1, 64], [40, 600, 128]]) {
        let (x, w) = (uneven(1, m, k), uneven(2, n, k));
        for (storage, scheme) in STORAGES {
            let want = [false, true].map(|fused| reference::matmul_integers(&x, &w, [m, n, k], scheme, fused));
            for cpu in &cpus {
                let (a, b) = (lhs(cpu, storage, &x, k), weights(cpu, storage, &w, n, k));
                let mut out = vec![f32::NAN; m * n];
                cpu.matmul(&a, &b, &mut out);
                let want = &want[usize::from(is_fused(cpu))];
                for (at, (got, want)) in out.iter().zip(want).enumerate() {
                    assert!(got == want, "{storage:?} {m}x{k}x{n} on {:?}: {got} at {at}, want {want}", cpu.isa());
                }
                let mut sum = x[..m].iter().cycle().take(m * n).copied().collect::<Vec<f32>>();
                let want: Vec<f32> = sum.iter().zip(&out).map(|(x, y)| x + y).collect();
                cpu.matmul_add(&a, &b, &mut sum);
                assert_eq!(sum, want, "a residual is the product plus what stood there, on {:?}", cpu.isa());
            }
        }
    }
}

#[test]
fn sums_of_the_largest_integers_do_not_overflow() {
    let (m, n, k) = (13, 33, 520);
    for sign in [1.0, -1.0] {
        for (storage, integers) in STORAGES {
            // What is all the same when it is mixed: the first of eight.
            let value = |p: usize, x: f32| if integers.mixed && p % integers.block % 128 >= 16 { 0.0 } else { x };
            let x: Vec<f32> = (0..m * k).map(|i| value(i % k, 3.0)).collect();
            let w: Vec<f32> = (0..n * k).map(|i| value(i % k, sign * 0.25)).collect();
            for cpu in &cpus(&[1]) {
                let mut out = vec![f32::NAN; m * n];
                cpu.matmul(&lhs(cpu, storage, &x, k), &weights(cpu, storage, &w, n, k), &mut out);
                let want = sign * 0.75 * x[..k].iter().filter(|x| **x != 0.0).count() as f32;
                assert!(
                    out.iter().all(|x| (x / want - 1.0).abs() < 1e-6),
                    "{storage:?} on {:?}: {}",
                    cpu.isa(),
                    out[0]
                );
            }
        }
    }
}

#[test]
fn what_is_not_finite_stays_so_and_spoils_its_row_alone() {
    let (m, n, k) = (14, 40, 300);
    for bad in [f32::NAN, f32::INFINITY, -f32::INFINITY] {
        let (mut x, w) = (noise(1, m * k), noise(2, n * k));
        x[5 * k + 299] = bad;
        for (storage, _) in STORAGES {
            for cpu in &cpus(&[1]) {
                let mut out = vec![0.0; m * n];
                cpu.matmul(&lhs(cpu, storage, &x, k), &weights(cpu, storage, &w, n, k), &mut out);
                for (row, out) in out.chunks(n).enumerate() {
                    let finite = out.iter().filter(|x| x.is_finite()).count();
                    assert_eq!(
                        finite,
                        if row == 5 { 0 } else { n },
                        "{storage:?}, {bad}, row {row} on {:?}",
                        cpu.isa()
                    );
                }
            }
        }
    }
}

#[test]
fn a_block_too_small_for_a_scale_is_zeros() {
    for cpu in &cpus(&[1]) {
        for (storage, _) in STORAGES {
            let x = [1e-38_f32, -3e-39, 1e-45, 0.0].repeat(16);
            let (a, b) = (lhs(cpu, storage, &x, 64), weights(cpu, storage, &noise(2, 64 * 5), 5, 64));
            let mut out = vec![f32::NAN; 5];
            cpu.matmul(&a, &b, &mut out);
            assert_eq!(out, [0.0; 5], "{storage:?} on {:?}", cpu.isa());
        }
    }
}

#[test]
fn a_row_has_the_same_bits_alone_and_among_others_and_some_columns_those_of_all() {
    let (m, n, k) = (61, 100, 700);
    for (storage, _) in STORAGES {
        for cpu in &cpus(&[1, 3]) {
            let (x, w) = (uneven(1, m, k), weights(cpu, storage, &noise(2, n * k), n, k));
            let mut all = vec![0.0; m * n];
            cpu.matmul(&lhs(cpu, storage, &x, k), &w, &mut all);
            for row in 0..m {
                let mut one = vec![0.0; n];
                cpu.matmul(&lhs(cpu, storage, &x[row * k..][..k], k), &w, &mut one);
                assert_eq!(one, all[row * n..][..n], "{storage:?}, row {row} on {:?}", cpu.isa());
            }
            for columns in [0..64, 32..96, 96..n, 64..64] {
                let mut some = vec![f32::NAN; m * columns.len()];
                cpu.matmul_columns(&lhs(cpu, storage, &x, k), &w, columns.clone(), &mut some);
                let want = all.chunks(n).flat_map(|row| &row[columns.clone()]);
                assert!(some.iter().eq(want), "{storage:?}, columns {columns:?} on {:?}", cpu.isa());
            }
        }
    }
}

/// The integers of `lhs` are those that its rows make, `rows` being what was to be laid out, as this CPU makes it in f32.
fn assert_packed(cpu: &Cpu, storage: Storage, lhs: &Lhs, rows: &[f32], what: &str) {
    let k = lhs.k();
    let mut want = Lhs::new(cpu.isa(), storage, lhs.rows(), k);
    cpu.pack_lhs(rows, k, &mut want);
    for row in 0..lhs.rows() {
        for p in 0..k {
            let (got, want) = (lhs.get(row, p), want.get(row, p));
            assert!(got == want, "{what}, {storage:?} on {:?}: {got} at ({row}, {p}), want {want}", cpu.isa());
        }
    }
}

/// All values of a left operand of floats.
fn rows_of(lhs: &Lhs) -> Vec<f32> {
    (0..lhs.rows()).flat_map(|row| (0..lhs.k()).map(move |p| lhs.get(row, p))).collect()
}

#[test]
fn norms_attention_and_the_gated_product_make_integers_of_their_results_in_f32() {
    for (storage, _) in STORAGES {
        for cpu in &cpus(&[1, 3]) {
            let (m, k) = (29, 300);
            let (x, weight) = (uneven(1, m, k), noise(2, k));
            let norm = RmsNorm { weight: &weight, eps: 1e-6 };
            let mut floats = Lhs::new(cpu.isa(), Storage::F32, m, k);
            cpu.rms_norm(&x, norm, &mut floats);
            let mut integers = Lhs::new(cpu.isa(), storage, m, k);
            cpu.rms_norm(&x, norm, &mut integers);
            assert_packed(cpu, storage, &integers, &rows_of(&floats), "a norm");

            // Outputs of one block, of several tasks' worth of blocks, and of blocks and a rest.
            for f in [32, 352, 1000] {
                let (gate, up) = (noise(3, f * k), noise(4, f * k));
                let read = |w: &[f32], row: usize, out: &mut [f32]| out.copy_from_slice(&w[row * k..][..k]);
                let w = Weights::pack_gated(cpu, storage, k, f, |r, o| read(&gate, r, o), |r, o| read(&up, r, o));
                let mut gated = Lhs::new(cpu.isa(), storage, m, f.next_multiple_of(NR));
                cpu.matmul_silu_mul(&integers, &w, &mut gated);
                // The same product into floats.
                let want: Vec<f32> = (0..m)
                    .flat_map(|row| {
                        let mut one = Lhs::new(cpu.isa(), storage, 1, k);
                        cpu.rms_norm(&x[row * k..][..k], norm, &mut one);
                        let mut out = Lhs::new(cpu.isa(), storage, 1, f.next_multiple_of(NR));
                        cpu.matmul_silu_mul(&one, &w, &mut out);
                        rows_of(&out)
                    })
                    .collect();
                assert_eq!(rows_of(&gated), want, "{storage:?}, {f} outputs on {:?}", cpu.isa());
                let twin = gated_twin(&rows_of(&floats), &gate, &up, [m, f, k]);
                // Its own values, whatever was done to them, are those of a product with the identity.
                let unit = |row: usize, out: &mut [f32]| (0..out.len()).for_each(|p| out[p] = f32::from(p == row));
                let mut values = vec![0.0; m * f];
                cpu.matmul(&gated, &Weights::pack(cpu, storage, gated.k(), f, unit), &mut values);
                let error: f64 = values.iter().zip(&twin).map(|(got, want)| (f64::from(*got) - want).powi(2)).sum();
                let size: f64 = twin.iter().map(|x| x * x).sum();
                let limit = if storage == Storage::I16 { 2e-3 } else { 3e-2 };
                assert!(
                    (error / size).sqrt() < limit,
                    "{storage:?}, {f}: {} on {:?}",
                    (error / size).sqrt(),
                    cpu.isa()
                );
            }
        }
    }
}

/// `silu(gate) * up` in f64.
fn gated_twin(x: &[f32], gate: &[f32], up: &[f32], [m, f, k]: [usize; 3]) -> Vec<f64> {
    let (g, u) = (reference::matmul(x, gate, m, f, k), reference::matmul(x, up, m, f, k));
    g.into_iter().zip(u).map(|(g, u)| reference::silu_mul(g, u)).collect()
}

#[test]
fn attention_makes_integers_of_its_results_in_f32() {
    let shape = AttentionShape { heads: 6, kv_heads: 2, head_dim: 40 };
    let stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    let (tokens, width) = (101, shape.heads * shape.head_dim);
    let (qkv, norm) = (noise(1, tokens * stride), noise(2, shape.head_dim));
    let rope = Rope::new(1e6, shape.head_dim, tokens);
    let prepare = QkNormRope { norm: RmsNorm { weight: &norm, eps: 1e-6 }, rope: &rope };
    let blocks: Vec<u32> = (0..tokens.div_ceil(KV_BLOCK) as u32).collect();
    let run = [Run { rows: 0..tokens, start: 0, blocks: &blocks }];
    let pieces: Vec<KvPiece> = run.iter().flat_map(Run::pieces).collect();
    for cpu in &cpus(&[1, 3]) {
        let heads = |column: usize| Heads { data: &qkv, stride, column: column * shape.head_dim };
        let mut kv = KvBlocks::new(cpu.isa(), shape, blocks.len());
        cpu.store_kv(heads(shape.heads), heads(shape.heads + shape.kv_heads), Some(prepare), &pieces, &mut kv);
        let mut floats = Lhs::new(cpu.isa(), Storage::F32, tokens, width);
        cpu.attention(shape, heads(0), prepare, &run, &kv, &mut floats);
        for (storage, _) in STORAGES {
            let mut integers = Lhs::new(cpu.isa(), storage, tokens, width);
            cpu.attention(shape, heads(0), prepare, &run, &kv, &mut integers);
            assert_packed(cpu, storage, &integers, &rows_of(&floats), "attention");
        }
    }
}
