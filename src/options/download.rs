//! The options of `download`: which files of which repository, and the way there, which the environment tells as it
//! tells other clients of the hub.
//!
//! Called by `options::parse`; the token file is the one file read here.

use super::flags::LogFormatArgs;
use super::{LogOptions, build, values};
use crate::file;
use actix_web::http::Uri;
use clap::Args;
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
    #[arg(long, value_name = "DIR")]
    pub dir: Option<String>,
    /// Branch, tag or commit [default: main]
    #[arg(long, value_name = "REV")]
    pub revision: Option<String>,
    #[command(flatten)]
    pub log: LogFormatArgs,
}

/// What help says of the environment.
pub const ENVIRONMENT: &str = "\
Only what the server needs is fetched: config.json, tokenizer.json, tokenizer_config.json and the safetensors files. A
second run fetches what is missing or wrong, and goes on where the first was cut.

Environment: HF_ENDPOINT (a mirror), HF_TOKEN, or the file of `hf auth login` (HF_TOKEN_PATH, HF_HOME), HTTPS_PROXY,
HTTP_PROXY, ALL_PROXY, NO_PROXY, SSL_CERT_FILE (authorities of your own), HF_HUB_OFFLINE.";

/// The options of `download`.
pub fn options(args: DownloadArgs, env: impl Fn(&str) -> Option<String>) -> Result<DownloadOptions, String> {
    let env = |name: &str| env(name).filter(|value| !value.trim().is_empty());
    let either = |name: &str| env(name).or_else(|| env(&name.to_ascii_lowercase()));
    for name in ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"] {
        if let Some(value) = env(name).filter(|value| values::truthy(value)) {
            return Err(format!(
                "{name}={value} forbids the network, which `download` needs; unset it for this command."
            ));
        }
    }
    let repo = repository(&args.repo)?;
    let revision = args.revision.filter(|revision| !revision.is_empty()).unwrap_or_else(|| DEFAULT_REVISION.to_owned());
    let dir = match build::given(args.dir) {
        Some(dir) => dir,
        None => repo.rsplit('/').next().unwrap_or(&repo).to_owned(),
    };
    let endpoint = env("HF_ENDPOINT").map_or_else(|| Ok(DEFAULT_ENDPOINT.to_owned()), |text| endpoint(&text))?;
    let proxy = if endpoint.starts_with("https:") { either("HTTPS_PROXY") } else { either("HTTP_PROXY") };
    let no_proxy = either("NO_PROXY").unwrap_or_default();
    let (token, of_token) = token(env)?;
    let of_modelscope = env("VLLM_USE_MODELSCOPE").filter(|value| values::truthy(value)).map(|value| {
        format!(
            "VLLM_USE_MODELSCOPE={value} has no effect here: {repo} comes from {endpoint}. `modelscope download \
             --model {repo} --local_dir {dir}` fetches it from ModelScope."
        )
    });
    let log = build::log_options(args.log, None, env, of_modelscope.into_iter().chain(of_token).collect());
    Ok(DownloadOptions {
        repo,
        revision,
        dir: PathBuf::from(dir),
        endpoint,
        token,
        proxy: proxy.or_else(|| either("ALL_PROXY")),
        no_proxy: no_proxy.split(',').map(|host| host.trim().to_owned()).filter(|host| !host.is_empty()).collect(),
        authorities: env("SSL_CERT_FILE").or_else(|| env("REQUESTS_CA_BUNDLE")).map(PathBuf::from),
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
fn token(env: impl Fn(&str) -> Option<String>) -> Result<(Option<Token>, Option<String>), String> {
    if let Some(text) = env("HF_TOKEN").or_else(|| env("HUGGING_FACE_HUB_TOKEN")) {
        return Ok((token_in(&text, "HF_TOKEN")?, None));
    }
    if let Some(path) = env("HF_TOKEN_PATH") {
        return Ok((token_of(Path::new(&path))?, None));
    }
    let caches = env("XDG_CACHE_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env("HOME")?).join(".cache")));
    let home = env("HF_HOME").map(PathBuf::from).or_else(|| Some(caches?.join("huggingface")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Command, parse};

    fn parsed(args: &str, env: &[(&str, &str)]) -> Command {
        let args = format!("ironrank download {args}");
        let env = |name: &str| env.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        parse(args.split_whitespace(), env)
    }

    fn options_of(args: &str, env: &[(&str, &str)]) -> DownloadOptions {
        match parsed(args, env) {
            Command::Download(options) => *options,
            other => panic!("{args}: {other:?}"),
        }
    }

    fn refused(args: &str, env: &[(&str, &str)]) -> String {
        match parsed(args, env) {
            Command::Say { text, code: 2 } => text,
            other => panic!("{args}: {other:?}"),
        }
    }

    #[test]
    fn a_repository_goes_into_a_directory_of_its_name() {
        let plain = options_of("Qwen/Qwen3-Reranker-0.6B", &[]);
        assert_eq!(plain.dir, PathBuf::from("Qwen3-Reranker-0.6B"));
        assert_eq!((plain.revision.as_str(), plain.endpoint.as_str()), ("main", DEFAULT_ENDPOINT));
        assert_eq!((plain.token, plain.proxy, plain.authorities), (None, None, None));
        let asked = options_of("gpt2 --dir=/models/m --revision refs/pr/1", &[]);
        assert_eq!((asked.dir, asked.revision.as_str()), (PathBuf::from("/models/m"), "refs/pr/1"));
    }

    #[test]
    fn what_is_not_a_repository_is_said() {
        for text in ["https://hub.example/a/b", "a/b/c", "/models/m", "./m", "a/..", "a/", "/", "a/b?c"] {
            assert!(refused(text, &[]).contains("is not a repository; write NAMESPACE/NAME"), "{text}");
        }
        assert!(refused("", &[]).contains("REPO"));
    }

    #[test]
    fn the_environment_tells_the_way() {
        let env = [
            ("HF_ENDPOINT", "https://mirror.example/hub/"),
            ("HF_TOKEN", " hf_secret\n"),
            ("https_proxy", "http://proxy.example:3128"),
            ("HTTP_PROXY", "http://other.example"),
            ("NO_PROXY", "localhost, .example.org,"),
            ("SSL_CERT_FILE", "/etc/ca.pem"),
        ];
        let options = options_of("a/b", &env);
        assert_eq!(options.endpoint, "https://mirror.example/hub");
        assert_eq!(options.token, Some(Token("hf_secret".to_owned())));
        assert!(!format!("{options:?}").contains("hf_secret"));
        assert_eq!(options.proxy.as_deref(), Some("http://proxy.example:3128"));
        assert_eq!(options.no_proxy, ["localhost", ".example.org"]);
        assert_eq!(options.authorities, Some(PathBuf::from("/etc/ca.pem")));
        let plain = [("HF_ENDPOINT", "http://mirror"), env[2], env[3], ("ALL_PROXY", "socks5://third.example")];
        assert_eq!(options_of("a/b", &plain).proxy.as_deref(), Some("http://other.example"));
        assert_eq!(options_of("a/b", &plain[3..]).proxy.as_deref(), Some("socks5://third.example"));
    }

    #[test]
    fn another_hub_that_is_asked_for_is_named_with_its_own_command() {
        let said = |env: &[(&str, &str)]| options_of("a/b --dir d", env).log.notices;
        let mirror = ("HF_ENDPOINT", "https://mirror.example");
        for (env, from) in [
            (&[("VLLM_USE_MODELSCOPE", "True")][..], DEFAULT_ENDPOINT),
            (&[("VLLM_USE_MODELSCOPE", "1"), mirror], mirror.1),
        ] {
            let [notice] = &said(env)[..] else { panic!("{env:?}: one notice") };
            assert!(notice.contains(&format!("a/b comes from {from}. ")), "{notice}");
            assert!(notice.contains("`modelscope download --model a/b --local_dir d`"), "{notice}");
        }
        assert!(said(&[]).is_empty() && said(&[("VLLM_USE_MODELSCOPE", "False"), mirror]).is_empty());
    }

    #[test]
    fn a_login_leaves_its_token_in_a_file() {
        let home = tempfile::tempdir().unwrap();
        let place = |name: &str| {
            let path = home.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, format!("{name}\n")).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let found = |env: &[(&str, &str)]| options_of("a/b", env).token.map(|token| token.0);
        let [home_token, own] = ["home/token", "elsewhere"].map(place);
        place(".cache/huggingface/token");
        let user = home.path().to_str().unwrap();
        assert_eq!(found(&[("HOME", user)]).as_deref(), Some(".cache/huggingface/token"));
        let hf_home = home_token.trim_end_matches("/token");
        assert_eq!(found(&[("HOME", user), ("HF_HOME", hf_home)]).as_deref(), Some("home/token"));
        assert_eq!(found(&[("HF_HOME", hf_home), ("HF_TOKEN_PATH", &own)]).as_deref(), Some("elsewhere"));
        assert_eq!(found(&[("HF_TOKEN_PATH", &own), ("HF_TOKEN", "mine")]).as_deref(), Some("mine"));
        assert_eq!(found(&[("HF_TOKEN_PATH", "/no/such/file")]), None);
        assert!(refused("a/b", &[("HF_TOKEN", "two words")]).contains("HF_TOKEN does not hold a token"));
    }

    #[test]
    fn a_token_that_cannot_be_read_ends_a_download_only_where_it_was_named() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("token");
        let spoil: [fn(&Path); 3] = [
            |path| std::fs::create_dir(path).unwrap(),
            |path| std::os::unix::fs::symlink("elsewhere", path).unwrap(),
            |path| std::fs::write(path, "two words").unwrap(),
        ];
        let [hf_home, file] = [home.path(), &path].map(|path| path.to_str().unwrap());
        for spoil in spoil {
            spoil(&path);
            let options = options_of("a/b", &[("HF_HOME", hf_home)]);
            assert_eq!(options.token, None);
            let [notice] = &options.log.notices[..] else { panic!("{:?}", options.log.notices) };
            assert!(notice.contains(file) && notice.ends_with("without a token; HF_TOKEN gives one."), "{notice}");
            assert!(refused("a/b", &[("HF_TOKEN_PATH", file)]).contains(file));
            // Who gives a token is not told of another.
            assert!(options_of("a/b", &[("HF_HOME", hf_home), ("HF_TOKEN", "mine")]).log.notices.is_empty());
            if std::fs::remove_file(&path).is_err() {
                std::fs::remove_dir(&path).unwrap();
            }
        }
        assert!(options_of("a/b", &[("HF_HOME", hf_home)]).log.notices.is_empty());
    }

    #[test]
    fn offline_and_wrong_addresses_are_sentences() {
        assert!(refused("a/b", &[("HF_HUB_OFFLINE", "1")]).contains("HF_HUB_OFFLINE=1 forbids the network"));
        options_of("a/b", &[("HF_HUB_OFFLINE", "0")]);
        for address in ["mirror.example", "ftp://mirror.example", "https://", "http://m?x=1"] {
            assert!(refused("a/b", &[("HF_ENDPOINT", address)]).contains("is not an address"), "{address}");
        }
    }
}
