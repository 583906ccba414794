//! JSON that has lost or won characters on its way is told of by its beginning and what has probably happened.

use super::*;

/// How a value looks that a quote or a space has gone astray in, and the word that tells so.
const ASTRAY: [(&str, &str); 31] = [
    ("'{\"a\": 1}'", "quotes around it"),
    ("\"{\\\"a\\\": 1}\"", "quotes around it"),
    ("'{}", "quotes around it"),
    ("`{}`", "quotes around it"),
    ("{\"a\": 1}'", "quotes around it"),
    ("{\"a\": 1}\"", "quotes around it"),
    ("\"a\": 1", "braces around it are missing"),
    ("{\"a\":\u{a0}1}", "no-break spaces"),
    ("$OVERRIDES", "replaced the variable"),
    ("${OVERRIDES}", "replaced the variable"),
    ("$(cat overrides.json)", "replaced the variable"),
    ("{{\"a\": 1}}", "braces are doubled"),
    ("{&quot;a&quot;: 1}", "as HTML writes them"),
    ("{\\\"a\\\": 1}", "backslashes"),
    ("{ \\\"a\\\": [\\\"no\\\", \\\"yes\\\"]}", "backslashes"),
    ("\u{feff}{\\\"a\\\": 1}", "backslashes"),
    ("{\u{201c}a\u{201d}: 1}", "typographic quotes"),
    ("{\u{201e}a\u{201c}: 1}", "typographic quotes"),
    ("{\u{2018}a\u{2019}: 1}", "typographic quotes"),
    ("{\"a\": \u{ab}b\u{bb}}", "typographic quotes"),
    ("{'a': 1}", "Python"),
    ("['a']", "Python"),
    ("{\"a\": 'b'}", "Python"),
    ("{\"a\": ['b']}", "Python"),
    ("{\"a\": True}", "Python"),
    ("{\"a\": None}", "Python"),
    ("{a: 1}", "double quotes are gone"),
    ("overrides.json", "name of a file"),
    ("/etc/overrides", "name of a file"),
    ("Cargo.toml", "name of a file"),
    ("{\"a\":", "ends too early"),
];

#[test]
fn json_that_went_astray_is_told_of_by_its_beginning_and_its_cause() {
    for (value, cause) in ASTRAY {
        let beginning: String = value.trim_start_matches('\u{feff}').chars().take(5).collect();
        for flag in
            ["--hf-overrides", "--pooler-config", "--override-pooler-config", "--rope-scaling", "--allowed-origins"]
        {
            let args = ["ironrank".to_owned(), "serve".to_owned(), "m".to_owned(), format!("{flag}={value}")];
            match parse(args, |_| None) {
                Command::Say { text, code: 2 } => {
                    assert!(text.contains(cause) && text.contains(&beginning), "{flag} {value}: {text}");
                }
                other => panic!("{flag} {value}: {other:?}"),
            }
        }
        refused("serve m", &[("VLLM_HF_OVERRIDES", value)], cause);
        refused("bench m", &[("VLLM_HF_OVERRIDES", value)], cause);
    }
}

#[test]
fn the_sentence_is_short_and_on_one_line_however_long_the_value() {
    let long = format!("{{'a':\n\t'{}'}}", "x".repeat(10_000));
    match run("serve m", &[("VLLM_HF_OVERRIDES", &long)]) {
        Command::Say { text, code: 2 } => {
            assert!(
                text.contains("begins with `{'a':\\n\\t'xxx") && text.contains("xxx...`") && text.len() < 600,
                "{text}"
            );
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn nothing_is_guessed_where_nothing_can_be_told() {
    for value in ["{\"a\": 1,}", "[1]", "7", "{\"a\" 1}", "\"x\"", "// {\"a\": 1}"] {
        match run("serve m", &[("VLLM_HF_OVERRIDES", value)]) {
            Command::Say { text, code: 2 } => assert!(text.contains(&format!("begins with `{value}`.\n")), "{text}"),
            other => panic!("{value}: {other:?}"),
        }
    }
    refused("serve m --hf-overrides={x --hf-overrides.a 1", &[], "--hf-overrides is not valid JSON");
    let good = options("serve m", &[("VLLM_HF_OVERRIDES", "\u{feff} {\"num_labels\": 1}\n")]);
    assert_eq!(
        good.models[0].model.hf_overrides,
        options("serve m --hf-overrides.num_labels 1", &[]).models[0].model.hf_overrides
    );
}
