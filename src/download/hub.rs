//! The hub over HTTP: what a repository holds, and the bytes of its files.
//!
//! Invariant: the token goes to the endpoint's host alone, redirected or not; every fault is either a sentence that says
//! who can mend it, or passing, and then tried again a bounded number of times. Called by [`super::run`].

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::file::directory::{CONFIG, INDEX, TOKENIZER};
use crate::options::{DownloadOptions, Token};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;
use std::io::{self, Read};
use std::path::Path;
use std::time::Duration;
use ureq::config::RedirectAuthHeaders;
use ureq::http::{HeaderMap, Response, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, Proxy, ResponseExt};

/// What may stand in a path as it is.
const KEPT: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
/// The listing of the largest repositories has some megabytes.
const LISTING_BYTES: u64 = 64 << 20;
const CONNECT: Duration = Duration::from_secs(20);

/// A repository of the hub, at one revision.
pub(super) struct Hub<'a> {
    agent: Agent,
    options: &'a DownloadOptions,
    /// Whether the way was found to lead somewhere.
    answered: Cell<bool>,
}

/// What a repository holds at one commit.
#[derive(Debug)]
pub(super) struct Listing {
    /// What the revision meant when it was asked for.
    pub commit: String,
    /// The files of the kinds that the server reads.
    pub files: Vec<HubFile>,
    /// The names of the others.
    pub others: Vec<String>,
}

impl Listing {
    /// The file called `name`.
    pub fn find(&self, name: &str) -> Option<&HubFile> {
        self.files.iter().find(|file| file.name == name)
    }
}

/// A file as the hub lists it.
#[derive(Debug, Clone)]
pub(super) struct HubFile {
    pub name: String,
    pub size: u64,
    pub checksum: Checksum,
    commit: String,
}

/// The checksum that the hub gives, in lower-case hexadecimal digits.
#[derive(Debug, Clone)]
pub(super) struct Checksum {
    pub hex: String,
    /// SHA-256 of the bytes, as of large files; else git's own of a blob.
    pub sha256: bool,
}

/// The hub's answer about a revision.
#[derive(Debug, Deserialize)]
struct Revision {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Debug, Deserialize)]
struct Lfs {
    sha256: String,
    size: u64,
}

/// Why an attempt brought nothing, or not all.
pub(super) enum Fault {
    /// It would be the same again.
    Lasting(Error),
    /// It may be better next time.
    Passing {
        /// What happened, as the end of a sentence.
        why: String,
        /// How long the server asks to wait.
        wait: Option<Duration>,
        /// Whether it brought something all the same.
        progressed: bool,
    },
}

impl From<Error> for Fault {
    fn from(err: Error) -> Self {
        Self::Lasting(err)
    }
}

impl Fault {
    pub fn passing(why: impl fmt::Display) -> Self {
        Self::Passing { why: why.to_string(), wait: None, progressed: false }
    }
}

