//! Every kernel on every ISA of this CPU against its f64 twin, at the sizes where kernels break. What is called `exhaustive`
//! repeats a test at all of them together: it is left out where the CPU is emulated, for minutes.

mod checks;
mod integers;

use checks::*;
use ironrank_kernels::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// The ISAs to test: those named in `ONLY_ISA` (comma-separated) or, without it, all of this CPU, `with_variants` also without
/// their VNNI. Those named in `REQUIRE_ISA` must be among this CPU's too: what is asked for is tested or an error.
fn isas(with_variants: bool) -> Vec<Isa> {
    let all = Isa::variants();
    let named = |variable: &str| -> Vec<Isa> {
        let names = std::env::var(variable).unwrap_or_default();
        let isa = |name: &str| all.iter().copied().find(|isa| isa.name() == name);
        let isa = |name| isa(name).unwrap_or_else(|| panic!("{variable} names {name}, this CPU has {all:?}"));
        names.split(',').filter(|name| !name.is_empty()).map(isa).collect()
    };
    named("REQUIRE_ISA");
    match named("ONLY_ISA") {
        only if !only.is_empty() => only,
        _ if with_variants => all,
        _ => Isa::available(),
    }
}

/// Every ISA with each of these numbers of threads.
fn cpus(threads: &[usize]) -> Vec<Cpu> {
    on_threads(&isas(false), threads)
}

/// Runs `case` on every ISA, with one thread and with three.
fn on_every_cpu(case: impl Fn(&Cpu)) {
    cpus(&[1, 3]).iter().for_each(case);
}

fn matmul_of_noise(cpus: &[Cpu], m: usize, n: usize, k: usize) {
    check_matmul(cpus, &noise(1, m * k), &short_noise(2, n * k), m, n, k);
}

fn matmul_of_corners(cpus: &[Cpu], rows: impl IntoIterator<Item = usize>) {
    for m in rows {
        for n in [1, 31, 32, 33, 200] {
            for k in [1, 7, 64] {
                matmul_of_noise(cpus, m, n, k);
            }
        }
    }
}

#[test]
fn matmul_agrees_with_f64_around_a_block_of_rows_exhaustive() {
    matmul_of_corners(&cpus(&[1, 3]), [191, 192, 193]);
}

#[test]
fn matmul_agrees_with_f64_at_corner_sizes() {
    let cpus = cpus(&[1, 3]);
    // Around every ISA's tile, and around the block of rows.
    let tiles = cpus.iter().map(|cpu| cpu.isa().mr()).flat_map(|mr| [mr - 1, mr, mr + 1]);
    matmul_of_corners(&cpus, tiles.chain([1, 2]).collect::<BTreeSet<usize>>());
    for m in [191, 192, 193] {
        matmul_of_noise(&cpus, m, 33, 7);
    }
    // Around every ISA's depth block: 128, 256, 384, 1024.
    for k in [127, 128, 129, 255, 256, 257, 383, 384, 385, 1023, 1024, 1025, 2049] {
        matmul_of_noise(&cpus, 13, 70, k);
        check_matmul(&cpus, &noise(1, 13 * k), &noise(2, 70 * k), 13, 70, k);
    }
}

#[test]
fn matmul_of_nothing_is_nothing() {
    let cpus = cpus(&[1, 3]);
    matmul_of_noise(&cpus, 0, 5, 5);
    matmul_of_noise(&cpus, 5, 0, 5);
}

/// A product has the same bits in every storage that holds its weights, at the depths around every ISA's block of it and at the
/// numbers of rows that `rows` gives for a depth and an ISA's tile.
fn check_storages(rows: impl Fn(usize, usize) -> BTreeSet<usize>) {
    let n = 70;
    on_every_cpu(|cpu| {
        // Around every ISA's depth block: 256, 384, 1024.
        for k in [5, 255, 256, 257, 383, 384, 385, 1023, 1024, 1025] {
            let mut values = short_noise(2, n * k);
            for (value, special) in values.iter_mut().zip([-0.0, f32::from_bits(1 << 16), f32::MIN_POSITIVE, -1e30]) {
                *value = bf16(special);
            }
            let [long, short] = [Storage::F32, Storage::Bf16].map(|storage| weights(cpu, storage, &values, n, k));
            assert_eq!((long.storage(), short.storage()), (Storage::F32, Storage::Bf16));
            assert_eq!(short.bytes(), long.bytes() / 2);
            for m in rows(k, cpu.isa().mr()) {
                let x = lhs(cpu, &noise(1, m * k), m, k);
                let [want, got] = [&long, &short].map(|weights| {
                    let mut out = vec![f32::NAN; m * n];
                    cpu.matmul(&x, weights, &mut out);
                    out.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                });
                assert!(want == got, "{m} x {k} x {n} on {:?}", cpu.isa());
            }
        }
    });
}

