//! The command line and the variables of text-embeddings-inference (TEI), for deployments in which only the name of the image
//! is changed: what has another name there is put where ours is.
//!
//! Invariant: variables, whose names are anybody's (`PORT`), and TEI's defaults count only where TEI's model is named, by
//! `--model-id` or, where there is no other model, by `MODEL_ID`. Our own flags win. Called by the options of `serve`.

use super::environment::Environment;
use super::json::StringList;
use super::listen;
use super::log::{LogArgs, LogFormat};
use super::model::dtype;
use super::scoring::Overflow;
use super::served::ServedArgs;
use super::server::ServerArgs;
use super::values::{self, OrNone};
use clap::Args;

/// The variable that names the model.
pub const MODEL: &str = "MODEL_ID";
/// Where TEI's images listen.
const PORT: u16 = 80;
/// Bodies are limited in whole MiB here.
const MIB: usize = 1 << 20;

/// TEI's flags that have another name here.
#[derive(Debug, Args)]
pub struct TeiArgs {
    #[arg(long, hide = true)]
    pub model_id: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub auto_truncate: Option<bool>,
    #[arg(long, hide = true)]
    pub hostname: Option<String>,
    #[arg(long, hide = true)]
    pub payload_limit: Option<usize>,
    #[arg(long, hide = true, value_parser = values::human_count)]
    pub max_concurrent_requests: Option<usize>,
    #[arg(long, hide = true)]
    pub json_output: bool,
    #[arg(long, hide = true)]
    pub cors_allow_origin: Vec<String>,
    #[arg(long, hide = true)]
    pub pooling: Option<String>,
    #[arg(long, hide = true)]
    pub default_prompt: Option<String>,
    #[arg(long, hide = true)]
    pub default_prompt_name: Option<String>,
}

/// Puts what TEI calls otherwise where it belongs; whether TEI's model is named, and so any name of a model is taken.
pub fn translate(
    tei: TeiArgs,
    first: &mut ServedArgs,
    server: &mut ServerArgs,
    log: &mut LogArgs,
    env: Environment,
) -> Result<bool, String> {
    let variable = |name: &str| if first.model.is_named() { None } else { env.get(name) };
    let Some(id) = tei.model_id.clone().or_else(|| variable(MODEL)) else {
        return apply(tei, first, server, log, |_| None, false);
    };
    if first.model.is_named() {
        return Err(format!("--model-id {id} and MODEL both name a model: leave one of them out."));
    }
    first.model.model = Some(id);
    apply(tei, first, server, log, |name| env.get(name), true)
}

fn apply(
    tei: TeiArgs,
    first: &mut ServedArgs,
    server: &mut ServerArgs,
    log: &mut LogArgs,
    variable: impl Fn(&str) -> Option<String>,
    is_tei: bool,
) -> Result<bool, String> {
    let wrong = |name: &'static str| move |why: String| format!("{name}: {why}");
    for (flag, name, given) in [
        ("--default-prompt", "DEFAULT_PROMPT", &tei.default_prompt),
        ("--default-prompt-name", "DEFAULT_PROMPT_NAME", &tei.default_prompt_name),
    ] {
        if given.is_some() || variable(name).is_some() {
            return Err(format!(
                "{flag} ({name}) is not possible: a text stands behind the prompt that its request chooses, by prompt_name, \
                 input_type or a name of the model such as NAME:query."
            ));
        }
    }
    if let Some(other) = tei.pooling.or_else(|| variable("POOLING")).filter(|pooling| pooling != "last-token") {
        return Err(format!(
            "--pooling {other} is not possible: a text's vector is that of its last token; use last-token."
        ));
    }
    let port = variable("PORT").map(|text| listen::port(&text)).transpose().map_err(wrong("PORT"))?;
    server.port = server.port.or(port).or(is_tei.then_some(PORT));
    if let (None, Some(host)) = (&server.host, tei.hostname) {
        server.host = Some(OrNone(Some(host)));
    }
    let truncates = match variable("AUTO_TRUNCATE") {
        Some(text) => {
            Some(text.trim().parse().map_err(|_| format!("AUTO_TRUNCATE: '{text}' is neither true nor false."))?)
        }
        None => None,
    };
    let truncates = tei.auto_truncate.or(truncates).or(is_tei.then_some(true));
    let overflow = truncates.map(|truncates| if truncates { Overflow::Truncate } else { Overflow::Error });
    first.scoring.overflow = first.scoring.overflow.or(overflow);
    let asked = variable("DTYPE").map(|text| dtype(&text)).transpose().map_err(wrong("DTYPE"))?;
    first.model.dtype = first.model.dtype.or(asked);
    if first.served_model_name.is_empty() {
        first.served_model_name.extend(variable("SERVED_MODEL_NAME"));
    }
    if server.api_key.is_empty() {
        server.api_key.extend(variable("API_KEY"));
    }
    let count = |name: &'static str| {
        variable(name).map(|text| values::human_count(&text)).transpose().map_err(|why| format!("{name}: {why}"))
    };
    let bytes = tei.payload_limit.or(count("PAYLOAD_LIMIT")?).map(|bytes| bytes.max(1).div_ceil(MIB).to_string());
    let limit = bytes.map(|mib| values::body_mebibytes(&mib)).transpose().map_err(wrong("--payload-limit, in MiB"))?;
    server.max_body_mib = server.max_body_mib.or(limit);
    server.max_num_queued_reqs =
        server.max_num_queued_reqs.or(tei.max_concurrent_requests).or(count("MAX_CONCURRENT_REQUESTS")?);
    if tei.json_output || variable("JSON_OUTPUT").is_some_and(|text| text.trim() == "true") {
        log.format.log_format = log.format.log_format.or(Some(LogFormat::Json));
    }
    let origins: Vec<String> = match tei.cors_allow_origin {
        origins if origins.is_empty() => variable("CORS_ALLOW_ORIGIN").into_iter().collect(),
        origins => origins,
    };
    if server.allowed_origins.is_none() && !origins.is_empty() {
        server.allowed_origins = Some(StringList(origins));
    }
    Ok(is_tei)
}