impl<'a> Hub<'a> {
    pub fn new(options: &'a DownloadOptions) -> Result<Self> {
        let wrong = |why: String| Error::new(ErrorKind::Options, why);
        let proxy = options.proxy.as_ref().map(|address| {
            proxy(address, &options.no_proxy)
                .map_err(|_| wrong(format!("The proxy {} is not an address such as http://HOST:PORT.", bare(address))))
        });
        let tls = match &options.authorities {
            Some(path) => TlsConfig::builder().root_certs(authorities(path).map_err(wrong)?),
            None => TlsConfig::builder(),
        };
        let agent = Agent::config_builder()
            .user_agent(concat!("ironrank/", env!("CARGO_PKG_VERSION")))
            // What a proxy compresses could not be gone on with.
            .accept_encoding("identity")
            .http_status_as_error(false)
            .redirect_auth_headers(RedirectAuthHeaders::SameHost)
            .proxy(proxy.transpose()?)
            .tls_config(tls.build())
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(options.patience.silence))
            .timeout_per_read(Some(options.patience.silence))
            .build()
            .new_agent();
        Ok(Self { agent, options, answered: Cell::new(false) })
    }

    /// What the repository holds.
    pub fn listing(&self) -> Result<Listing> {
        let DownloadOptions { endpoint, repo, revision, .. } = self.options;
        let url = format!("{endpoint}/api/models/{repo}/revision/{}?blobs=true", encoded(revision));
        let json = self.persist(
            |why| tracing::warn!("{why}"),
            || {
                let answer = self.get(&url, 0)?;
                let mut json = Vec::new();
                let body = answer.into_body().into_with_config().limit(LISTING_BYTES).reader();
                body.take(LISTING_BYTES)
                    .read_to_end(&mut json)
                    .map_err(|err| Fault::passing(self.unreachable(&err.into())))?;
                Ok(json)
            },
        )?;
        let strange =
            |why: String| Error::new(ErrorKind::Machine, format!("{url} does not answer as the hub does: {why}."));
        let Revision { sha: commit, siblings } =
            serde_json::from_slice(&json).map_err(|err| strange(err.to_string()))?;
        let mut listing = Listing { commit, files: Vec::new(), others: Vec::new() };
        for sibling in siblings {
            let name = sibling.rfilename.clone();
            if !is_read(&name) {
                listing.others.push(name);
                continue;
            }
            let Some((size, checksum)) = sibling.facts() else {
                return Err(strange(format!("it does not tell size and checksum of {name}")));
            };
            listing.files.push(HubFile { name, size, checksum, commit: listing.commit.clone() });
        }
        self.answered.set(true);
        Ok(listing)
    }

    /// The bytes of `file` from `offset` on, or from its start if the server can't do that.
    pub fn open(&self, file: &HubFile, offset: u64) -> std::result::Result<Response<Body>, Fault> {
        let DownloadOptions { endpoint, repo, .. } = self.options;
        let HubFile { name, commit, .. } = file;
        let name: Vec<String> = name.split('/').map(|part| encoded(part).to_string()).collect();
        self.get(&format!("{endpoint}/{repo}/resolve/{}/{}", encoded(commit), name.join("/")), offset)
    }

    /// Tries again while faults are passing. `say` is told of each.
    pub fn persist<T>(
        &self,
        say: impl Fn(&str),
        mut attempt: impl FnMut() -> std::result::Result<T, Fault>,
    ) -> Result<T> {
        let patience = self.options.patience;
        let mut failed = 0;
        loop {
            let (why, wait) = match attempt() {
                Ok(done) => return Ok(done),
                Err(Fault::Lasting(err)) => return Err(err),
                Err(Fault::Passing { why, wait, progressed }) => {
                    failed = if progressed { 1 } else { failed + 1 };
                    (why, wait)
                }
            };
            let give_up = |why: String| Err(Error::new(ErrorKind::Machine, why));
            if failed >= patience.tries {
                return give_up(format!("{why} ({failed} attempts). A later download goes on where this one stopped."));
            }
            let wait = wait.unwrap_or(patience.first_wait * 2_u32.pow(failed - 1));
            if wait > patience.longest_wait {
                return give_up(format!("{why} and asks to wait for {} s. Try again then.", wait.as_secs()));
            }
            match wait.as_secs() {
                0 => say(&format!("{why}; trying again")),
                seconds => say(&format!("{why}; trying again in {seconds} s")),
            }
            std::thread::sleep(wait);
        }
    }

    /// An answer of success.
    fn get(&self, url: &str, offset: u64) -> std::result::Result<Response<Body>, Fault> {
        let mut request = self.agent.get(url);
        if let Some(Token(token)) = &self.options.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if offset > 0 {
            request = request.header("range", format!("bytes={offset}-"));
        }
        let answer = request.call().map_err(|err| self.fault(err))?;
        let status = answer.status().as_u16();
        let who = self.who(answer.get_uri());
        match status {
            200 | 206 => Ok(answer),
            // The part is longer than the file; whoever asked begins anew.
            416 if offset > 0 => Ok(answer),
            408 | 429 | 500..=599 => Err(Fault::Passing {
                why: match status {
                    429 => format!("{who} answers that there were too many requests (429)"),
                    _ => format!("{who} answers with status {status}"),
                },
                wait: wait_of(answer.headers()),
                progressed: false,
            }),
            _ => Err(Fault::Lasting(self.refusal(&who, status, answer.headers(), url))),
        }
    }

    /// Whose answer came from `uri`: the endpoint's, or that of a host to which it redirected. Of that address only the
    /// host is said, for a signature may stand in the rest.
    fn who<'w>(&'w self, uri: &Uri) -> Cow<'w, str> {
        let endpoint = self.options.endpoint.as_str();
        let ours = endpoint.parse::<Uri>().ok();
        match (ours.as_ref().and_then(Uri::host), uri.host()) {
            (Some(ours_host), Some(host))
                if !ours_host.eq_ignore_ascii_case(host) || ours.as_ref().and_then(Uri::port_u16) != uri.port_u16() =>
            {
                let port = uri.port_u16().map_or_else(String::new, |port| format!(":{port}"));
                Cow::Owned(format!("{}://{host}{port}", uri.scheme_str().unwrap_or("https")))
            }
            _ => Cow::Borrowed(endpoint),
        }
    }

    /// No answer at all. A way that leads nowhere is worth no second try, unless it did lead somewhere before.
    fn fault(&self, err: ureq::Error) -> Fault {
        use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, TimedOut, UnexpectedEof, WouldBlock};
        use ureq::Error as E;
        let nowhere = match &err {
            E::HostNotFound | E::ConnectionFailed | E::ConnectProxyFailed(_) => true,
            E::Timeout(step) => matches!(step, ureq::Timeout::Connect | ureq::Timeout::Resolve),
            // An unknown name has no kind of its own.
            E::Io(why) => !matches!(
                why.kind(),
                BrokenPipe | ConnectionAborted | ConnectionReset | TimedOut | UnexpectedEof | WouldBlock
            ),
            _ => false,
        };
        let wrong = matches!(
            err,
            E::BadUri(_) | E::Http(_) | E::InvalidProxyUrl | E::Rustls(_) | E::Tls(_) | E::TooManyRedirects
        ) || is_tls(&err);
        let sentence = self.unreachable(&err);
        match wrong || (nowhere && !self.answered.get()) {
            true => Fault::Lasting(Error::new(ErrorKind::Machine, format!("{sentence}."))),
            false => Fault::passing(sentence),
        }
    }

    /// What is wrong with the way, without the full stop.
    pub fn unreachable(&self, err: &ureq::Error) -> String {
        let DownloadOptions { endpoint, proxy, .. } = self.options;
        // Which of them it was is not told. The endpoint itself is known to answer once the listing came.
        let endpoint = match self.answered.get() {
            true => format!("{endpoint} or the host it redirects to"),
            false => endpoint.clone(),
        };
        let by = proxy.as_ref().map_or_else(String::new, |proxy| format!(" by the proxy {}", bare(proxy)));
        let timed_out = matches!(err, ureq::Error::Timeout(_))
            || matches!(err, ureq::Error::Io(why) if why.kind() == io::ErrorKind::TimedOut);
        match err {
            _ if is_unknown_name(err) => format!(
                "{endpoint} cannot be reached{by}: its name is not known here; without a network, copy the model's \
                 directory from a machine that has one"
            ),
            _ if timed_out => format!("{endpoint} has sent nothing{by} for too long"),
            _ if is_tls(err) => format!(
                "{endpoint} cannot be trusted{by}: {err}; SSL_CERT_FILE names a PEM file of authorities of your own"
            ),
            ureq::Error::Io(why) => format!("{endpoint} cannot be reached{by}: {why}"),
            _ => format!("{endpoint} cannot be reached{by}: {err}"),
        }
    }

    /// What an answer that is no success means.
    fn refusal(&self, endpoint: &str, status: u16, headers: &HeaderMap, url: &str) -> Error {
        let DownloadOptions { repo, revision, token, .. } = self.options;
        let elsewhere = endpoint != self.options.endpoint;
        let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        let sentence = match (status, header("x-error-code"), token) {
            // No token goes there, and what it lacks says nothing about the repository.
            (_, None, _) if elsewhere => {
                format!("{endpoint}, to which {} redirects, answers with status {status}.", self.options.endpoint)
            }
            (401 | 403, Some("GatedRepo"), None) => format!(
                "{repo} is gated: accept its terms at {endpoint}/{repo}, and set HF_TOKEN to a token of that account."
            ),
            (401 | 403, Some("GatedRepo"), Some(_)) => format!(
                "{repo} is gated, and the account of the token has no access yet: accept its terms at {endpoint}/{repo}."
            ),
            (401, _, None) => format!(
                "{endpoint} shows {repo} to nobody without a token: either there is no such repository, or it is \
                 private; then set HF_TOKEN."
            ),
            (401, _, Some(_)) => format!(
                "{endpoint} does not accept the token for {repo}: it is wrong or has expired, or there is no such \
                 repository."
            ),
            (403, _, None) => format!("{endpoint} refuses {repo} without a token: set HF_TOKEN."),
            (403, _, Some(_)) => format!("{endpoint} refuses {repo}: the token has no right to read it."),
            (404, Some("RevisionNotFound"), _) => format!("{repo} has no revision '{revision}'."),
            (404, Some("EntryNotFound"), _) => {
                format!("{endpoint} lists a file of {repo} that it does not have: {url}.")
            }
            (404, Some("RepoNotFound"), _) => format!("{endpoint} has no repository {repo}."),
            (404, ..) => format!("{endpoint} has no repository {repo}, or no revision '{revision}' of it."),
            _ => format!("{endpoint} answers with status {status} to {url}."),
        };
        let kind = if status == 404 && !elsewhere { ErrorKind::Checkpoint } else { ErrorKind::Machine };
        match header("x-error-message").filter(|_| !matches!(status, 401 | 404)) {
            Some(message) => Error::new(kind, format!("{sentence} It says: {}", message.escape_debug())),
            None => Error::new(kind, sentence),
        }
    }
}

