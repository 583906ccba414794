//! The certificates of an encrypted server: read and checked before it listens, and again when they were renewed.
//!
//! Invariants: what is in use is always a chain with its own key, and with authorities that were read at the same time;
//! files that are not what they should be change nothing in a running server; nothing of a key is ever part of a
//! message. Called by `listen` and, for renewals, by `main`.

use crate::error::{Error, ErrorKind, Result};
use crate::file;
use crate::options::{ClientCertificates, Tls};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// How often files that may be renewed are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What the files hold.
#[derive(Debug, Clone)]
struct Held {
    /// The server's certificate and key.
    identity: Arc<CertifiedKey>,
    /// Who checks the certificates of clients, if they are asked for any.
    clients: Option<Arc<dyn ClientCertVerifier>>,
}

/// What is in use, for each handshake anew.
#[derive(Debug)]
struct Current {
    held: RwLock<Held>,
    /// The authorities that clients are told of; none where they may change, and then any will do.
    hints: Vec<DistinguishedName>,
}

/// Where renewed certificates come from, and where they go.
#[derive(Debug)]
pub struct Renewal {
    tls: Tls,
    current: Arc<Current>,
    /// The files that are in use, or were found bad.
    taken: Stamps,
    /// The files when they were last looked at.
    seen: Stamps,
}

/// What tells a file from its successor: a mounted secret is renewed by another link, a tool may write into the old file.
type Stamps = [Option<(SystemTime, u64, u64)>; 3];

/// Reads and checks the files of `tls`.
pub fn secure(tls: &Tls) -> Result<(ServerConfig, Renewal)> {
    let provider = Arc::new(ring::default_provider());
    let taken = stamps(tls);
    let held = Held::read(tls, &provider)?;
    let asks_clients = held.clients.is_some();
    let hints = match &held.clients {
        Some(clients) if !tls.refresh => clients.root_hint_subjects().to_vec(),
        _ => Vec::new(),
    };
    let current = Arc::new(Current { held: RwLock::new(held), hints });
    let builder = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|err| Error::new(ErrorKind::Internal, format!("TLS cannot be set up: {err}.")))?;
    let builder = match asks_clients {
        true => builder.with_client_cert_verifier(current.clone()),
        false => builder.with_no_client_auth(),
    };
    let config = builder.with_cert_resolver(current.clone());
    Ok((config, Renewal { tls: tls.clone(), current, taken, seen: taken }))
}

/// Receives SIGHUP, which from then on does not end the process. Runs inside an actix system.
pub fn hang_ups() -> Result<Signal> {
    signal(SignalKind::hangup())
        .map_err(|err| Error::new(ErrorKind::Internal, format!("Signals cannot be received: {err}.")))
}

/// Follows what becomes of the files, and SIGHUP, for as long as it is polled.
pub async fn follow(mut renewal: Option<Renewal>, mut hang_ups: Signal) {
    let mut renewal = renewal.as_mut().filter(|renewal| renewal.tls.refresh);
    loop {
        let hung_up = tokio::select! {
            came = hang_ups.recv() => came.is_some(),
            () = tokio::time::sleep(LOOK_EVERY), if renewal.is_some() => false,
        };
        match (&mut renewal, hung_up) {
            (Some(renewal), true) => renewal.take(stamps(&renewal.tls)),
            (Some(renewal), false) => renewal.look(),
            (None, _) => {
                tracing::info!("SIGHUP changes nothing here; with --enable-ssl-refresh it takes new certificates")
            }
        }
    }
}

impl Renewal {
    /// Takes what has changed and then stayed as it is since the last look: chain and key are written one after another.
    fn look(&mut self) {
        let now = stamps(&self.tls);
        if now != self.taken && now == self.seen {
            self.take(now);
        }
        self.seen = now;
    }

    fn take(&mut self, now: Stamps) {
        match Held::read(&self.tls, &ring::default_provider()) {
            Ok(held) => {
                *self.current.held.write().unwrap_or_else(PoisonError::into_inner) = held;
                tracing::info!("new connections get the certificate that is now in {}", self.tls.certificate.display());
            }
            Err(err) => tracing::warn!("the old certificate stays in use: {err}"),
        }
        self.taken = now;
    }
}

