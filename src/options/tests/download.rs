//! What is said to `download`, the environment included, which tells the way to the hub.

use super::*;
use std::path::{Path, PathBuf};

fn parsed(args: &str, env: Env) -> Command {
    run_without_home(&format!("download {args}"), env)
}

fn options_of(args: &str, env: Env) -> DownloadOptions {
    match parsed(args, env) {
        Command::Download(options) => *options,
        other => panic!("{args}: {other:?}"),
    }
}

fn refused(args: &str, env: Env) -> String {
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
    let said = |env: Env| options_of("a/b --dir d", env).log.notices;
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
    let found = |env: Env| options_of("a/b", env).token.map(|token| token.0);
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
