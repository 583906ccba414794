//! What holds where nothing is said.

use super::*;

#[test]
fn a_server_of_which_nothing_is_said_has_the_default_options() {
    assert_eq!(options("serve", &[]).server, ServerOptions::default());
}

#[test]
fn no_key_is_in_what_options_show_of_themselves() {
    let options = options("serve m --api-key s3cret", &[("VLLM_SERVER_DEV_MODE", "1"), ("VLLM_API_KEY", "s3cret")]);
    assert_eq!(options.server.api_keys.keys, ["s3cret"]);
    assert!(!format!("{options:?}").contains("s3cret"), "{options:?}");
}

#[test]
fn the_caches_of_a_small_machine_are_small_unless_they_were_asked_for() {
    let gib = 1_u64 << 30;
    let [plain, asked, off] =
        ["m", "m --prefix-cache-mib 200", "m --no-enable-prefix-caching"].map(|line| options(line, &[]).machine);
    for (memory, expected) in [(None, 256 << 20), (Some(16 * gib), 256 << 20), (Some(gib / 2), 32 << 20)] {
        assert_eq!(plain.caches(memory).prefixes, expected, "{memory:?}");
        assert_eq!((asked.caches(memory).prefixes, off.caches(memory).prefixes), (200 << 20, 0));
    }
    let [plain, asked, off] =
        ["m", "m --answer-cache-mib 200", "m --answer-cache-mib 0"].map(|line| options(line, &[]).machine);
    for (memory, expected) in [(None, 64 << 20), (Some(gib), 64 << 20), (Some(gib / 2), 32 << 20)] {
        assert_eq!(plain.caches(memory).answers, expected, "{memory:?}");
        assert_eq!((asked.caches(memory).answers, off.caches(memory).answers), (200 << 20, 0));
    }
}