#[test]
fn a_product_has_the_same_bits_in_every_storage_that_holds_the_weights() {
    check_storages(|k, mr| match k {
        385 => (1..=40).collect(),
        _ => BTreeSet::from([1, 2, mr - 1, mr, mr + 1, 25]),
    });
}

#[test]
fn a_product_has_the_same_bits_in_every_storage_exhaustive() {
    check_storages(|_, _| (1..=40).collect());
}

#[test]
fn a_gated_product_has_the_same_bits_in_every_storage_that_holds_the_weights() {
    on_every_cpu(|cpu| {
        for (m, f, k) in [(1, 31, 500), (2, 200, 33), (3, 64, 1100), (200, 70, 40)] {
            let (gate, up) = (short_noise(2, f * k), short_noise(3, f * k));
            let [want, got] = [Storage::F32, Storage::Bf16].map(|storage| {
                let read = |w: &[f32], row: usize, out: &mut [f32]| out.copy_from_slice(&w[row * k..][..k]);
                let w =
                    Weights::pack_gated(cpu, storage, k, f, |r, out| read(&gate, r, out), |r, out| read(&up, r, out));
                let mut out = Lhs::new(cpu.isa(), storage, m, f.next_multiple_of(NR));
                cpu.matmul_silu_mul(&lhs(cpu, &noise(1, m * k), m, k), &w, &mut out);
                (0..m).flat_map(|i| (0..f).map(|j| out.get(i, j).to_bits()).collect::<Vec<_>>()).collect::<Vec<_>>()
            });
            assert!(want == got, "{m} x {k} x {f} on {:?}", cpu.isa());
        }
    });
}

#[test]
#[should_panic(expected = "weight 1.0000001 of row 37, column 70 is no bfloat16")]
fn a_weight_that_the_storage_does_not_hold_is_not_rounded() {
    let (n, k) = (40, 90);
    let mut values = short_noise(2, n * k);
    values[37 * k + 70] = 1.0 + f32::EPSILON;
    weights(&cpus(&[1])[0], Storage::Bf16, &values, n, k);
}

#[test]
fn a_row_of_a_product_has_the_same_bits_alone_and_among_others() {
    on_every_cpu(|cpu| {
        let (m, n, k) = (61, 100, 700);
        let (x, w) = (noise(1, m * k), weights(cpu, Storage::F32, &noise(2, n * k), n, k));
        let mut all = vec![0.0; m * n];
        cpu.matmul(&lhs(cpu, &x, m, k), &w, &mut all);
        for row in 0..m {
            let mut one = vec![0.0; n];
            cpu.matmul(&lhs(cpu, &x[row * k..][..k], 1, k), &w, &mut one);
            assert_eq!(one, all[row * n..][..n], "row {row} on {:?}", cpu.isa());
        }
    });
}

#[test]
fn some_columns_of_a_product_have_the_bits_of_all_columns() {
    on_every_cpu(|cpu| {
        let cases = [(1, 200), (25, 200), (300, 96)];
        for ((m, n), storage) in [Storage::F32, Storage::Bf16].into_iter().flat_map(|s| cases.map(|case| (case, s))) {
            let (x, w) = (lhs(cpu, &noise(1, m * 70), m, 70), weights(cpu, storage, &short_noise(2, n * 70), n, 70));
            let mut all = vec![0.0; m * n];
            cpu.matmul(&x, &w, &mut all);
            for columns in [0..64, 32..96, 96..n, 64..64] {
                let mut some = vec![f32::NAN; m * columns.len()];
                cpu.matmul_columns(&x, &w, columns.clone(), &mut some);
                let want = all.chunks(n).flat_map(|row| &row[columns.clone()]);
                assert!(some.iter().eq(want), "columns {columns:?} of {m} x {n}, {storage:?}, on {:?}", cpu.isa());
            }
        }
    });
}