fn stamps(tls: &Tls) -> Stamps {
    let stamp = |path: &Path| {
        let facts = path.metadata().ok()?;
        Some((facts.modified().ok()?, facts.len(), facts.ino()))
    };
    [Some(&tls.certificate), Some(&tls.key), tls.client_authorities.as_ref()].map(|path| stamp(path?))
}

impl Held {
    fn read(tls: &Tls, provider: &CryptoProvider) -> Result<Self> {
        let clients = match (&tls.client_authorities, tls.client_certificates) {
            (Some(path), asked @ (ClientCertificates::Optional | ClientCertificates::Required)) => {
                let roots = Arc::new(authorities(path)?);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::new(provider.clone()));
                let verifier = match asked {
                    ClientCertificates::Optional => verifier.allow_unauthenticated(),
                    _ => verifier,
                };
                Some(verifier.build().map_err(|err| {
                    bad_file("--ssl-ca-certs", path, &format!("cannot be used to check client certificates ({err})"))
                })?)
            }
            _ => None,
        };
        let chain = certificates("--ssl-certfile", &tls.certificate)?;
        let identity = CertifiedKey::from_der(chain, private_key(&tls.key)?, provider).map_err(|err| match err {
            rustls::Error::InconsistentKeys(_) => {
                bad_file("--ssl-keyfile", &tls.key, "is not the key of the certificate in --ssl-certfile")
            }
            other => bad_file("--ssl-certfile", &tls.certificate, &format!("cannot be used ({other})")),
        })?;
        Ok(Self { identity: Arc::new(identity), clients })
    }
}

impl Current {
    fn held(&self) -> Held {
        self.held.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn clients(&self) -> std::result::Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
        self.held().clients.ok_or_else(|| rustls::Error::General("no certificate is asked for".to_owned()))
    }
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.held().identity)
    }
}

impl ClientCertVerifier for Current {
    fn offer_client_auth(&self) -> bool {
        self.clients().is_ok_and(|clients| clients.offer_client_auth())
    }

