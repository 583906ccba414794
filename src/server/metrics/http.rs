//! Requests as HTTP sees them, under the names of prometheus-fastapi-instrumentator, which vLLM uses.
//!
//! Invariant: labels come from bounded sets, whatever clients send. Called by `metrics`.

use super::family::{Sample, family};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const DURATION: [f64; 3] = [0.1, 0.5, 1.0];
const FINE_DURATION: [f64; 21] = [
    0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 7.5, 10.0, 30.0, 60.0,
];

/// An answered request.
#[derive(Debug, Clone, Copy)]
pub struct Exchange<'a> {
    /// The route, from a bounded set.
    pub handler: &'a str,
    /// The method: a label as well, and so from a bounded set.
    pub method: &'a str,
    /// Status of the answer.
    pub status: u16,
    /// Time from the request's head to the answer.
    pub elapsed: Duration,
    /// Bytes of the request's body by its header.
    pub request_bytes: u64,
    /// Bytes of the answer's body.
    pub response_bytes: u64,
}

pub(super) struct Http {
    requests: IntCounterVec,
    duration: HistogramVec,
    fine_duration: Histogram,
    /// By handler: how many, and the bytes of requests and answers.
    sizes: Mutex<BTreeMap<String, (u64, [u64; 2])>>,
}

impl Http {
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let duration = HistogramOpts::new("http_request_duration_seconds", "Duration of HTTP requests in seconds.");
        let help = "Duration of HTTP requests in seconds, all handlers together, in many buckets.";
        let fine = HistogramOpts::new("http_request_duration_highr_seconds", help);
        let http = Self {
            requests: IntCounterVec::new(
                Opts::new("http_requests_total", "Number of HTTP requests by method, status and handler."),
                &["handler", "method", "status"],
            )?,
            duration: HistogramVec::new(duration.buckets(DURATION.to_vec()), &["handler", "method"])?,
            fine_duration: Histogram::with_opts(fine.buckets(FINE_DURATION.to_vec()))?,
            sizes: Mutex::default(),
        };
        registry.register(Box::new(http.requests.clone()))?;
        registry.register(Box::new(http.duration.clone()))?;
        registry.register(Box::new(http.fine_duration.clone()))?;
        Ok(http)
    }

    pub fn count(&self, exchange: Exchange<'_>) {
        let Exchange { handler, method, status, elapsed, request_bytes, response_bytes } = exchange;
        let (class, seconds) = (format!("{}xx", status / 100), elapsed.as_secs_f64());
        self.requests.with_label_values(&[handler, method, &class]).inc();
        self.duration.with_label_values(&[handler, method]).observe(seconds);
        self.fine_duration.observe(seconds);
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let (count, [requests, responses]) = sizes.entry(handler.to_owned()).or_default();
        *count += 1;
        *requests += request_bytes;
        *responses += response_bytes;
    }

    /// The sizes by handler, once there are any.
    pub fn sizes(&self) -> Vec<MetricFamily> {
        let sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        if sizes.is_empty() {
            return Vec::new();
        }
        let summary = |which: usize| {
            let one = move |(handler, (count, bytes)): (&String, &(u64, [u64; 2]))| {
                let sample = Sample::Summary { count: *count, sum: bytes[which] as f64 };
                (vec![("handler", handler.clone())], sample)
            };
            sizes.iter().map(one)
        };
        vec![
            family("http_request_size_bytes", "Bytes of request bodies by handler.", summary(0)),
            family("http_response_size_bytes", "Bytes of answers' bodies by handler.", summary(1)),
        ]
    }
}
