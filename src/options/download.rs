//! The options of `download`: which files of which repository, and the way there, which the environment tells as it
//! tells other clients of the hub.
//!
//! Called by `options::parse`; the token file is the one file read here.

use super::environment::Environment;
use super::log::{self, LogFormatArgs, LogOptions};
use super::values::{self, OrNone};
use crate::file;
use actix_web::http::Uri;
use clap::{Args, Command};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The hub that is asked unless `HF_ENDPOINT` names another.
pub const DEFAULT_ENDPOINT: &str = "https://huggingface.co";
/// The branch that every repository has.
pub const DEFAULT_REVISION: &str = "main";
/// How long servers are waited for.
pub const DEFAULT_PATIENCE: Patience = Patience {
    tries: 6,
    first_wait: Duration::from_secs(1),
    longest_wait: Duration::from_secs(300),
    silence: Duration::from_secs(60),
};

/// What is fetched, where from and where to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DownloadOptions {
    /// `NAMESPACE/NAME`, or only a name.
    pub repo: String,
    /// Branch, tag or commit.
    pub revision: String,
    /// Directory that the files go into.
    pub dir: PathBuf,
    /// Address of the hub or of a mirror, without a slash at its end.
    pub endpoint: String,
    /// Shown to the endpoint, and to nobody else.
    pub token: Option<Token>,
    /// Proxy that stands between.
    pub proxy: Option<String>,
    /// Hosts that are reached without it, as `NO_PROXY` lists them.
    pub no_proxy: Vec<String>,
    /// Certificates (PEM) to trust in place of the public authorities'.
    pub authorities: Option<PathBuf>,
    /// How long servers are waited for.
    pub patience: Patience,
    /// What is logged.
    pub log: LogOptions,
}

/// A secret, which no log shows.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(...)")
    }
}

/// How long servers are waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Attempts in a row that bring nothing.
    pub tries: u32,
    /// The wait after the first of them, unless the server says how long; it doubles with each.
    pub first_wait: Duration,
    /// The longest wait that a server may ask for.
    pub longest_wait: Duration,
    /// How long a server may send nothing.
    pub silence: Duration,
}

/// The arguments of `download`.
#[derive(Debug, Args)]
pub struct DownloadArgs {
    /// Repository of the hub, such as Qwen/Qwen3-Reranker-0.6B
    #[arg(value_name = "REPO")]
    pub repo: String,
    /// Directory that the files go into; `ironrank serve DIR` serves them [default: the name of REPO, here]
    #[arg(long, value_name = "DIR", value_parser = values::text)]
    pub dir: Option<OrNone<String>>,
    /// Branch, tag or commit [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// What help says of the environment.
const ENVIRONMENT: &str = "\
Only what the server needs is fetched: config.json, tokenizer.json, tokenizer_config.json and the safetensors files. A \
second run fetches what is missing or wrong, and goes on where the first was cut.\n\n\
Environment: HF_ENDPOINT (a mirror), HF_TOKEN, or the file of `hf auth login` (HF_TOKEN_PATH, HF_HOME), HTTPS_PROXY, \
HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE (authorities of your own), HF_HUB_OFFLINE.\n\n\
Example:\n  ironrank download Qwen/Qwen3-Reranker-0.6B --dir /models/qwen3-reranker-0.6b";

/// The command.
pub fn command() -> Command {
    DownloadArgs::augment_args(Command::new("download"))
        .about("Fetch a model from the hub, or a mirror, into a directory that `serve` takes")
        .args_override_self(true)
        .infer_long_args(true)
        .after_help(ENVIRONMENT)
}

/// The options of `download`.
pub fn options(args: DownloadArgs, env: Environment) -> Result<DownloadOptions, String> {
    let either = |name: &str| env.get(name).or_else(|| env.get(&name.to_ascii_lowercase()));
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if let Some(value) = env.switched_on(name) {
            return Err(format!(
                "{name}={value} forbids the network, which `download` needs; unset it for this command."
            ));
        }
    }
    let repo = repository(&args.repo)?;
    let revision = args.revision.filter(|revision| !revision.is_empty()).unwrap_or_else(|| DEFAULT_REVISION.to_owned());
    let dir = match args.dir.and_then(|dir| dir.0) {
        Some(dir) => dir,
        None => repo.rsplit('/').next().unwrap_or(&repo).to_owned(),
    };
    let endpoint = env.get("HF_ENDPOINT").map_or_else(|| Ok(DEFAULT_ENDPOINT.to_owned()), |text| endpoint(&text))?;
    let proxy = if endpoint.starts_with("https:") { either("HTTPS_PROXY") } else { either("HTTP_PROXY") };
    let no_proxy = either("NO_PROXY").unwrap_or_default();
    let (token, of_token) = token(env)?;
    let of_modelscope = env.switched_on("VLLM_USE_MODELSCOPE").map(|value| {
        format!(
            "VLLM_USE_MODELSCOPE={value} has no effect here: {repo} comes from {endpoint}. `modelscope download \
             --model {repo} --local_dir {dir}` fetches it from ModelScope."
        )
    });
    let log = log::options(args.log, env, of_modelscope.into_iter().chain(of_token).collect());
    Ok(DownloadOptions {
        repo,
        revision,
        dir: PathBuf::from(dir),
        endpoint,
        token,
        proxy: proxy.or_else(|| either("ALL_PROXY")),
        no_proxy: no_proxy.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect(),
        authorities: env.get("SSL_CERT_FILE").or_else(|| env.get("REQUESTS_CA_BUNDLE")).map(PathBuf::from),
        patience: DEFAULT_PATIENCE,
        log,
    })
}

