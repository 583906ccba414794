//! GFLOP/s of the kernels and their share of the FMA peak, per ISA, on the shapes of Qwen3-Reranker-0.6B.
//!
//! One thread. The peak of an ISA ([`Cpu::peak`]) is measured right before and after every kernel. The `gemm` crate,
//! with AVX-512 where the CPU has it, stands beside.
//! `cargo bench --manifest-path benches/kernels/Cargo.toml -- avx2` runs what has `avx2` in its name.
#![allow(missing_docs, reason = "criterion's macros make functions without")]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use ironrank_kernels::*;
use std::cell::Cell;
use std::time::{Duration, Instant};

const ROWS: [usize; 5] = [1, 8, 36, 256, 2048];
const SHAPES: [(usize, usize); 4] = [(1024, 4096), (2048, 1024), (1024, 6144), (3072, 1024)];
const POSITIONS: [usize; 3] = [330, 2048, 8192];

fn noise(len: usize) -> Vec<f32> {
    (0..len).map(|i| ((i * 7919) % 2001) as f32 / 1000.0 - 1.0).collect()
}

/// Times `work(iterations)` under criterion and prints its best rate beside the peak of `cpu` measured around it.
fn measure(c: &mut Criterion, group: &str, name: &str, cpu: &Cpu, flop: u64, mut work: impl FnMut(u64)) {
    let (best, before) = (Cell::new(f64::INFINITY), cpu.peak(Storage::F32));
    let mut benches = c.benchmark_group(group);
    benches.throughput(Throughput::Elements(flop)).sample_size(10);
    benches.warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_millis(800));
    let ran = Cell::new(false);
    benches.bench_function(BenchmarkId::from_parameter(name), |b| {
        ran.set(true);
        b.iter_custom(|iterations| {
            let start = Instant::now();
            work(iterations);
            let elapsed = start.elapsed();
            best.set(best.get().min(elapsed.as_secs_f64() / iterations as f64));
            elapsed
        });
    });
    benches.finish();
    if ran.get() {
        let (rate, peak) = (flop as f64 / best.get() / 1e9, before.max(cpu.peak(Storage::F32)));
        // Portable code is no instruction set: what the compiler made of it has no peak of its own.
        match cpu.isa().name() {
            "portable" => println!("| {group} | {name} | {rate:.1} GFLOP/s |"),
            _ => println!("| {group} | {name} | {rate:.1} GFLOP/s | peak {peak:.1} | {:.0} % |", 100.0 * rate / peak),
        }
    }
}

fn matmul(c: &mut Criterion) {
    let bf16 = |x: f32| f32::from_bits(x.to_bits() & 0xFFFF_0000);
    let storages = [(Storage::F32, "f32"), (Storage::Bf16, "bf16")];
    for (isa, (storage, stored)) in Isa::available().into_iter().flat_map(|isa| storages.map(|storage| (isa, storage)))
    {
        let cpu = Cpu::new(isa, Pool::new(Some(1), true).expect("threads"));
        for (k, n) in SHAPES {
            let w: Vec<f32> = noise(n * k).into_iter().map(bf16).collect();
            let weights = Weights::pack(&cpu, storage, k, n, |row, out| out.copy_from_slice(&w[row * k..][..k]));
            for m in ROWS {
                let mut lhs = Lhs::new(isa, storage, m, k);
                cpu.pack_lhs(&noise(m * k), k, &mut lhs);
                let mut out = Buffer::zeroed(m * n);
                let flop = 2 * (m * n * k) as u64;
                let name = format!("{m}x{k}x{n}");
                measure(c, &format!("matmul/{}/{stored}", isa.name()), &name, &cpu, flop, |iterations| {
                    cpu.install(|| (0..iterations).for_each(|_| cpu.matmul(&lhs, &weights, &mut out)));
                });
            }
        }
    }
}

fn gemm_crate(c: &mut Criterion) {
    let cpu = Cpu::new(Isa::best(), Pool::new(Some(1), true).expect("threads"));
    for (k, n) in SHAPES {
        let w = noise(n * k);
        for m in ROWS {
            let (x, mut out) = (noise(m * k), Buffer::zeroed(m * n));
            let flop = 2 * (m * n * k) as u64;
            measure(c, "matmul/gemm-crate", &format!("{m}x{k}x{n}"), &cpu, flop, |iterations| {
                for _ in 0..iterations {
                    // SAFETY: the strides describe row-major `out` (m, n) and `x` (m, k), and `w` (n, k) transposed.
                    unsafe {
                        gemm::gemm(
                            m,
                            n,
                            k,
                            out.as_mut_ptr(),
                            1,
                            n as isize,
                            false,
                            x.as_ptr(),
                            1,
                            k as isize,
                            w.as_ptr(),
                            k as isize,
                            1,
                            0.0,
                            1.0,
                            false,
                            false,
                            false,
                            gemm::Parallelism::None,
                        );
                    }
                }
            });
        }
    }
}

fn attention(c: &mut Criterion) {
    let shape = AttentionShape { heads: 16, kv_heads: 8, head_dim: 128 };
    let (d, stride) = (128, (16 + 2 * 8) * 128);
    for isa in Isa::available() {
        let cpu = Cpu::new(isa, Pool::new(Some(1), true).expect("threads"));
        for positions in POSITIONS {
            let mut qkv = Buffer::zeroed(positions * stride);
            qkv.copy_from_slice(&noise(positions * stride));
            let (rope, weight) = (Rope::new(1e6, d, positions), vec![1.5; d]);
            let norm = RmsNorm { weight: &weight, eps: 1e-6 };
            let table: Vec<u32> = (0..positions.div_ceil(KV_BLOCK) as u32).collect();
            let mut kv = KvBlocks::new(isa, shape, table.len());
            let mut out = Lhs::new(isa, Storage::F32, positions, 16 * d);
            let columns = |column| Heads { data: &qkv, stride, column };
            let runs = [Run { rows: 0..positions, start: 0, blocks: &table }];
            let pieces: Vec<KvPiece> = runs[0].pieces().collect();
            {
                cpu.store_kv(
                    columns(16 * d),
                    columns(24 * d),
                    Some(QkNormRope { norm, rope: &rope }),
                    &pieces,
                    &mut kv,
                );
                // The causal half: every token with itself and what is before it, two products of 2 d FLOP each.
                let flop = (positions * (positions + 1) / 2 * 4 * d * 16) as u64;
                let group = format!("attention/{}", isa.name());
                measure(c, &group, &positions.to_string(), &cpu, flop, |iterations| {
                    let once =
                        |_| cpu.attention(shape, columns(0), QkNormRope { norm, rope: &rope }, &runs, &kv, &mut out);
                    cpu.install(|| (0..iterations).for_each(once));
                });
            }
        }
    }
}

criterion_group!(benches, matmul, attention, gemm_crate);
criterion_main!(benches);