#[test]
fn gated_product_agrees_with_f64() {
    let cpus = cpus(&[1, 3]);
    for (m, f, k) in [(1, 1, 1), (5, 31, 20), (13, 32, 96), (40, 200, 33), (7, 352, 128)] {
        let (x, gate, up) = (noise(1, m * k), short_noise(2, f * k), short_noise(3, f * k));
        check_gated(&cpus, &x, &gate, &up, [m, f, k]);
    }
}

#[test]
fn silu_mul_holds_from_minus_to_plus_infinity() {
    on_every_cpu(|cpu| {
        let gates =
            [-f32::INFINITY, -1e30, -200.0, -88.0, -69.4, -20.0, -1.0, -0.0, 0.0, 1e-30, 1.0, 30.0, 200.0, 1e30];
        let one = |x: f32| Weights::pack_gated(cpu, Storage::F32, 1, 1, |_, out| out[0] = x, |_, out| out[0] = 1.0);
        for gate in gates {
            let mut out = Lhs::new(cpu.isa(), Storage::F32, 1, NR);
            cpu.matmul_silu_mul(&lhs(cpu, &[1.0], 1, 1), &one(gate), &mut out);
            if gate == -f32::INFINITY {
                assert!(!out.get(0, 0).is_finite(), "an overflow is not hidden");
                continue;
            }
            let want = reference::silu_mul(f64::from(gate), 1.0);
            // exp(-gate) is capped at exp(88): a gate below -88 gives gate * exp(-88) at most.
            let capped = if gate < -88.0 { 1.001 * f64::from(gate).abs() * (-88.0_f64).exp() } else { 0.0 };
            assert_close("silu", cpu, out.get(0, 0), want, 5e-7 * want.abs() + capped);
        }
        let mut out = Lhs::new(cpu.isa(), Storage::F32, 1, NR);
        cpu.matmul_silu_mul(&lhs(cpu, &[1.0], 1, 1), &one(f32::NAN), &mut out);
        assert!(out.get(0, 0).is_nan(), "NaN is not hidden");
    });
}

#[test]
fn rms_norm_agrees_with_f64() {
    let cpus = cpus(&[1, 3]);
    for (m, k) in [(0, 4), (1, 1), (3, 15), (12, 16), (13, 17), (5, 96), (50, 1024)] {
        check_rms_norm(&cpus, &noise(1, m * k), &noise(2, k), m);
    }
}

fn sequence(shape: AttentionShape, seed: u64, len: usize) -> Sequence {
    let stride = (shape.heads + 2 * shape.kv_heads) * shape.head_dim;
    Sequence { qkv: noise(seed, len * stride), len }
}

/// Attention agrees with f64 over shapes, at the lengths that `lengths` gives for a number of heads.
fn check_attention_of(lengths: impl Fn(usize) -> &'static [usize]) {
    let shapes = [(4, 2, 32), (6, 2, 16), (4, 4, 64), (16, 8, 128), (3, 1, 20), (32, 2, 6)];
    let cpus = cpus(&[2]);
    for (heads, kv_heads, head_dim) in shapes {
        let shape = AttentionShape { heads, kv_heads, head_dim };
        // Norm weights of 3 make the softmax peaked, as a trained model's is.
        let norm: Vec<f32> = noise(9, head_dim).iter().map(|x| 3.0 + x).collect();
        for &len in lengths(heads) {
            check_attention(&cpus, shape, &sequence(shape, len as u64, len), &norm);
        }
    }
}

/// Around a task's rows and a block of keys.
const LENGTHS: &[usize] = &[1, 31, 33, 48, 95, 96, 97, 250];

#[test]
fn attention_agrees_with_f64_over_shapes_and_lengths() {
    // All lengths with two of the shapes, one in a block of keys and one in two with the others.
    check_attention_of(|heads| if heads == 4 { LENGTHS } else { &[33, 110] });
}

#[test]
fn attention_agrees_with_f64_exhaustive() {
    check_attention_of(|heads| if heads == 16 { &[200] } else { LENGTHS });
}

