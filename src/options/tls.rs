//! The options of an encrypted server, under the names of Python's `ssl`. Called by the options of `serve`.

use super::values::{self, OrNone};
use clap::Args;
use std::path::PathBuf;

/// Files of an encrypted server, all PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificate chain, the server's own first.
    pub certificate: PathBuf,
    /// Private key; may be the same file.
    pub key: PathBuf,
    /// Authorities of client certificates; there if `client_certificates` asks for any.
    pub client_authorities: Option<PathBuf>,
    /// What clients have to show.
    pub client_certificates: ClientCertificates,
    /// Whether files that change are read again.
    pub refresh: bool,
}

/// What clients have to show, as Python's `ssl.CERT_*` count it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Nothing.
    Ignored,
    /// A certificate that is good, or none.
    Optional,
    /// A certificate that is good.
    Required,
}

/// Encryption.
#[derive(Debug, Args)]
#[command(next_help_heading = "TLS")]
pub struct TlsArgs {
    /// Certificate chain (PEM); the server then speaks https
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub ssl_certfile: Option<OrNone<PathBuf>>,
    /// Its private key (PEM) [default: in --ssl-certfile]
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub ssl_keyfile: Option<OrNone<PathBuf>>,
    /// Authorities (PEM) that client certificates are checked against
    #[arg(long, value_name = "FILE", value_parser = values::path)]
    pub ssl_ca_certs: Option<OrNone<PathBuf>>,
    /// Client certificates: 0 are not asked for, 1 are checked if sent, 2 are required [default: 0]
    #[arg(long, value_name = "0|1|2", value_parser = client_certificates, allow_hyphen_values = true)]
    pub ssl_cert_reqs: Option<ClientCertificates>,
    /// Take renewed certificates when their files change, and at SIGHUP
    #[arg(long)]
    pub enable_ssl_refresh: bool,
}

/// The encryption that is asked for; `None` is plain HTTP.
pub fn options(args: TlsArgs, notices: &mut Vec<String>) -> Result<Option<Tls>, String> {
    let client_certificates = args.ssl_cert_reqs.unwrap_or(ClientCertificates::Ignored);
    let [certificate, key, client_authorities] =
        [args.ssl_certfile, args.ssl_keyfile, args.ssl_ca_certs].map(|file| file.and_then(|file| file.0));
    let Some(certificate) = certificate else {
        let orphan = match (key, client_authorities, client_certificates) {
            (Some(_), _, _) => "--ssl-keyfile",
            (None, Some(_), _) => "--ssl-ca-certs",
            (None, None, ClientCertificates::Optional | ClientCertificates::Required) => "--ssl-cert-reqs",
            (None, None, ClientCertificates::Ignored) => {
                if args.enable_ssl_refresh {
                    notices.push("--enable-ssl-refresh has no effect without --ssl-certfile.".to_owned());
                }
                return Ok(None);
            }
        };
        return Err(format!("{orphan} needs a --ssl-certfile; without one the server speaks plain HTTP."));
    };
    if client_certificates != ClientCertificates::Ignored && client_authorities.is_none() {
        return Err(
            "--ssl-cert-reqs 1 or 2 needs --ssl-ca-certs, which client certificates are checked against.".into()
        );
    }
    let key = key.unwrap_or_else(|| certificate.clone());
    Ok(Some(Tls { certificate, key, client_authorities, client_certificates, refresh: args.enable_ssl_refresh }))
}

/// `--ssl-cert-reqs`.
fn client_certificates(text: &str) -> Result<ClientCertificates, String> {
    match text {
        "0" => Ok(ClientCertificates::Ignored),
        "1" => Ok(ClientCertificates::Optional),
        "2" => Ok(ClientCertificates::Required),
        _ => Err(format!("'{text}' is not known; use 0 (not asked for), 1 (optional) or 2 (required).")),
    }
}
