//! Prometheus metrics: vLLM's names, labels and buckets where dashboards look, our own under `ironrank_`.
//!
//! Invariant: what is counted of a model carries its name, in families that all models share; what is the process' or of
//! HTTP carries none. Called by `app` and `models`.

mod engine;
mod family;
mod http;
mod pairs;

pub use http::Exchange;
pub use pairs::{Pairs, Sequence};

use crate::engine::Engine;
use crate::memory::Resident;
use crate::server::served::Served;
use family::{Sample, family};
use http::Http;
use ironrank_kernels::Machine;
use prometheus::Registry;
use prometheus::proto::MetricFamily;
use std::time::{SystemTime, UNIX_EPOCH};

/// All metrics of one server but those of its models.
pub struct Metrics {
    /// Seconds since 1970 when the server started.
    started: f64,
    machine: Machine,
    /// What the CPU is called, if the system says.
    cpu: Option<String>,
    registry: Registry,
    http: Http,
}

/// A model that is told of.
#[derive(Clone, Copy)]
pub struct Told<'a> {
    /// The name that its metrics carry.
    pub name: &'a str,
    /// What it is.
    pub served: &'a Served,
    /// What it does now.
    pub engine: &'a Engine,
    /// What became of its pairs.
    pub pairs: &'a Pairs,
}

impl Metrics {
    /// Nothing is counted yet.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let http = Http::new(&registry)?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        let started = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        Ok(Self { started, machine: Machine::here(), cpu: cpu_name(), registry, http })
    }

    /// Counts an answered HTTP request.
    pub fn http(&self, exchange: Exchange<'_>) {
        self.http.count(exchange);
    }

    /// Everything, or the families that have a series of one of `names`, in Prometheus' text format; what is told of `models` is
    /// read anew.
    pub fn text<'a>(&self, models: impl Iterator<Item = Told<'a>>, names: &[String]) -> prometheus::Result<Vec<u8>> {
        let models = models.enumerate().flat_map(|(place, model)| {
            let families = model.pairs.families().into_iter();
            let families = families.chain(engine::families(model.engine, model.served.kv_dtype_name()));
            families.chain([info(model.served)]).map(move |family| of_model(family, place, model.name))
        });
        let mut families = self.registry.gather();
        families.extend(family::joined(models));
        families.extend(self.http.sizes());
        families.extend(self.memory());
        families.push(self.machine());
        if !names.is_empty() {
            families.retain(|family| names.iter().any(|name| family::has(family, name)));
        }
        family::text(families, self.started)
    }

    /// What the process runs on.
    fn machine(&self) -> MetricFamily {
        let Machine { cores, cpus, .. } = &self.machine;
        let labels = [
            ("version", env!("CARGO_PKG_VERSION").to_owned()),
            ("arch", std::env::consts::ARCH.to_owned()),
            ("cpu", self.cpu.clone().unwrap_or_default()),
            ("cores", cores.len().to_string()),
            ("cpus", cpus.to_string()),
        ];
        let help = "What the process runs on: the CPU, as far as it has a name, cores and CPUs that it may use.";
        family("ironrank_machine_info", help, [(labels.to_vec(), Sample::Gauge(1.0))])
    }

    /// What is used of the memory, where the system says.
    fn memory(&self) -> impl Iterator<Item = MetricFamily> {
        let gauge = |name, help, bytes: u64| family(name, help, [(Vec::new(), Sample::Gauge(bytes as f64))]);
        let help = "Bytes of memory that the process may use: the machine's or its cgroup's.";
        let limit = self.machine.memory.map(|bytes| gauge("ironrank_memory_limit_bytes", help, bytes));
        let help = "Bytes of memory of the process alone, mapped weights not among them.";
        let private = Resident::of_this_process().map(|now| gauge("ironrank_private_memory_bytes", help, now.private));
        limit.into_iter().chain(private)
    }
}

/// How a model runs.
fn info(served: &Served) -> MetricFamily {
    let labels = [
        ("isa", served.isa.to_owned()),
        ("precision", served.precision.name().to_owned()),
        ("threads", served.threads.to_string()),
    ];
    let help =
        "How the model runs: on which instruction set and how many threads, and what its matrices are multiplied as.";
    family("ironrank_model_info", help, [(labels.to_vec(), Sample::Gauge(1.0))])
}

/// What Linux calls the CPU; no ARM has such a name.
fn cpu_name() -> Option<String> {
    let told = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let name = told.lines().find_map(|line| line.strip_prefix("model name")?.trim_start().strip_prefix(':'))?;
    Some(name.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// `family` as that of the model called `name` in the place `place`, whose engine has that number. vLLM's front end, which
/// counts refusals, knows no engine; and its description of a cache names no model.
fn of_model(family: MetricFamily, place: usize, name: &str) -> MetricFamily {
    let has_engine = family.name().starts_with("vllm:") && family.name() != "vllm:admission_rejections_total";
    let has_name = family.name() != "vllm:cache_config_info";
    let labels = [("engine", place.to_string(), has_engine), ("model_name", name.to_owned(), has_name)];
    family::labelled(family, labels.into_iter().filter_map(|(label, value, has)| has.then_some((label, value))))
}