impl Sibling {
    /// Size and checksum, if both are told as they should be.
    fn facts(&self) -> Option<(u64, Checksum)> {
        let hex = |text: &str, digits: usize| {
            let right = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            right.then(|| text.to_ascii_lowercase())
        };
        Some(match &self.lfs {
            Some(lfs) => (lfs.size, Checksum { hex: hex(&lfs.sha256, 64)?, sha256: true }),
            None => (self.size?, Checksum { hex: hex(self.blob_id.as_ref()?, 40)?, sha256: false }),
        })
    }
}

/// Files of a kind that the server reads, in the repository itself and not in a folder of it, but for those of modules.
fn is_read(name: &str) -> bool {
    let known = [CONFIG, TOKENIZER, "tokenizer_config.json", "chat_template.jinja", INDEX];
    let own = !name.contains('/') && (known.contains(&name) || name.ends_with(".safetensors"));
    own || crate::checkpoint::tells_of_task(name)
}

/// A part of a path.
fn encoded(text: &str) -> impl fmt::Display {
    utf8_percent_encode(text, &KEPT)
}

/// Whether there is no address for the host's name, which the standard library tells by its text alone.
fn is_unknown_name(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::HostNotFound => true,
        ureq::Error::Io(why) => why.to_string().contains("failed to lookup address information"),
        _ => false,
    }
}

