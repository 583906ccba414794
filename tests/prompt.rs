//! Pairs become exactly the token ids that Hugging Face's tokenizer makes of the model card's prompt.

mod support;

use ironrank::error::ErrorKind;
use ironrank::prompt::{PromptEncoder, PromptOptions};
use proptest::prelude::*;
use std::sync::LazyLock;
use support::{GOLDENS, goldens};

static ENCODER: LazyLock<PromptEncoder> = LazyLock::new(|| PromptEncoder::builtin(8192).unwrap());

const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                      Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

fn ids(encoder: &PromptEncoder, query: &str, document: &str, options: &PromptOptions) -> Vec<u32> {
    encoder.encode(query, document, options).unwrap().token_ids
}

fn plain(query: &str, document: &str) -> Vec<u32> {
    ids(&ENCODER, query, document, &PromptOptions::default())
}

fn error(encoder: &PromptEncoder, query: &str, document: &str, options: &PromptOptions) -> ironrank::error::Error {
    encoder.encode(query, document, options).unwrap_err()
}

#[test]
fn token_ids_of_all_goldens_are_equal() {
    for name in GOLDENS {
        for (i, golden) in goldens(name).into_iter().enumerate() {
            let options = PromptOptions { instruction: golden.instruction, ..Default::default() };
            assert_eq!(ids(&ENCODER, &golden.query, &golden.document, &options), golden.token_ids, "{name} case {i}");
        }
    }
}

#[test]
fn goldens_formatted_by_the_client_are_not_wrapped_again() {
    for golden in goldens("tiny").into_iter().chain(goldens("tiny-long")) {
        let instruction = golden.instruction.as_deref().unwrap_or(INSTRUCTION);
        let query = format!("{PREFIX}<Instruct>: {instruction}\n<Query>: {}\n", golden.query);
        for end in [SUFFIX, SUFFIX.trim_end(), &format!("{SUFFIX}\n")] {
            let document = format!("<Document>: {}{end}", golden.document);
            assert_eq!(plain(&query, &document), golden.token_ids);
        }
    }
}

#[test]
fn a_prompt_of_the_users_own_form_between_start_and_end_is_kept_as_it_is() {
    let formatted = plain(&format!("{PREFIX}Is this about "), &format!("cats? The cat sat.{SUFFIX}"));
    let wrapped = plain("", "");
    assert_eq!(formatted[..39], wrapped[..39]);
    assert_eq!(formatted[formatted.len() - 9..], wrapped[wrapped.len() - 9..]);
    assert!(formatted.len() < 60, "{} tokens: wrapped twice?", formatted.len());
}

#[test]
fn half_a_template_is_wrapped_as_plain_text() {
    let start = ENCODER.token_id("<|im_start|>").unwrap();
    for (query, document) in [(PREFIX, "text"), ("text", SUFFIX), (SUFFIX, PREFIX)] {
        let ids = plain(query, document);
        assert_eq!(ids.iter().filter(|&&id| id == start).count(), 3);
    }
}

#[test]
fn an_empty_instruction_is_the_model_cards() {
    let empty = PromptOptions { instruction: Some(String::new()), ..Default::default() };
    assert_eq!(ids(&ENCODER, "q", "d", &empty), plain("q", "d"));
}

#[test]
fn yes_and_no_have_the_ids_of_the_vocabulary() {
    assert_eq!(ENCODER.token_id("yes"), Some(9693));
    assert_eq!(ENCODER.token_id("no"), Some(2152));
    assert_eq!(ENCODER.token_id("no such token"), None);
    assert_eq!(ENCODER.vocab_size(), 151_669);
}

#[test]
fn exactly_the_model_length_passes_and_one_more_is_vllms_sentence() {
    let all = plain("saw", "Reciprocating saws cut along a push and pull stroke.");
    let fits = PromptEncoder::builtin(all.len()).unwrap();
    let document = "Reciprocating saws cut along a push and pull stroke.";
    assert_eq!(ids(&fits, "saw", document, &PromptOptions::default()), all);
    let short = PromptEncoder::builtin(all.len() - 1).unwrap();
    let e = error(&short, "saw", document, &PromptOptions::default());
    let (limit, found) = (all.len() - 1, all.len());
    assert_eq!(
        e.to_string(),
        format!(
            "This model's maximum context length is {limit} tokens. However, your prompt contains at least {found} \
             input tokens, which exceeds this limit even without any output tokens. Please reduce the length of the \
             input prompt. (parameter=input_tokens, value={found})"
        )
    );
    assert_eq!((e.kind(), e.param()), (ErrorKind::TooLong, Some("input_tokens")));
}

