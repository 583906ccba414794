//! What a benchmark found, as a table for people and as JSON.

use super::Ragflow;
use crate::busy::Busy;
use crate::memory::Resident;
use crate::precision::Precision;
use crate::startup::RunsOn;
use crate::task::Task;
use serde_json::{Value, json};
use std::fmt;
use std::time::Duration;

/// What the machine can do at most.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// GFLOP/s of the multiply-add units on all threads; `None` for portable code.
    pub fma: Option<f64>,
    /// Billions of operations a second of the units that multiply what matrices are in, a multiply and an add counting one
    /// each; `None` for portable code.
    pub product: Option<f64>,
    /// GB/s read from memory on all threads.
    pub gigabytes_per_s: f64,
}

impl Limits {
    /// The higher of each.
    pub fn or_better(self, other: Self) -> Self {
        Self {
            fma: self.fma.zip(other.fma).map(|(one, other)| one.max(other)),
            product: self.product.zip(other.product).map(|(one, other)| one.max(other)),
            gigabytes_per_s: self.gigabytes_per_s.max(other.gigabytes_per_s),
        }
    }
}

/// How long a request of many passages takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passages {
    /// Passages of the request.
    pub count: usize,
    /// Tokens of each.
    pub tokens: usize,
    /// How long it takes.
    pub seconds: f64,
    /// Whether that was measured, or computed from the rate of the workload.
    pub measured: bool,
}

/// What was measured. [`fmt::Display`] is the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// Name of the model.
    pub model: String,
    /// What it is for.
    pub task: Task,
    /// What ran it.
    pub runs_on: RunsOn,
    /// Name of the workload.
    pub workload: &'static str,
    /// Documents of a request, or texts.
    pub documents: usize,
    /// Words of a document, or tokens of a text.
    pub words: usize,
    /// Pairs or texts of all requests.
    pub pairs: usize,
    /// Tokens of all of them, as `usage` counts them.
    pub tokens: u64,
    /// Tokens that were computed, what prompts share being computed once.
    pub computed_tokens: u64,
    /// Floating-point operations that were needed.
    pub flop: u64,
    /// Floating-point operations had nothing been shared or left out.
    pub naive_flop: u64,
    /// Of each request.
    pub latencies: Vec<Duration>,
    /// From the start of loading until requests are taken.
    pub ready: Duration,
    /// Measured before and after; the higher figures.
    pub limits: Limits,
    /// After the run.
    pub memory: Option<Resident>,
    /// The answer to a common question, where a reranker was measured.
    pub passages: Option<Passages>,
    /// What others did meanwhile, if the system says.
    pub busy: Option<Busy>,
}

impl Passages {
    fn ragflow(self) -> Ragflow {
        Ragflow::of(self.count, self.tokens, self.seconds)
    }
}

impl Report {
    /// Wall-clock seconds of all requests, which are sent one after the other.
    fn seconds(&self) -> f64 {
        self.latencies.iter().sum::<Duration>().as_secs_f64()
    }

    /// The latency that `percent` of the requests do not pass, in seconds: nearest rank.
    fn percentile(&self, percent: usize) -> f64 {
        let mut sorted = self.latencies.clone();
        sorted.sort_unstable();
        let rank = (sorted.len() * percent).div_ceil(100).max(1);
        sorted.get(rank - 1).map_or(0.0, Duration::as_secs_f64)
    }

    /// GFLOP/s of `flop`.
    fn gflops(&self, flop: u64) -> f64 {
        flop as f64 / self.seconds() / 1e9
    }

    /// Share of the peak, between 0 and 1 unless work was saved.
    fn share(&self, flop: u64) -> Option<f64> {
        self.limits.product.map(|peak| self.gflops(flop) / peak)
    }

