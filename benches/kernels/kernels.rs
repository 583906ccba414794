//! The kernels on the shapes of Qwen3-Reranker-0.6B, one thread: billions of operations a second (a multiply and an add count
//! one each), and their share of the peak of the instruction that multiplies ([`Cpu::peak`]). The `gemm` crate, with AVX-512
//! where the CPU has it, stands beside.
//!
//! ```sh
//! cargo bench --manifest-path benches/kernels/Cargo.toml -- [products|attention] [ISA]...
//! ```
//!
//! All instruction sets of this CPU, unless some are named as `--isa` names them. A cell's "+" is the product with its left
//! operand made from floats in rows: laid out in tiles and, for integers, quantised. Every row's columns take turns
//! (see [`race`]). Its weights are in the last-level cache if they find room there.

mod race;

use ironrank_kernels::*;
use race::{Contestant, race};

const ROWS: [usize; 5] = [1, 12, 36, 256, 2048];
const SHAPES: [(usize, usize); 4] = [(1024, 4096), (2048, 1024), (1024, 6144), (3072, 1024)];
const STORAGES: [Storage; 4] = [Storage::F32, Storage::Bf16, Storage::I16, Storage::I8];
const POSITIONS: [usize; 3] = [330, 2048, 8192];

fn main() {
    // Cargo adds options of its own.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let (kernels, isas): (Vec<_>, Vec<_>) =
        words.iter().map(String::as_str).partition(|word| ["products", "attention"].contains(word));
    let named = |name: &&str| Isa::named(name).unwrap_or_else(|err| panic!("{err}"));
    let isas = if isas.is_empty() { Isa::available() } else { isas.iter().map(named).collect() };
    for isa in isas {
        let cpu = Cpu::new(isa, Pool::new(Some(1), true).expect("threads"));
        if kernels.is_empty() || kernels.contains(&"products") {
            products(&cpu);
        }
        if kernels.is_empty() || kernels.contains(&"attention") {
            attention(&cpu);
        }
    }
}

/// As activations and weights are: of either sign, most of them small.
fn noise(len: usize) -> Vec<f32> {
    let uniform = |i: usize| ((i.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 40) as f32 / (1 << 23) as f32 - 1.0).powi(3);
    (0..len).map(uniform).collect()
}

fn products(cpu: &Cpu) {
    let isa = cpu.isa();
    let peer = isa.name() == Isa::best().name();
    println!(
        "\n| {}, rows x depth x outputs | f32 | f32 + | bf16 | bf16 + | i16 | i16 + | i8 | i8 + | gemm crate |",
        isa.name()
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (k, n) in SHAPES {
        let bf16 = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
        let w: Vec<f32> = noise(n * k).into_iter().map(bf16).collect();
        let weights = STORAGES
            .map(|storage| Weights::pack(cpu, storage, k, n, |row, out| out.copy_from_slice(&w[row * k..][..k])));
        for m in ROWS {
            let x = noise(m * k);
            let mut contestants = Vec::new();
            for weights in &weights {
                let storage = weights.storage();
                let mut out = Buffer::zeroed(m * n);
                let mut lhs = Lhs::new(isa, storage, m, k);
                cpu.pack_lhs(&x, k, &mut lhs);
                contestants.push(Contestant::new(storage, move || cpu.matmul(&lhs, weights, &mut out)));
                let (mut out, mut lhs, x) = (Buffer::zeroed(m * n), Lhs::new(isa, storage, m, k), &x);
                contestants.push(Contestant::new(storage, move || {
                    cpu.pack_lhs(x, k, &mut lhs);
                    cpu.matmul(&lhs, weights, &mut out);
                }));
            }
            if peer {
                let (mut out, x, w) = (Buffer::zeroed(m * n), &x, &w);
                contestants.push(Contestant::new(Storage::F32, move || gemm_crate(x, w, (m, k, n), &mut out)));
            }
            let told = race(cpu, 2 * m * n * k, &mut contestants);
            println!("| {m} x {k} x {n} | {} |{}", told.join(" | "), if peer { "" } else { " |" });
        }
    }
}

fn gemm_crate(x: &[f32], w: &[f32], (m, k, n): (usize, usize, usize), out: &mut [f32]) {
    let (x, w, out, none) = (x.as_ptr(), w.as_ptr(), out.as_mut_ptr(), gemm::Parallelism::None);
    let (rows, depth) = (n as isize, k as isize);
    // SAFETY: the strides describe row-major `out` (m, n) and `x` (m, k), and `w` (n, k) transposed.
    unsafe { gemm::gemm(m, n, k, out, 1, rows, false, x, 1, depth, w, depth, 1, 0.0, 1.0, false, false, false, none) };
}

fn attention(cpu: &Cpu) {
    let shape = AttentionShape { heads: 16, kv_heads: 8, head_dim: 128 };
    let (d, stride) = (128, (16 + 2 * 8) * 128);
    println!("\n| {}, causal attention, positions | f32 |", cpu.isa().name());
    println!("|---|---|");
    for positions in POSITIONS {
        let mut qkv = Buffer::zeroed(positions * stride);
        qkv.copy_from_slice(&noise(positions * stride));
        let (rope, weight) = (Rope::new(1e6, d, positions), vec![1.5; d]);
        let norm = QkNormRope { norm: RmsNorm { weight: &weight, eps: 1e-6 }, rope: &rope };
        let table: Vec<u32> = (0..positions.div_ceil(KV_BLOCK) as u32).collect();
        let mut kv = KvBlocks::new(cpu.isa(), shape, table.len());
        let mut out = Lhs::new(cpu.isa(), Storage::F32, positions, 16 * d);
        let columns = |column| Heads { data: &qkv, stride, column };
        let runs = [Run { rows: 0..positions, start: 0, blocks: &table }];
        let pieces: Vec<KvPiece> = runs[0].pieces().collect();
        cpu.store_kv(columns(16 * d), columns(24 * d), Some(norm), &pieces, &mut kv);
        // The causal half: every token with itself and what is before it, two products of 2 d operations each.
        let operations = positions * (positions + 1) / 2 * 4 * d * 16;
        let once = || cpu.attention(shape, columns(0), norm, &runs, &kv, &mut out);
        let told = race(cpu, operations, &mut [Contestant::new(Storage::F32, once)]);
        println!("| {positions} | {} |", told.join(" | "));
    }
}