#[test]
fn truncation_shortens_the_document_and_nothing_else() {
    let document = "The lighthouse stands 41 metres tall on a granite base, a little higher than the crane.";
    let (all, empty) = (plain("How tall is it?", document), plain("How tall is it?", ""));
    let suffix = &all[all.len() - 9..];
    for n in empty.len()..=all.len() + 3 {
        let options = PromptOptions { truncate_prompt_tokens: Some(n), ..Default::default() };
        let cut = ids(&ENCODER, "How tall is it?", document, &options);
        assert_eq!(cut.len(), n.min(all.len()));
        assert_eq!(cut[..cut.len() - 9], all[..cut.len() - 9]);
        assert_eq!(cut[cut.len() - 9..], *suffix);
    }
    for n in [1, 40, empty.len() - 1] {
        let options = PromptOptions { truncate_prompt_tokens: Some(n), ..Default::default() };
        let e = error(&ENCODER, "How tall is it?", document, &options);
        assert_eq!((e.kind(), e.param()), (ErrorKind::InvalidRequest, Some("truncate_prompt_tokens")));
        assert!(e.to_string().starts_with(&format!("truncate_prompt_tokens is {n}, ")), "{e}");
    }
}

#[test]
fn limits_that_make_no_sense_are_refused_in_vllms_words() {
    let with = |change: fn(&mut PromptOptions)| {
        let mut options = PromptOptions::default();
        change(&mut options);
        let e = error(&ENCODER, "q", "d", &options);
        assert_eq!(e.kind(), ErrorKind::InvalidRequest);
        e.to_string()
    };
    assert_eq!(
        with(|o| o.max_tokens_per_doc = 8192),
        "max_tokens_per_doc (8192) must be less than max_model_len (8192)."
    );
    assert_eq!(
        with(|o| o.max_tokens_per_query = 9000),
        "max_tokens_per_query (9000) must be less than max_model_len (8192)."
    );
    assert_eq!(with(|o| o.truncate_prompt_tokens = Some(0)), "The decoder prompt cannot be empty");
    assert_eq!(
        with(|o| o.truncate_prompt_tokens = Some(8193)),
        "truncate_prompt_tokens value is greater than max_model_len. Please request a smaller truncation size."
    );
}

#[test]
fn the_limits_of_query_and_document_cut_their_texts() {
    let options = PromptOptions { max_tokens_per_doc: 3, max_tokens_per_query: 2, ..Default::default() };
    let expected = plain("which river", "The Danube");
    assert_eq!(ids(&ENCODER, "which river runs here", "The Danube flows through Vienna.", &options), expected);
    let query = format!("{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: which river runs here\n");
    let document = format!("<Document>: The Danube flows through Vienna.{SUFFIX}");
    assert_eq!(ids(&ENCODER, &query, &document, &options), expected);
}

#[test]
fn five_megabytes_are_refused_or_truncated_as_any_text() {
    for text in
        ["word ", "a", "  ", "0Zq9+/", "很长的文字", "很长的文字。", "\u{1f9ff}", "\u{301}", "<think>", "!?", "\r\n"]
    {
        let text = text.repeat(5_000_000 / text.len());
        assert_eq!(error(&ENCODER, "query", &text, &PromptOptions::default()).kind(), ErrorKind::TooLong);
        assert_eq!(error(&ENCODER, &text, "document", &PromptOptions::default()).kind(), ErrorKind::TooLong);
        let truncate = PromptOptions { truncate_prompt_tokens: Some(1000), ..Default::default() };
        assert_eq!(ids(&ENCODER, "query", &text, &truncate).len(), 1000);
        assert_eq!(error(&ENCODER, &text, "document", &truncate).kind(), ErrorKind::InvalidRequest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn many_documents_encode_as_one_by_one(
        query in "\\PC{0,40}",
        documents in prop::collection::vec("[\\PC\n ]{0,60}", 1..5),
        formatted in any::<bool>(),
        truncate in prop::option::of(90usize..120),
    ) {
        let options = PromptOptions { truncate_prompt_tokens: truncate, ..Default::default() };
        let query = if formatted { format!("{PREFIX}<Instruct>: i\n<Query>: {query}\n") } else { query };
        let documents: Vec<String> = documents.into_iter().enumerate()
            .map(|(i, d)| if i % 2 == 0 { format!("<Document>: {d}{SUFFIX}") } else { d }).collect();
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        let alone: Result<Vec<_>, _> = texts.iter().map(|d| ENCODER.encode(&query, d, &options)).collect();
        match (ENCODER.encode_many(&query, &texts, &options), alone) {
            (Ok(many), Ok(alone)) => prop_assert_eq!(many, alone),
            (Err(many), Err(alone)) => prop_assert_eq!(many.to_string(), alone.to_string()),
            (many, alone) => prop_assert!(false, "{many:?} but {alone:?}"),
        }
    }

    #[test]
    fn the_content_encoded_in_one_go_gives_the_same_ids(query in "[\\PC\n\t ]{0,60}", document in "[\\PC\n\u{300}-\u{310} ]{0,60}") {
        static WHOLE: LazyLock<tokenizers::Tokenizer> = LazyLock::new(|| {
            let mut whole = tokenizers::Tokenizer::from_bytes(support::tokenizer_json()).unwrap();
            whole.set_encode_special_tokens(true);
            whole
        });
        let content = format!("<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}");
        let ids = plain(&query, &document);
        let whole = WHOLE.encode_fast(content, false).unwrap();
        prop_assert_eq!(&ids[39..ids.len() - 9], whole.get_ids());
    }
}
