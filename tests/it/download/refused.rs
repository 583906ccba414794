//! What cannot be fetched, or not there, is a sentence that says who can mend it; and nothing is left that looks whole.

use super::hub::{Fault, Hub, free_port};
use super::{IMPATIENT, Model, WEIGHTS, fetched, names, options, place};
use ironrank::download;
use ironrank::options::{DownloadOptions, Patience, Token};
use std::fs;
use std::sync::Arc;
use std::time::Instant;

/// The sentence of a download from `hub`, with or without a token.
fn said(hub: &Hub, token: Option<&str>) -> String {
    let (_temporary, dir) = place();
    let token = token.map(|token| Token(token.to_owned()));
    let options =
        DownloadOptions { token, repo: "Org/Model".to_owned(), revision: "v2".to_owned(), ..options(hub, &dir) };
    let sentence = download::run(&options).expect_err("refused").to_string();
    assert!(!dir.join("config.json").exists() && !dir.join(WEIGHTS).exists());
    assert!(sentence.ends_with(['.', '"']) || sentence.contains("It says: "), "{sentence}");
    sentence
}

#[test]
fn a_closed_door_says_whose_it_is() {
    let gated = Fault::Status(403, &[("x-error-code", "GatedRepo"), ("x-error-message", "Ask its authors")]);
    for (fault, token, words) in [
        (Fault::Status(401, &[("x-error-code", "GatedRepo")]), None, "Org/Model is gated: accept its terms at http://"),
        (gated, Some("t"), "the account of the token has no access yet"),
        (Fault::Status(401, &[("x-error-code", "RepoNotFound")]), None, "to nobody without a token"),
        (Fault::Status(401, &[]), Some("t"), "does not accept the token for Org/Model"),
        (Fault::Status(403, &[]), None, "refuses Org/Model without a token: set HF_TOKEN"),
        (Fault::Status(403, &[]), Some("t"), "the token has no right to read it"),
        (Fault::Status(404, &[("x-error-code", "RepoNotFound")]), None, "has no repository Org/Model."),
        (Fault::Status(404, &[("x-error-code", "RevisionNotFound")]), None, "Org/Model has no revision 'v2'."),
        (Fault::Status(404, &[]), None, "no repository Org/Model, or no revision 'v2' of it"),
        (Fault::Status(418, &[("x-error-message", "short and stout")]), None, "status 418"),
    ] {
        let hub = Hub::with(&Model::new().files()).faulty("/api/models/", std::slice::from_ref(&fault));
        let sentence = said(&hub, token);
        assert!(sentence.contains(words), "{fault:?}: {sentence}");
        assert_eq!(hub.seen("").len(), 1, "{fault:?} is not worth a second try");
        let Fault::Status(_, headers) = fault else { unreachable!() };
        for (_, message) in headers.iter().filter(|(name, _)| *name == "x-error-message") {
            assert!(sentence.contains(message), "{sentence}");
        }
    }
}

#[test]
fn a_file_that_is_listed_and_not_there_is_said() {
    let entry = Fault::Status(404, &[("x-error-code", "EntryNotFound")]);
    let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &[entry]);
    assert!(said(&hub, None).contains("lists a file of Org/Model that it does not have: http://"));
}

#[test]
fn a_fault_behind_a_redirect_is_that_hosts() {
    for (fault, words) in [
        (Fault::Status(403, &[]), ", answers with status 403."),
        (Fault::Status(404, &[]), ", answers with status 404."),
        (Fault::Status(503, &[]), " answers with status 503 (3 attempts)"),
        (Fault::Status(429, &[("retry-after", "4000")]), " answers that there were too many requests (429)"),
    ] {
        let cdn = Hub::with(&[]).faulty("/cdn/", &vec![fault; 3]);
        let address = format!("http://localhost:{}", cdn.port);
        let away = Fault::To(format!("{address}/cdn/{WEIGHTS}?signature=s"));
        let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &vec![away; 3]);
        let sentence = said(&hub, None);
        assert!(sentence.starts_with(&address) && sentence.contains(words), "{sentence}");
        assert!(!sentence.contains("HF_TOKEN") && !sentence.contains("signature"), "{sentence}");
    }
    let away = Fault::To(format!("http://localhost:{}/cdn/{WEIGHTS}", free_port()));
    let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &vec![away; 3]);
    let sentence = said(&hub, None);
    assert!(sentence.contains(" or the host it redirects to cannot be reached: "), "{sentence}");
}