    fn client_auth_mandatory(&self) -> bool {
        self.clients().is_ok_and(|clients| clients.client_auth_mandatory())
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<ClientCertVerified, rustls::Error> {
        self.clients()?.verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.clients()?.verify_tls12_signature(message, cert, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, rustls::Error> {
        self.clients()?.verify_tls13_signature(message, cert, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.clients().map(|clients| clients.supported_verify_schemes()).unwrap_or_default()
    }
}

fn authorities(path: &Path) -> Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates("--ssl-ca-certs", path)? {
        roots.add(certificate).map_err(|err| {
            bad_file("--ssl-ca-certs", path, &format!("holds a certificate that is not an authority's ({err})"))
        })?;
    }
    Ok(roots)
}

fn certificates(flag: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = pem(flag, path)?;
    match CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<std::result::Result<Vec<_>, _>>() {
        Ok(certificates) if !certificates.is_empty() => Ok(certificates),
        _ => Err(bad_file(flag, path, "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    const FLAG: &str = "--ssl-keyfile";
    let pem = pem(FLAG, path)?;
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| match pem.contains("ENCRYPTED") {
        true => bad_file(FLAG, path, "is protected by a password, which the server has no way to ask for"),
        false => bad_file(FLAG, path, "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"),
    })
}

fn pem(flag: &str, path: &Path) -> Result<String> {
    file::read_pem(path).map_err(|fault| bad_file(flag, path, &fault.to_string()))
}

fn bad_file(flag: &str, path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Options, format!("{flag} {} {what}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, ServerConnection};
    use std::path::PathBuf;

    /// A certificate and its key as PEM.
    fn made() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    /// Writes a file and gives it a time of its own: files of a test are written within one tick of the clock.
    fn write(path: &Path, text: &str, seconds: u64) {
        std::fs::write(path, text).expect("written");
        let file = std::fs::File::options().write(true).open(path).expect("it is there");
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)).expect("the time is set");
    }

    fn identity(chain: &str) -> CertificateDer<'static> {
        CertificateDer::from_pem_slice(chain.as_bytes()).expect("a certificate")
    }

    /// A handshake in memory between a server and a client that trusts `trusted` and shows `own`: whether it succeeds.
    fn shakes(server: &Arc<ServerConfig>, trusted: &str, own: Option<&(String, String)>) -> bool {
        let mut roots = RootCertStore::empty();
        roots.add(identity(trusted)).expect("a root");
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let config = match own {
            Some((chain, key)) => {
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![identity(chain)], key).expect("a pair")
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").expect("a name");
        let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
        let mut server = ServerConnection::new(server.clone()).expect("a server");
        while client.is_handshaking() || server.is_handshaking() {
            let mut sent = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut sent).expect("to memory");
            }
            server.read_tls(&mut sent.as_slice()).expect("from memory");
            if server.process_new_packets().is_err() {
                return false;
            }
            sent.clear();
            while server.wants_write() {
                server.write_tls(&mut sent).expect("to memory");
            }
            client.read_tls(&mut sent.as_slice()).expect("from memory");
            if client.process_new_packets().is_err() {
                return false;
            }
        }
        true
    }

    struct Files {
        _dir: tempfile::TempDir,
        tls: Tls,
    }

    fn files(refresh: bool, asked: ClientCertificates) -> Files {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [certificate, key, authorities] =
            ["c.pem", "k.pem", "a.pem"].map(|name| -> PathBuf { dir.path().join(name) });
        let tls = Tls { certificate, key, client_authorities: Some(authorities), client_certificates: asked, refresh };
        Files { _dir: dir, tls }
    }

    #[test]
    fn a_renewed_certificate_is_taken_once_its_files_are_whole_and_a_bad_one_never() {
        let Files { _dir, tls } = files(true, ClientCertificates::Ignored);
        let (old, new, newest) = (made(), made(), made());
        write(&tls.certificate, &old.0, 1);
        write(&tls.key, &old.1, 1);
        let (config, mut renewal) = secure(&tls).expect("good files");
        let config = Arc::new(config);
        let serves = |trusted: &str| shakes(&config, trusted, None);
        renewal.look();
        renewal.look();
        assert!(serves(&old.0) && !serves(&new.0));
        write(&tls.certificate, &new.0, 2);
        renewal.look();
        assert!(serves(&old.0), "its key may be on its way");
        write(&tls.key, &new.1, 2);
        renewal.look();
        assert!(serves(&old.0), "more may be");
        renewal.look();
        assert!(serves(&new.0) && !serves(&old.0));
        for (seconds, bad) in [(3, ""), (4, "nonsense"), (5, newest.0.as_str())] {
            write(&tls.certificate, bad, seconds);
            renewal.look();
            renewal.look();
            assert!(serves(&new.0), "what cannot be used is not");
        }
        std::fs::remove_file(&tls.key).expect("removed");
        renewal.look();
        renewal.look();
        assert!(serves(&new.0));
        write(&tls.key, &newest.1, 6);
        renewal.look();
        renewal.look();
        assert!(serves(&newest.0), "as a link to another file would be");
    }

    #[test]
    fn renewed_authorities_let_in_whom_they_have_signed_and_nobody_else() {
        let Files { _dir, tls } = files(true, ClientCertificates::Required);
        let (server, old, new) = (made(), made(), made());
        write(&tls.certificate, &server.0, 1);
        write(&tls.key, &server.1, 1);
        write(tls.client_authorities.as_deref().expect("a path"), &old.0, 1);
        let (config, mut renewal) = secure(&tls).expect("good files");
        let config = Arc::new(config);
        let lets_in = |own| shakes(&config, &server.0, own);
        assert!(lets_in(Some(&old)) && !lets_in(Some(&new)) && !lets_in(None));
        write(tls.client_authorities.as_deref().expect("a path"), &new.0, 2);
        renewal.look();
        renewal.look();
        assert!(lets_in(Some(&new)) && !lets_in(Some(&old)) && !lets_in(None));
    }
}
