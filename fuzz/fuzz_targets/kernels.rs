//! Every instruction set of this CPU on the same bytes against the f64 twins, at any small size: the checks of the
//! kernels' own tests, with their tolerances and their poisoned padding.
//!
//! Input: a letter for the kernel, five bytes of sizes, then the values, which repeat under changing masks.
#![no_main]

#[path = "../../kernels/tests/checks/mod.rs"]
#[expect(dead_code, reason = "the tests use more of them")]
mod checks;

use checks::{
    Sequence, attention_batch, check_attention, check_gated, check_matmul, check_rms_norm, lhs, storages, weights,
};
use ironrank_kernels::{AttentionShape, Cpu, Isa, NR, Pool};
use libfuzzer_sys::{Corpus, fuzz_target};
use std::sync::LazyLock;

/// Every instruction set, on one thread and on two.
static CPUS: LazyLock<[Vec<Cpu>; 2]> = LazyLock::new(|| {
    let cpu = |isa, threads| Cpu::new(isa, Pool::new(Some(threads), false).expect("threads"));
    [1, 2].map(|threads| Isa::available().into_iter().map(|isa| cpu(isa, threads)).collect())
});

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((&[kernel, a, b, c, d, e], bytes)) = input.split_first_chunk::<6>() else { return Corpus::Reject };
    if bytes.is_empty() {
        return Corpus::Reject;
    }
    let up_to = |byte: u8, limit: usize| 1 + usize::from(byte) % limit;
    let values = |salt: usize, len| values(bytes, salt, len);
    // Past one block of the depth with AVX-512; more would take long in f64.
    let k = 1 + usize::from(u16::from_le_bytes([c, d])) % 400;
    let cpus = &CPUS[usize::from(e) % 2];
    match kernel {
        b'm' => {
            let (m, n) = (up_to(a, 26), up_to(b, 66));
            let (x, w) = (values(1, m * k), values(2, n * k));
            check_matmul(cpus, &x, &w, m, n, k);
        }
        b'g' => {
            let (m, f) = (up_to(a, 13), up_to(b, 66));
            let (x, gate, up) = (values(1, m * k), values(2, f * k), values(3, f * k));
            check_gated(cpus, &x, &gate, &up, [m, f, k]);
        }
        b'c' => {
            let (m, n) = (up_to(a, 14), up_to(b, 130));
            let panels = n.div_ceil(NR);
            let first = usize::from(e) % panels;
            let last = first + 1 + usize::from(e) / 16 % (panels - first);
            cpus.iter()
                .for_each(|cpu| check_columns(cpu, &values(1, m * k), &values(2, n * k), [m, n, k], [first, last]));
        }
        b'n' => {
            let (x, weight) = (values(1, up_to(a, 26) * k), values(2, k));
            check_rms_norm(cpus, &x, &weight, up_to(a, 26));
        }
        b'a' => {
            let shape = shape(a, b);
            let (x, norm) = (sequence(shape, up_to(c, 110), |len| values(1, len)), norm(values(2, shape.head_dim)));
            check_attention(cpus, shape, &x, &norm);
        }
        b'b' => {
            let (shape, chunk) = (shape(a, b), up_to(e, 120));
            let batch = [(1, c), (2, d)].map(|(salt, len)| sequence(shape, up_to(len, 120), |len| values(salt, len)));
            let norm = norm(values(3, shape.head_dim));
            cpus.iter().for_each(|cpu| check_neighbours(cpu, shape, &batch, &norm, chunk));
        }
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

/// Multiples of 1/128 in [-1, 1): sums of up to 1,024 products are exact in f32, in whatever order.
fn values(bytes: &[u8], salt: usize, len: usize) -> Vec<f32> {
    let mask = |turn: usize| ((turn * 31 + salt) as u32).wrapping_mul(0x9E37_79B9) >> 24;
    let value = |i: usize| (bytes[i % bytes.len()] ^ mask(i / bytes.len()) as u8).cast_signed();
    (0..len).map(|i| f32::from(value(i)) / 128.0).collect()
}

/// Weights of 0 to 2, so that scores stay where the tolerance of the checks is meant for.
fn norm(values: Vec<f32>) -> Vec<f32> {
    values.into_iter().map(|x| 1.0 + x).collect()
}

fn shape(a: u8, b: u8) -> AttentionShape {
    let kv_heads = 1 + usize::from(a) % 2;
    AttentionShape { heads: kv_heads * (1 + usize::from(a) / 4 % 4), kv_heads, head_dim: 2 * (1 + usize::from(b) % 18) }
}

fn sequence(shape: AttentionShape, len: usize, values: impl Fn(usize) -> Vec<f32>) -> Sequence {
    Sequence { qkv: values(len * (shape.heads + 2 * shape.kv_heads) * shape.head_dim), len }
}

/// Some panels of a product have the bits of all of it, in every storage.
fn check_columns(cpu: &Cpu, x: &[f32], w: &[f32], [m, n, k]: [usize; 3], [first, last]: [usize; 2]) {
    let columns = first * NR..n.min(last * NR);
    let x = lhs(cpu, x, m, k);
    let product = |storage| {
        let w = weights(cpu, storage, w, n, k);
        let (mut all, mut some) = (vec![f32::NAN; m * n], vec![f32::NAN; m * columns.len()]);
        cpu.matmul(&x, &w, &mut all);
        cpu.matmul_columns(&x, &w, columns.clone(), &mut some);
        let want = all.chunks(n).flat_map(|row| &row[columns.clone()]);
        assert!(some.iter().eq(want), "columns {columns:?} of {m}x{k}x{n}, {storage:?}, on {:?}", cpu.isa());
        all
    };
    let products: Vec<Vec<f32>> = storages(w).iter().map(|&storage| product(storage)).collect();
    assert!(products.iter().all(|product| *product == products[0]), "storages of {m}x{k}x{n} on {:?}", cpu.isa());
}

/// A sequence has the same bits alone and beside another, whole and in chunks.
fn check_neighbours(cpu: &Cpu, shape: AttentionShape, batch: &[Sequence; 2], norm: &[f32], chunk: usize) {
    let bits = |rows: &[Vec<f32>]| rows.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    let [one, other] = batch;
    let together = attention_batch(cpu, shape, &[one, other], norm, norm, chunk);
    for (i, x) in batch.iter().enumerate() {
        let alone = attention_batch(cpu, shape, &[x], norm, norm, usize::MAX / 2);
        assert!(alone[0].iter().flatten().all(|x| x.is_finite()), "attention on {:?} is not finite", cpu.isa());
        assert_eq!(bits(&together[i]), bits(&alone[0]), "{shape:?}, chunks of {chunk} on {:?}", cpu.isa());
    }
}
