//! Several models of one server: `--also`, `--models`, and what of the first holds for all.

use super::*;

/// Directory and names of each model.
fn models(options: &Options) -> Vec<(String, Vec<String>)> {
    options.models.iter().map(|model| (model.model.name(), model.names.clone())).collect()
}

fn named(dir: &str, names: &[&str]) -> (String, Vec<String>) {
    (dir.to_owned(), texts(names))
}

#[test]
fn more_models_are_served_beside_the_first_in_order() {
    for (line, expected) in [
        ("serve /r --also /e", vec![named("/r", &["/r"]), named("/e", &["/e"])]),
        (
            "/r --served-model-name r --also /e=e,f --also=/g",
            vec![named("/r", &["r"]), named("/e", &["e", "f"]), named("/g", &["/g"])],
        ),
        ("serve --also /e=e", vec![named("/e", &["e"])]),
        ("serve /r --also /a=b/e=e", vec![named("/r", &["/r"]), named("/a=b/e", &["e"])]),
    ] {
        assert_eq!(models(&options(line, &[])), expected, "{line}");
    }
    refused("serve /r --also /e=", &[], "'/e=' has no name behind its =");
    refused("serve /r --also=", &[], "names no model");
    refused("serve --also /e --tokenizer t", &[], "--tokenizer describes MODEL, which is not given");
}

#[test]
fn how_models_are_computed_holds_for_all_and_what_describes_one_for_that_one() {
    let line = "serve /r --also /e --quantization int8 --dtype half --max-model-len 512 --load-format dummy --instruction Find \
                --tokenizer t --hf-overrides.a 1 --task score";
    let all = options(line, &[("VLLM_HF_OVERRIDES", "{}"), ("IRONRANK_QUERY_PROMPT", "q")]).models;
    let [first, other] = &all[..] else { panic!("{all:?}") };
    assert_eq!(first.model.precision, other.model.precision);
    assert_eq!((other.model.max_model_len, other.model.load_format), (Some(512), LoadFormat::Dummy));
    assert_eq!((first.instruction.as_deref(), &other.instruction), (Some("Find"), &None));
    assert_eq!((&first.model.tokenizer, &other.model.tokenizer), (&Some("t".into()), &None));
    assert!(first.model.task.is_some() && other.model.task.is_none() && other.model.hf_overrides.is_empty());
    assert!(first.named_prompts.query.is_some() && other.named_prompts.query.is_none());
}

#[test]
fn a_configuration_file_lists_models_with_flags_of_their_own() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("c.yaml");
    let yaml = "port: 81\nmodels:\n- model: /r\n  names: [rerank]\n  max-model-len: 8K\n  instruction: |\n    Find laws.\n\
                - model: /e\n  served_model_name: embed\n  task: embed\n  query-prompt: \"Q: \"\n  hf-overrides: {is_matryoshka: true}\n\
                max-model-len: 4096\nalso: [/f=f, /g]\n";
    std::fs::write(&path, yaml).expect("written");
    let read = options(&format!("serve --config {}", path.display()), &[]);
    let expected = [named("/r", &["rerank"]), named("/e", &["embed"]), named("/f", &["f"]), named("/g", &["/g"])];
    assert_eq!(models(&read), expected);
    let lengths: Vec<_> = read.models.iter().map(|model| model.model.max_model_len).collect();
    assert_eq!(lengths, [Some(8192), Some(4096), Some(4096), Some(4096)]);
    assert_eq!(read.models[0].instruction.as_deref(), Some("Find laws."));
    assert_eq!(read.models[1].named_prompts.query.as_deref(), Some("Q: "));
    assert_eq!(read.models[1].model.hf_overrides["is_matryoshka"], true);
    for (yaml, named) in [
        ("models: /e\n", "is not a JSON list of objects"),
        ("models: [/e]\n", "is not a JSON list of objects"),
        ("models: [{names: [e]}]\n", "--models, item 1: it has no \"model\""),
        ("models: [{model: /e}, {model: /f, prot: 1}]\n", "--models, item 2: unexpected argument '--prot'"),
        ("models: [{model: /e, max-model-len: x}]\n", "--models, item 1: invalid value 'x'"),
        ("models: [{model: /e, overflow: truncate}]\n", "hold for all models"),
    ] {
        std::fs::write(&path, yaml).expect("written");
        refused(&format!("serve /m --config {}", path.display()), &[], named);
    }
}

#[test]
fn a_check_takes_what_a_server_takes() {
    let line = "/r --also /e=e --models [{\"model\":\"/f\"}]";
    match run(&format!("check {line}"), &[]) {
        Command::Check(check) => assert_eq!(check.models, options(&format!("serve {line}"), &[]).models),
        other => panic!("{other:?}"),
    }
}
