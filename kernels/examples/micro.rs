use ironrank_kernels::*;
use std::time::Instant;
fn main() {
    let isa = Isa::named(&std::env::args().nth(1).unwrap()).unwrap();
    let cpu = Cpu::new(isa, Pool::new(Some(1), true));
    for (m, k, n) in [(36,1024,6144),(256,3072,1024),(256,1024,6144),(2048,3072,1024),(2048,1024,4096)] {
        let w = vec![0.5; n * k];
        let weights = Weights::pack(&cpu, k, n, |row, out| out.copy_from_slice(&w[row * k..][..k]));
        let mut lhs = Lhs::new(isa, m, k);
        cpu.pack_lhs(&vec![0.5; m * k], k, &mut lhs);
        let mut out = vec![0.0; m * n];
        let reps = 1_500_000_000 / (2 * m * n * k) + 1;
        let mut best = f64::INFINITY;
        cpu.install(|| for _ in 0..12 {
            let t = Instant::now();
            for _ in 0..reps { cpu.matmul(&lhs, &weights, &mut out); }
            best = best.min(t.elapsed().as_secs_f64());
        });
        print!("{m}x{k}x{n} {:.1}  ", (2 * m * n * k * reps) as f64 / best / 1e9);
    }
}
