//! Every kernel in plain Rust, at the smallest sizes that reach all of its paths: what `.ci/miri` has Miri interpret, which sees
//! pointers that leave their memory, values that were never written, races and borrows that break each other, where a CPU
//! lets them pass. A thousand vectors take it a second; blocks of the depth and of keys are short there.
//!
//! Left out, since Miri does neither: files that are mapped into memory, and the assembly of other instruction sets.

mod checks;

use checks::*;
use ironrank_kernels::*;

/// Plain Rust, on one thread and on two.
fn cpus() -> Vec<Cpu> {
    on_threads(&[Isa::named("portable").expect("every CPU has it")], &[1, 2])
}

#[test]
fn products() {
    // A tile of rows and a part of one, a panel and a part of one, a block of the depth and a part of one.
    let (m, n, k) = (5, 33, 10);
    check_matmul(&cpus()[1..], &noise(1, m * k), &short_noise(2, n * k), m, n, k);
    // A few rows take other loops.
    check_matmul(&cpus()[..1], &noise(1, k), &short_noise(2, n * k), 1, n, k);
}

#[test]
fn gated_products() {
    let (m, f, k) = (5, 33, 2);
    check_gated(&cpus()[1..], &noise(1, m * k), &short_noise(2, f * k), &short_noise(3, f * k), [m, f, k]);
}

#[test]
fn products_of_integers() {
    let (i16, i8) = ((Storage::I16, reference::Integers::I16), (Storage::I8, reference::Integers::I8));
    // Two panels; a block of the depth and a part of one.
    for ((storage, scheme), [m, n, k]) in [(i16, [5, 33, 3]), (i8, [5, 33, 3]), (i8, [1, 1, 129])] {
        let (x, w) = (noise(1, m * k), noise(2, n * k));
        let want = reference::matmul_integers(&x, &w, [m, n, k], scheme, false);
        let cpu = &cpus()[1];
        let (mut lhs, mut out) = (Lhs::new(cpu.isa(), storage, m, k), vec![f32::NAN; m * n]);
        cpu.pack_lhs(&x, k, &mut lhs);
        cpu.matmul(&lhs, &weights(cpu, storage, &w, n, k), &mut out);
        assert_eq!(out, want, "{storage:?} {m}x{k}x{n}");
    }
}

#[test]
fn integers_of_what_kernels_compute() {
    let (m, k, f): (usize, usize, usize) = (2, 3, 33);
    let (storage, width) = (Storage::I8, f.next_multiple_of(NR));
    let [one, two] = [0, 1].map(|i| {
        let cpu = &cpus()[i];
        let [mut normed, mut gated] = [k, width].map(|k| Lhs::new(cpu.isa(), storage, m, k));
        cpu.rms_norm(&noise(1, m * k), RmsNorm { weight: &noise(2, k), eps: 1e-6 }, &mut normed);
        let w = noise(3, f * k);
        let read = |row: usize, out: &mut [f32]| out.copy_from_slice(&w[row * k..][..k]);
        cpu.matmul_silu_mul(&normed, &Weights::pack_gated(cpu, storage, k, f, read, read), &mut gated);
        let mut out = vec![f32::NAN; m];
        cpu.matmul(&gated, &weights(cpu, storage, &noise(4, width), 1, width), &mut out);
        out
    });
    assert!(one.iter().all(|x| x.is_finite() && *x != 0.0), "{one:?}");
    assert_eq!(one, two, "on one thread and on two");
}

#[test]
fn norms() {
    let (m, k) = (5, 7);
    check_rms_norm(&cpus(), &noise(1, m * k), &noise(2, k), m);
}

#[test]
fn attention() {
    // Two tasks of two heads each, half a head's channels being a vector and a part of one; two blocks of keys.
    let (shape, len) = (AttentionShape { heads: 4, kv_heads: 2, head_dim: 10 }, 9);
    let qkv = noise(1, len * (shape.heads + 2 * shape.kv_heads) * shape.head_dim);
    check_attention(&cpus()[1..], shape, &Sequence { qkv, len }, &noise(2, shape.head_dim));
}
