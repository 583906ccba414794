//! What a comparison found, as a table for people and as JSON.

use super::Agreement;
use crate::busy::Busy;
use crate::startup::RunsOn;
use serde_json::{Value, json};
use std::fmt;

/// What was found. [`fmt::Display`] is the table.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Of this program.
    pub version: &'static str,
    /// The model as it was given.
    pub model: String,
    /// What ran it when it was not exact.
    pub runs_on: RunsOn,
    /// Where the pairs are from.
    pub input: String,
    /// Queries, each with its documents.
    pub queries: usize,
    /// Documents of all queries.
    pub pairs: usize,
    /// Tokens of all pairs, as `usage` counts them.
    pub tokens: u64,
    /// How long the exact run took.
    pub exact_seconds: f64,
    /// How long the other run took.
    pub seconds: f64,
    /// How well both agree.
    pub agreement: Agreement,
    /// What others did meanwhile, if the system says.
    pub busy: Option<Busy>,
}

impl Report {
    /// One JSON object; units stand in the names, and what could not be told is null.
    pub fn to_json(&self) -> Value {
        let of = &self.agreement;
        json!({
            "version": self.version,
            "model": self.model,
            "isa": self.runs_on.isa,
            "threads": self.runs_on.threads,
            "precision": self.runs_on.precision.name(),
            "input": self.input,
            "queries": self.queries,
            "pairs": self.pairs,
            "tokens": self.tokens,
            "exact_tokens_per_s": self.tokens as f64 / self.exact_seconds,
            "tokens_per_s": self.tokens as f64 / self.seconds,
            "speedup": self.exact_seconds / self.seconds,
            "score_difference_max": of.score_difference_max,
            "score_difference_mean": of.score_difference_mean,
            "margin_error_rms": of.margin_error_rms,
            "margin_error_share": of.margin_error_share,
            "kendall_tau": of.kendall_tau,
            "ndcg_at_10": of.ndcg_at_10,
            "top_1_agreement": of.top_1,
            "top_10_agreement": of.top_10,
            "other_cpu_share": self.busy.map(|busy| busy.others),
            "stolen_cpu_share": self.busy.map(|busy| busy.stolen),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Agreement { score_difference_max, score_difference_mean, margin_error_rms, .. } = self.agreement;
        let Agreement { margin_error_share, kendall_tau, ndcg_at_10, top_1, top_10, .. } = self.agreement;
        let rate = |seconds: f64| self.tokens as f64 / seconds;
        let mut line = |name: &str, value: String| writeln!(f, "{name:<18}{value}");
        line("model", self.model.clone())?;
        line("runs on", self.runs_on.to_string())?;
        line("pairs", format!("{} of {} queries, {} tokens ({})", self.pairs, self.queries, self.tokens, self.input))?;
        line("float32", format!("{:.0} tokens a second", rate(self.exact_seconds)))?;
        let times = self.exact_seconds / self.seconds;
        line(
            self.runs_on.precision.name(),
            format!("{:.0} tokens a second, {times:.2} times as many", rate(self.seconds)),
        )?;
        let (mean, max) = (small(score_difference_mean), small(score_difference_max));
        line("scores are off by", format!("{mean} on average, {max} at most"))?;
        let share = margin_error_share.map_or(String::new(), |share| {
            format!(", {:.2} % of their standard deviation over the documents of a query", 100.0 * share)
        });
        line("logits are off by", format!("{} (root mean square){share}", small(margin_error_rms)))?;
        let figure = |figure: Option<f64>| figure.map_or("unknown".to_owned(), |figure| format!("{figure:.4}"));
        line("Kendall's tau", format!("{} against the exact order, 1 being the same", figure(kendall_tau)))?;
        line("NDCG@10", format!("{}, an exact score being a document's gain", figure(ndcg_at_10)))?;
        let percent = |share: f64| format!("{:.1} %", 100.0 * share);
        let same = top_1.map(|share| format!("the same for {} of the queries", percent(share)));
        line("first document", same.unwrap_or("unknown: no query has several documents".to_owned()))?;
        let same = top_10.map(|share| format!("{} of the exact ones", percent(share)));
        line("first ten", same.unwrap_or("unknown: no query has more than ten documents".to_owned()))?;
        match self.busy.filter(Busy::matters) {
            Some(busy) => writeln!(f, "{busy}"),
            None => Ok(()),
        }
    }
}

/// A small number with two digits that count.
fn small(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        0.001.. => format!("{number:.4}"),
        _ => format!("{number:.1e}"),
    }
}