    /// One JSON object; units stand in the names, and what could not be measured is null.
    pub fn to_json(&self) -> Value {
        let seconds = self.seconds();
        json!({
            "version": self.version,
            "model": self.model,
            "task": self.task.name(),
            "isa": self.runs_on.isa,
            "threads": self.runs_on.threads,
            "precision": self.runs_on.precision.name(),
            "workload": self.workload,
            "documents": self.documents,
            "words": self.words,
            "requests": self.latencies.len(),
            "pairs": self.pairs,
            "tokens": self.tokens,
            "computed_tokens": self.computed_tokens,
            "seconds": seconds,
            "tokens_per_s": self.tokens as f64 / seconds,
            "computed_tokens_per_s": self.computed_tokens as f64 / seconds,
            "pairs_per_s": self.pairs as f64 / seconds,
            "p50_s": self.percentile(50),
            "p95_s": self.percentile(95),
            "ready_s": self.ready.as_secs_f64(),
            "fma_peak_gflops": self.limits.fma,
            "product_peak_gops": self.limits.product,
            "memory_gb_per_s": self.limits.gigabytes_per_s,
            "naive_gflops": self.gflops(self.naive_flop),
            "work_gflops": self.gflops(self.flop),
            "naive_share_of_peak": self.share(self.naive_flop),
            "work_share_of_peak": self.share(self.flop),
            "peak_memory_bytes": self.memory.map(|memory| memory.peak),
            "private_memory_bytes": self.memory.map(|memory| memory.private),
            "passages": self.passages.map(|passages| passages.count),
            "passage_tokens": self.passages.map(|passages| passages.tokens),
            "passages_s": self.passages.map(|passages| passages.seconds),
            "passages_measured": self.passages.map(|passages| passages.measured),
            "passages_in_30_s": self.passages.map(|passages| passages.ragflow().passages),
            "other_cpu_share": self.busy.map(|busy| busy.others),
            "stolen_cpu_share": self.busy.map(|busy| busy.stolen),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.seconds();
        let of_peak =
            |flop| self.share(flop).map_or(String::new(), |share| format!(", {:.0} % of the peak", 100.0 * share));
        let mut line = |name: &str, value: String| writeln!(f, "{name:<18}{value}");
        line("model", self.model.clone())?;
        line("runs on", self.runs_on.to_string())?;
        let (document, word, pairs) = match self.task {
            Task::Rerank => ("document", "words", "pairs"),
            Task::Embed => ("text", "tokens", "texts"),
        };
        let documents = format!("{} {document}{}", self.documents, if self.documents == 1 { "" } else { "s" });
        line(
            "workload",
            format!("{}: {} x {documents} of {} {word}", self.workload, self.latencies.len(), self.words),
        )?;
        line("ready after", format!("{:.2} s", self.ready.as_secs_f64()))?;
        line(pairs, format!("{:.2} a second", self.pairs as f64 / seconds))?;
        line("tokens", format!("{:.0} a second", self.tokens as f64 / seconds))?;
        line("computed tokens", format!("{:.0} a second", self.computed_tokens as f64 / seconds))?;
        line("a request", format!("{:.3} s (p50), {:.3} s (p95)", self.percentile(50), self.percentile(95)))?;
        if let Some(peak) = self.limits.fma {
            line("FMA peak", format!("{peak:.0} GFLOP/s"))?;
        }
        if let Some(peak) = self.limits.product.filter(|_| self.runs_on.precision != Precision::Exact) {
            line("product peak", format!("{peak:.0} Gop/s, of {}", self.runs_on.precision.described()))?;
        }
        line("memory reads", format!("{:.1} GB/s", self.limits.gigabytes_per_s))?;
        line("work done", format!("{:.0} GFLOP/s{}", self.gflops(self.flop), of_peak(self.flop)))?;
        line("without sharing", format!("{:.0} GFLOP/s{}", self.gflops(self.naive_flop), of_peak(self.naive_flop)))?;
        if let Some(memory) = self.memory {
            let gigabytes = |bytes: u64| bytes as f64 / 1e9;
            line(
                "memory",
                format!(
                    "{:.2} GB at most, {:.2} GB of it private now",
                    gigabytes(memory.peak),
                    gigabytes(memory.private)
                ),
            )?;
        }
        if let Some(passages) = self.passages {
            let Passages { count, tokens, seconds, measured } = passages;
            let how = if measured { "measured" } else { "computed from the rate above" };
            writeln!(f, "\n{count} passages of {tokens} tokens take {seconds:.1} s on this machine ({how}).")?;
            writeln!(f, "{}", passages.ragflow())?;
        }
        match self.busy.filter(Busy::matters) {
            Some(busy) => writeln!(f, "{busy}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            version: "1",
            model: "m".to_owned(),
            task: Task::Rerank,
            runs_on: RunsOn { isa: "avx2", same_bits: "avx2", threads: 2, precision: Precision::Exact },
            workload: "pair",
            documents: 1,
            words: 60,
            pairs: 4,
            tokens: 800,
            computed_tokens: 400,
            flop: 40_000_000_000,
            naive_flop: 80_000_000_000,
            latencies: [400, 100, 200, 300].map(Duration::from_millis).to_vec(),
            ready: Duration::from_millis(250),
            limits: Limits { fma: Some(50.0), product: Some(50.0), gigabytes_per_s: 20.0 },
            memory: Some(Resident { peak: 2_000_000_000, private: 500_000_000 }),
            passages: Some(Passages { count: 64, tokens: 512, seconds: 30.0, measured: true }),
            busy: None,
        }
    }

    #[test]
    fn figures_follow_from_what_was_counted() {
        let json = report().to_json();
        for (key, value) in [
            ("seconds", 1.0),
            ("tokens_per_s", 800.0),
            ("computed_tokens_per_s", 400.0),
            ("pairs_per_s", 4.0),
            ("p50_s", 0.2),
            ("p95_s", 0.4),
            ("naive_gflops", 80.0),
            ("naive_share_of_peak", 1.6),
            ("work_share_of_peak", 0.8),
        ] {
            assert!((json[key].as_f64().unwrap() - value).abs() < 1e-9, "{key}: {}", json[key]);
        }
        let table = report().to_string();
        for words in ["80 % of the peak", "160 % of the peak", "50 GFLOP/s", "64 passages of 512 tokens take 30.0 s"] {
            assert!(table.contains(words), "no '{words}' in:\n{table}");
        }
    }

    #[test]
    fn a_busy_machine_is_told_of_and_an_idle_one_is_not() {
        let busy = |others| Report { busy: Some(Busy { others, stolen: 0.0 }), ..report() };
        assert!(busy(0.4).to_string().contains("other processes took 40 %"), "{}", busy(0.4));
        assert!(!busy(0.01).to_string().contains("busy"), "{}", busy(0.01));
        assert_eq!(busy(0.4).to_json()["other_cpu_share"], 0.4);
        assert!(report().to_json()["other_cpu_share"].is_null());
        assert_eq!(report().to_json()["passages_in_30_s"], 64);
        assert!(
            report().to_string().contains("64 of 512 tokens fit, and all of them in chunks of 256"),
            "{}",
            report()
        );
    }

    #[test]
    fn integers_are_compared_with_the_peak_of_integers() {
        let runs_on = RunsOn { precision: Precision::Int8, ..report().runs_on };
        let limits = Limits { product: Some(200.0), ..report().limits };
        let report = Report { runs_on, limits, ..report() };
        assert_eq!(report.to_json()["work_share_of_peak"], 0.2);
        assert_eq!(
            (&report.to_json()["fma_peak_gflops"], &report.to_json()["precision"]),
            (&50.0.into(), &"int8".into())
        );
        assert!(report.to_string().contains("product peak      200 Gop/s, of 8-bit integers"), "{report}");
    }

    #[test]
    fn portable_code_has_no_share_of_a_peak() {
        let limits = Limits { fma: None, product: None, gigabytes_per_s: 20.0 };
        let portable = Report { limits: limits.or_better(limits), ..report() };
        assert!(portable.to_json()["work_share_of_peak"].is_null());
        assert!(!portable.to_string().contains("of the peak"), "{portable}");
    }
}