/// A name that can stand in an address and be a directory's.
fn repository(text: &str) -> Result<String, String> {
    let part = |part: &str| {
        !part.is_empty()
            && !part.starts_with('.')
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    };
    match text.split('/').count() <= 2 && text.split('/').all(part) {
        true => Ok(text.to_owned()),
        false => Err(format!("'{text}' is not a repository; write NAMESPACE/NAME, as in Qwen/Qwen3-Reranker-0.6B.")),
    }
}

fn endpoint(text: &str) -> Result<String, String> {
    let text = text.trim().trim_end_matches('/');
    let uri = text.parse::<Uri>().ok();
    let whole = uri.is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
    });
    match whole && !text.contains('?') {
        true => Ok(text.to_owned()),
        false => Err(format!("HF_ENDPOINT={text} is not an address such as {DEFAULT_ENDPOINT}.")),
    }
}

/// As the hub's own client finds it: the variable, or the file that a login has left. Where nobody has named that file, one
/// that is of no use is told of, in a sentence, and done without: most repositories ask for none.
fn token(env: Environment) -> Result<(Option<Token>, Option<String>), String> {
    if let Some(text) = env.get("HF_TOKEN").or_else(|| env.get("HUGGING_FACE_HUB_TOKEN")) {
        return Ok((token_in(&text, "HF_TOKEN")?, None));
    }
    if let Some(path) = env.get("HF_TOKEN_PATH") {
        return Ok((token_of(Path::new(&path))?, None));
    }
    let caches =
        env.get("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env.get("HOME")?).join(".cache")));
    let home = env.get("HF_HOME").map(PathBuf::from).or_else(|| Some(caches?.join("huggingface")));
    Ok(match home.map(|home| token_of(&home.join("token"))) {
        None => (None, None),
        Some(Ok(token)) => (token, None),
        Some(Err(why)) => (None, Some(format!("{why} The hub is asked without a token; HF_TOKEN gives one."))),
    })
}

/// The token in a file, which need not be there.
fn token_of(path: &Path) -> Result<Option<Token>, String> {
    match file::read_text(path, file::MAX_TEXT_BYTES) {
        Ok(text) => token_in(&text, &path.display().to_string()),
        Err(fault) if fault.is_missing() || fault.is_empty() => Ok(None),
        Err(fault) => Err(format!("The token's file {} {fault}.", path.display())),
    }
}

fn token_in(text: &str, source: &str) -> Result<Option<Token>, String> {
    match text.trim() {
        "" => Ok(None),
        token if token.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(Some(Token(token.to_owned()))),
        _ => Err(format!("{source} does not hold a token: there are white space or other characters within.")),
    }
}