#[test]
fn attention_does_not_depend_on_neighbours_order_threads_or_chunks() {
    let shape = AttentionShape { heads: 4, kv_heads: 2, head_dim: 32 };
    let norm: Vec<f32> = noise(9, 32).iter().map(|x| 3.0 + x).collect();
    let [a, b, c] = [(1, 130), (2, 7), (3, 250)].map(|(seed, len)| sequence(shape, seed, len));
    let bits = |x: &[Vec<f32>]| x.iter().flatten().map(|x| x.to_bits()).collect::<Vec<_>>();
    on_every_cpu(|cpu| {
        let run = |batch: &[&Sequence], chunk| attention_batch(cpu, shape, batch, &norm, &norm, chunk);
        let one_thread = Cpu::new(cpu.isa(), Pool::new(Some(1), false).expect("threads"));
        let alone = attention_batch(&one_thread, shape, &[&a], &norm, &norm, 1000).remove(0);
        for (batch, place) in [(vec![&a, &b, &c], 0), (vec![&c, &b, &a], 2), (vec![&b, &a], 1)] {
            for chunk in [1000, 100, 37] {
                assert_eq!(bits(&run(&batch, chunk)[place]), bits(&alone), "chunk {chunk} on {:?}", cpu.isa());
            }
        }
    });
}

#[test]
fn stored_keys_and_values_are_read_and_stored_again_as_they_were() {
    let shape = AttentionShape { heads: 3, kv_heads: 3, head_dim: 20 };
    let (width, d) = (3 * 20, 20);
    on_every_cpu(|cpu| {
        let rows = noise(5, 150 * 2 * width);
        let columns = |data, column| Heads { data, stride: 2 * width, column };
        let (norm, rope) = (vec![1.5; d], Rope::new(THETA, d, 200));
        let prepare = QkNormRope { norm: RmsNorm { weight: &norm, eps: 1e-6 }, rope: &rope };
        // Positions 40 to 189; the first rows go to a second block of the same positions too.
        let piece = |rows: std::ops::Range<usize>, block| KvPiece { position: 40 + rows.start, rows, block };
        let pieces = [piece(0..56, 2), piece(56..150, 0), piece(0..30, 1), piece(30..50, 1)];
        let mut kv = KvBlocks::new(cpu.isa(), shape, 3);
        cpu.store_kv(columns(&rows, 0), columns(&rows, width), Some(prepare), &pieces, &mut kv);
        let read = |kv: &KvBlocks, piece: &KvPiece| -> Vec<f32> {
            let mut out = vec![f32::NAN; piece.rows.len() * 2 * width];
            for (i, out) in out.chunks_exact_mut(2 * width).enumerate() {
                kv.read(piece.block, (piece.position + i) % KV_BLOCK, out);
            }
            out
        };
        let stored: Vec<f32> = [read(&kv, &pieces[0]), read(&kv, &pieces[1])].concat();
        assert_eq!([read(&kv, &pieces[2]), read(&kv, &pieces[3])].concat(), stored[..50 * 2 * width]);
        let values = |rows: &[f32]| rows.chunks(2 * width).flat_map(|row| row[width..].to_vec()).collect::<Vec<_>>();
        assert_eq!(values(&stored), values(&rows), "values are stored as they are");

        let mut again = KvBlocks::new(cpu.isa(), shape, 3);
        cpu.store_kv(columns(&stored, 0), columns(&stored, width), None, &pieces, &mut again);
        assert_eq!([read(&again, &pieces[0]), read(&again, &pieces[1])].concat(), stored, "{:?}", cpu.isa());
    });
}

#[test]
fn attention_does_not_hide_nan() {
    let shape = AttentionShape { heads: 2, kv_heads: 1, head_dim: 16 };
    let norm = vec![1.0; 16];
    on_every_cpu(|cpu| {
        for len in [1, 2, 5, 100] {
            let mut x = sequence(shape, 1, len);
            x.qkv[(len - 1) * 4 * 16] = f32::NAN;
            let out = attention_batch(cpu, shape, &[&x], &norm, &norm, 1000);
            assert!(out[0][len - 1][..16].iter().all(|x| x.is_nan()), "a query of NaN among {len} tokens");
        }
    });
}

#[test]
fn a_named_isa_is_that_one_or_a_sentence_that_lists_the_others() {
    for isa in isas(false) {
        assert_eq!(Isa::named(isa.name()).unwrap().name(), isa.name());
    }
    let error = Isa::named("mmx").unwrap_err().to_string();
    assert!(error.contains("'mmx'") && error.contains(Isa::best().name()) && error.ends_with('.'), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn matmul_agrees_with_f64_at_any_size(m in 1usize..70, n in 1usize..150, k in 1usize..600) {
        static CPUS: LazyLock<Vec<Cpu>> = LazyLock::new(|| cpus(&[2]));
        matmul_of_noise(&CPUS, m, n, k);
    }
}