#[test]
fn tries_are_bounded_and_so_is_the_wait() {
    let broken = vec![Fault::Status(500, &[]); 10];
    let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &broken);
    let sentence = said(&hub, None);
    assert!(sentence.contains("answers with status 500 (3 attempts)"), "{sentence}");
    assert_eq!(hub.seen(WEIGHTS).len(), 3);

    // What is sent again and again up to the same byte is no progress.
    let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &vec![Fault::WholeCutAt(100_000); 10]);
    let sentence = said(&hub, None);
    assert!(sentence.contains("was cut at 100000 of 700000 bytes") && sentence.contains("(3 attempts)"), "{sentence}");

    let busy = Fault::Status(429, &[("retry-after", "4000")]);
    let hub = Hub::with(&Model::new().files()).faulty("/api/", &[busy]);
    let start = Instant::now();
    let sentence = said(&hub, None);
    assert!(sentence.contains("too many requests (429) and asks to wait for 4000 s. Try again then."), "{sentence}");
    assert!(start.elapsed().as_secs() < 100);
}

#[test]
fn another_size_than_the_listed_one_is_said_before_anything_is_fetched() {
    let model = Model::new();
    let hub = Hub::with(&model.files()).faulty(WEIGHTS, &[Fault::Only(699_990)]);
    assert_eq!(said(&hub, None), "model.safetensors has 700000 bytes on the hub, but 699990 are sent.");
    let hub =
        Hub::with(&model.files()).faulty("/tokenizer.json", &[Fault::Text("<html>log in to this network</html>")]);
    assert!(said(&hub, None).contains("tokenizer.json has 18 bytes on the hub, but 35 are sent."));
}

#[test]
fn bytes_that_are_always_wrong_are_given_up() {
    let hub = Hub::with(&Model::new().files()).faulty(WEIGHTS, &[Fault::Flip(1), Fault::Flip(2), Fault::Flip(3)]);
    let sentence = said(&hub, None);
    assert!(sentence.contains("came 2 times with another checksum than the hub's (SHA-256 "), "{sentence}");
    assert_eq!(hub.seen(WEIGHTS).len(), 2);
}

#[test]
fn a_repository_that_the_server_cannot_read_is_said_before_anything_is_fetched() {
    let model = Model::new();
    let without = |gone: &[&str], more: &[(&'static str, &'static [u8])]| {
        let mut files = model.files();
        files.retain(|(name, _)| !gone.contains(name));
        files.extend(more);
        Hub::with(&files)
    };
    for (hub, words) in [
        (
            without(&[WEIGHTS], &[]),
            "has no safetensors files, the only weights that the server reads, but pytorch_model.bin.",
        ),
        (
            without(&[WEIGHTS, "pytorch_model.bin"], &[]),
            "has no safetensors files, the only weights that the server reads.",
        ),
        (
            without(&[WEIGHTS], &[("adapter.safetensors", b"x")]),
            "neither model.safetensors nor model.safetensors.index.json",
        ),
        (without(&["config.json"], &[]), "has no config.json, which the server needs"),
        (without(&["tokenizer.json"], &[]), "has no tokenizer.json, which the server needs"),
    ] {
        let sentence = said(&hub, None);
        assert!(sentence.starts_with("Org/Model at v2 has ") && sentence.contains(words), "{sentence}");
        assert_eq!(hub.seen("").len(), 1, "the listing alone");
    }
    let index = br#"{"weight_map": {"a": "model-1.safetensors"}}"#;
    let sentence = said(&without(&[WEIGHTS], &[("model.safetensors.index.json", index)]), None);
    assert!(sentence.contains("lacks model-1.safetensors, which its model.safetensors.index.json names"), "{sentence}");
    let outside = br#"{"weight_map": {"a": "../outside.safetensors"}}"#;
    let sentence = said(&without(&[WEIGHTS], &[("model.safetensors.index.json", outside)]), None);
    assert!(sentence.contains("expected a name in the same directory"), "{sentence}");
}