/// Whether the other side has no certificate that is trusted, or speaks no TLS.
fn is_tls(err: &ureq::Error) -> bool {
    match err {
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => true,
        ureq::Error::Io(why) => why.get_ref().is_some_and(|why| why.is::<rustls::Error>()),
        _ => false,
    }
}

/// An address without the name and the password that may stand in it.
fn bare(address: &str) -> &str {
    address.rsplit_once('@').map_or(address, |(_, host)| host)
}

/// The proxy at `address`, for all hosts but `no_proxy`.
fn proxy(address: &str, no_proxy: &[String]) -> std::result::Result<Proxy, ureq::Error> {
    let whole = Proxy::new(address)?;
    let mut proxy = Proxy::builder(whole.protocol()).host(whole.host()).port(whole.port());
    if let Some(name) = whole.username() {
        proxy = proxy.username(name);
    }
    if let Some(password) = whole.password() {
        proxy = proxy.password(password);
    }
    no_proxy.iter().fold(proxy, |proxy, host| proxy.no_proxy(host)).build()
}

/// The certificates of a PEM file.
fn authorities(path: &Path) -> std::result::Result<RootCerts, String> {
    let pem = file::read_pem(path).map_err(|fault| format!("SSL_CERT_FILE {} {fault}.", path.display()))?;
    let certificates: Vec<_> = parse_pem(pem.as_bytes())
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    match certificates.is_empty() {
        true => Err(format!("SSL_CERT_FILE {} holds no certificate in PEM.", path.display())),
        false => Ok(RootCerts::from(certificates)),
    }
}

/// How long an answer asks to wait: `Retry-After` in seconds, or the hub's `RateLimit: "api";r=0;t=55`.
fn wait_of(headers: &HeaderMap) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let reset = || text("ratelimit")?.split(';').find_map(|part| part.trim().strip_prefix("t="));
    text("retry-after").or_else(reset)?.trim().parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{self, Command};

    #[test]
    fn a_name_that_is_not_known_is_said_at_once_unless_it_was_known_before() {
        let Command::Download(options) = options::parse(["ironrank", "download", "a/b"], |_| None) else {
            panic!("a download")
        };
        let hub = Hub::new(&options).unwrap();
        let lookup = "failed to lookup address information: Name or service not known";
        let faults = || [ureq::Error::HostNotFound, ureq::Error::Io(io::Error::other(lookup))];
        for err in faults() {
            let Fault::Lasting(err) = hub.fault(err) else { panic!("worth no second try") };
            assert!(err.to_string().contains("its name is not known here"), "{err}");
        }
        hub.answered.set(true);
        assert!(faults().into_iter().all(|err| matches!(hub.fault(err), Fault::Passing { .. })));
    }
}
