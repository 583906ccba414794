//! What is said to `cache`: where the packed weights are, and what is done about them.

use super::*;
use std::path::PathBuf;
use std::time::Duration;

fn parsed(args: &str, env: Env) -> Command {
    run_without_home(&format!("cache {args}"), env)
}

fn options_of(args: &str, env: Env) -> CacheOptions {
    match parsed(args, env) {
        Command::Cache(options) => *options,
        other => panic!("{args}: {other:?}"),
    }
}

#[test]
fn every_flag_may_stand_before_the_action_and_behind_it() {
    for args in ["list --log-format json", "--log-format json list", "prune --log-format json"] {
        assert_eq!(options_of(args, &[("HOME", "/h")]).log.format, LogFormat::Json, "{args}");
    }
}

#[test]
fn it_lists_unless_it_is_told_to_prune() {
    let home = [("HOME", "/home/a")];
    for args in ["", "list", "list --json", "--json list"] {
        let options = options_of(args, &home);
        assert_eq!((options.prune, options.json), (None, args.contains("json")), "{args}");
        assert_eq!(options.dir, PathBuf::from("/home/a/.cache/ironrank"));
    }
    let nothing = Prune { older_than: None, all: false, dry_run: false };
    let month = Some(Duration::from_secs(30 * 86_400));
    for (args, prune) in [
        ("prune", nothing),
        ("prune --older-than 30d", Prune { older_than: month, ..nothing }),
        ("prune --older_than=30d --dry_run", Prune { older_than: month, dry_run: true, ..nothing }),
        ("prune --all", Prune { all: true, ..nothing }),
    ] {
        assert_eq!(options_of(args, &home).prune, Some(prune), "{args}");
    }
    assert_eq!(options_of("prune --weight-cache /w", &[]).dir, PathBuf::from("/w"));
    assert_eq!(options_of("--weight-cache /w", &[]).dir, PathBuf::from("/w"));
}

#[test]
fn what_cannot_be_meant_is_said() {
    for (args, words) in [
        ("", "Neither XDG_CACHE_HOME nor HOME"),
        ("--weight-cache off", "no directory"),
        ("prune --older-than 30", "30d"),
        ("prune --older-than soon", "30d"),
        ("prune --older-than 1d --all", "cannot be used with"),
        ("purge", "purge"),
    ] {
        match parsed(args, &[]) {
            Command::Say { text, code: 2 } => assert!(text.contains(words), "{args}: {text}"),
            other => panic!("{args}: {other:?}"),
        }
    }
}