#[test]
fn a_hub_that_is_none_is_said() {
    let model = Model::new();
    let hub = Hub::with(&model.files()).faulty("/api/", &[Fault::Text("<html>Welcome</html>")]);
    assert!(said(&hub, None).contains("does not answer as the hub does: expected value"));
    let hub = Hub::with(&model.files()).listing(|listing| {
        listing["siblings"][1].as_object_mut().unwrap().remove("blobId");
    });
    assert!(said(&hub, None).contains("it does not tell size and checksum of config.json"));
}

#[test]
fn a_way_that_leads_nowhere_is_said_at_once() {
    let (_temporary, dir) = place();
    let hub = Hub::with(&[]);
    let endpoint = format!("http://127.0.0.1:{}", free_port());
    let patience = Patience { first_wait: std::time::Duration::from_secs(3600), ..IMPATIENT };
    let options = DownloadOptions { endpoint: endpoint.clone(), patience, ..options(&hub, &dir) };
    let sentence = download::run(&options).expect_err("nobody listens").to_string();
    assert!(sentence.starts_with(&format!("{endpoint} cannot be reached: ")), "{sentence}");
    assert!(sentence.to_lowercase().contains("refused"), "{sentence}");
}

#[test]
fn a_certificate_is_trusted_if_an_authority_of_the_users_signed_it() {
    let (model, (temporary, dir)) = (Model::new(), place());
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![key.cert.der().clone()], key.signing_key.serialize_der().try_into().unwrap())
        .unwrap();
    let hub = Hub::encrypted(&model.files(), Arc::new(tls));
    let endpoint = format!("https://localhost:{}", hub.port);
    let pem = temporary.path().join("ca.pem");
    fs::write(&pem, key.cert.pem()).unwrap();
    let by = |authorities| DownloadOptions { endpoint: endpoint.clone(), authorities, ..options(&hub, &dir) };
    let sentence = download::run(&by(None)).expect_err("not trusted").to_string();
    assert!(sentence.contains("cannot be trusted") && sentence.contains("SSL_CERT_FILE"), "{sentence}");
    download::run(&by(Some(pem.clone()))).unwrap();
    assert_eq!(names(&dir).len(), 4);
    fs::write(&pem, "not a certificate").unwrap();
    assert!(download::run(&by(Some(pem))).expect_err("no PEM").to_string().contains("holds no certificate"));
}

#[test]
fn a_place_that_will_not_do_is_said_before_gigabytes_are_fetched() {
    let model = Model::new();
    let huge = Hub::with(&model.files()).listing(|listing| {
        let weights = listing["siblings"].as_array_mut().unwrap().last_mut().unwrap();
        weights["lfs"]["size"] = (1_u64 << 60).into();
    });
    let sentence = said(&huge, None);
    assert!(sentence.contains("needs 1.15 EB more, but "), "{sentence}");
    assert!(huge.seen(WEIGHTS).is_empty());

    let hub = Hub::with(&model.files());
    let (temporary, dir) = place();
    let file = temporary.path().join("file");
    fs::write(&file, "").unwrap();
    let sentence = fetched(&hub, &file.join("m")).expect_err("no directory").to_string();
    assert!(sentence.contains("file/m cannot be written to: Not a directory"), "{sentence}");

    // Where weights lie in one file, a server reads no others.
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join(WEIGHTS), "of another model").unwrap();
    let mut files = model.files();
    files.pop();
    files.extend([("model.safetensors.index.json", &br#"{"weight_map": {}}"#[..]), ("a.safetensors", &b"x"[..])]);
    let sentence = fetched(&Hub::with(&files), &dir).expect_err("two models").to_string();
    assert!(sentence.contains("which Org/Model does not have and the server would take"), "{sentence}");
}

#[test]
fn two_downloads_do_not_meet_in_one_directory() {
    let (model, (_temporary, dir)) = (Model::new(), place());
    fs::create_dir_all(dir.join(".download")).unwrap();
    let lock = fs::File::create(dir.join(".download/lock")).unwrap();
    lock.lock().unwrap();
    let hub = Hub::with(&model.files());
    let sentence = fetched(&hub, &dir).expect_err("locked").to_string();
    assert!(sentence.starts_with("Another download into ") && sentence.ends_with("is running."), "{sentence}");
    drop(lock);
    fetched(&hub, &dir).unwrap();
}
