//! Pairs become exactly the token ids that Hugging Face's tokenizer makes of the model card's prompt.

use crate::support::{self, GOLDENS, goldens};
use ironrank::error::ErrorKind;
use ironrank::prompt::{PromptEncoder, PromptOptions, Template, TruncationSide};
use proptest::prelude::*;
use std::sync::LazyLock;

static ENCODER: LazyLock<PromptEncoder> = LazyLock::new(|| PromptEncoder::builtin(8192).unwrap());

const PREFIX: &str = "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the \
                      Instruct provided. Note that the answer can only be \"yes\" or \"no\".<|im_end|>\n<|im_start|>user\n";
const SUFFIX: &str = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n";
const INSTRUCTION: &str = "Given a web search query, retrieve relevant passages that answer the query";

fn ids(encoder: &PromptEncoder, query: &str, document: &str, options: &PromptOptions) -> Vec<u32> {
    encoder.encode(query, document, options).unwrap().token_ids().into_owned()
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
    let start = ENCODER.vocabulary().token_id("<|im_start|>").unwrap();
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
    assert_eq!(ENCODER.vocabulary().token_id("yes"), Some(9693));
    assert_eq!(ENCODER.vocabulary().token_id("no"), Some(2152));
    assert_eq!(ENCODER.vocabulary().token_id("no such token"), None);
    assert_eq!(ENCODER.vocabulary().size(), 151_669);
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
            (Ok(many), Ok(alone)) => prop_assert_eq!(many.prompts, alone),
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

/// vLLM's template, and one that does to texts what templates may.
const TEMPLATE: &str = include_str!("../fixtures/qwen3_reranker.jinja");
const OTHER_TEMPLATE: &str = "<|im_start|>{{ messages[1].content | trim }}<|im_end|>\n<|im_start|>{{ topic }}: {{ \
                              messages[0].content.upper() }}<|im_end|> {{ messages[1].content }}{{ messages[0].content }}?";

fn with_template(template: &str, max_model_len: usize) -> PromptEncoder {
    let template = Template::parse(template).unwrap();
    PromptEncoder::builtin(max_model_len).unwrap().with_template(template).unwrap()
}

#[test]
fn a_template_with_a_byte_order_mark_gives_the_same_tokens() {
    let plain = ids(&with_template(TEMPLATE, 8192), "q", "d", &PromptOptions::default());
    for marked in [format!("\u{feff}{TEMPLATE}"), format!("\u{feff}{}", TEMPLATE.replace('\n', "\r\n"))] {
        assert_eq!(ids(&with_template(&marked, 8192), "q", "d", &PromptOptions::default()), plain);
    }
}

/// A tokenizer that reads control tokens, as vLLM's does.
static PARSING: LazyLock<tokenizers::Tokenizer> =
    LazyLock::new(|| tokenizers::Tokenizer::from_bytes(support::tokenizer_json()).unwrap());

#[test]
fn vllms_template_gives_the_tokens_of_the_rendered_text() {
    let encoder = with_template(TEMPLATE, 8192);
    let suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n";
    for (instruction, shown) in [(None, INSTRUCTION), (Some(""), INSTRUCTION), (Some("Find a city"), "Find a city")] {
        let kwargs = instruction.map(|text| ("instruction".to_owned(), text.into())).into_iter().collect();
        let options = PromptOptions { template_kwargs: kwargs, ..Default::default() };
        for (query, document) in [("a query", "a document"), ("", ""), ("a\n", " \n b"), ("{{ x }}", "<b>&amp;'\"")] {
            let text = format!("{PREFIX}<Instruct>: {shown}\n<Query>: {query}\n<Document>: {document}{suffix}");
            let prompt = encoder.encode(query, document, &options).unwrap();
            assert_eq!(*prompt.token_ids(), *PARSING.encode_fast(text, false).unwrap().get_ids(), "{query} {document}");
        }
    }
}

#[test]
fn control_tokens_in_texts_stay_text_whatever_a_template_does_with_them() {
    let end = ENCODER.vocabulary().token_id("<|im_end|>").unwrap();
    let count = |ids: &[u32]| ids.iter().filter(|&&id| id == end).count();
    let kwargs = [("topic".to_owned(), serde_json::json!("<|im_end|>"))].into_iter().collect();
    let options = PromptOptions { template_kwargs: kwargs, ..Default::default() };
    for template in [TEMPLATE, OTHER_TEMPLATE] {
        let encoder = with_template(template, 8192);
        let own = count(&ids(&encoder, "q", "d", &PromptOptions::default()));
        for (query, document) in [("x<|im_end|>", "  <|im_end|>\n"), ("end|>", "<|im_"), ("\u{fdd0}<|im_end|>", "<|")] {
            let ids = ids(&encoder, query, document, &options);
            assert_eq!(count(&ids), own, "{query} {document}");
            let text = PARSING.decode(&ids, false).unwrap();
            assert!(text.contains(query) && text.contains(document.trim()), "{text}");
        }
    }
}

#[test]
fn a_formatted_pair_is_not_wrapped_by_a_template_either() {
    let encoder = with_template(TEMPLATE, 8192);
    for golden in goldens("tiny") {
        let instruction = golden.instruction.as_deref().unwrap_or(INSTRUCTION);
        let query = format!("{PREFIX}<Instruct>: {instruction}\n<Query>: {}\n", golden.query);
        let document = format!("<Document>: {}{SUFFIX}", golden.document);
        assert_eq!(ids(&encoder, &query, &document, &PromptOptions::default()), golden.token_ids);
    }
}

#[test]
fn a_formatted_pair_may_have_a_system_message_of_its_own() {
    let (system, content) =
        ("<|im_start|>system\nBe strict.<|im_end|>\n<|im_start|>user\n", "<Instruct>: i\n<Query>: q\n");
    let document = format!("<Document>: d{SUFFIX}");
    let text = format!("{system}{content}{document}");
    let expected = PARSING.encode_fast(text, false).unwrap().get_ids().to_vec();
    assert_eq!(plain(&format!("{system}{content}"), &document), expected);
    // Control tokens anywhere else are the user's.
    let start = ENCODER.vocabulary().token_id("<|im_start|>").unwrap();
    let ids = plain(&format!("{system}{content}<|im_start|>"), &document);
    assert_eq!(ids.iter().filter(|&&id| id == start).count(), 3);
    for half in ["<|im_start|>system\nBe <|im_end|> strict.<|im_end|>\n<|im_start|>user\n", "<|im_start|>system\nBe"] {
        let ids = plain(half, &document);
        assert_eq!(ids[..39], plain("", "")[..39], "wrapped");
    }
}

#[test]
fn what_is_too_long_is_shortened_where_the_server_says_so() {
    let shorten = PromptOptions { shorten: true, ..Default::default() };
    let document = "The lighthouse stands 41 metres tall on a granite base. ".repeat(40);
    for (encoder, suffix) in [(PromptEncoder::builtin(200).unwrap(), 271), (with_template(TEMPLATE, 200), 198)] {
        let full = |query: &str| ids(&encoder, query, "", &PromptOptions::default());
        let encoded = encoder.encode_many("How tall is it?", &[&document, "41 metres"], &shorten).unwrap();
        assert_eq!(encoded.shortened, 1);
        let [cut, short] = [0, 1].map(|i| encoded.prompts[i].token_ids());
        assert!((198..=200).contains(&cut.len()), "{} tokens", cut.len());
        assert_eq!(*short, *ids(&encoder, "How tall is it?", "41 metres", &PromptOptions::default()));
        let start = full("How tall is it?").len() - 10;
        assert_eq!(cut[..start], full("How tall is it?")[..start], "the query is whole");
        assert_eq!(cut[cut.len() - 2..], [151_668, suffix], "and so is the end");

        let long = encoder.encode_many(&document, &["41 metres"], &shorten).unwrap();
        assert_eq!(long.shortened, 1);
        let ids = long.prompts[0].token_ids();
        assert!((197..=200).contains(&ids.len()), "{} tokens of a long query", ids.len());
        assert_eq!(ids[..60], full("")[..60]);
        assert_eq!(ids[ids.len() - 2..], [151_668, suffix]);
        assert_eq!(error(&encoder, &document, "d", &PromptOptions::default()).kind(), ErrorKind::TooLong);
        assert_eq!(error(&encoder, "q", &document, &PromptOptions::default()).kind(), ErrorKind::TooLong);
        // A limit of the request's own is for the document.
        let requested = PromptOptions { truncate_prompt_tokens: Some(100), ..shorten.clone() };
        assert_eq!(error(&encoder, &document, "d", &requested).kind(), ErrorKind::InvalidRequest);
        assert!(encoder.encode("q", &document, &requested).unwrap().len() <= 100);
    }
    for template in [with_template(TEMPLATE, 30), PromptEncoder::builtin(30).unwrap()] {
        assert_eq!(error(&template, "q", "d", &shorten).kind(), ErrorKind::TooLong, "the template itself is too long");
    }
}

#[test]
fn five_megabytes_under_a_template_are_refused_or_shortened_as_any_text() {
    let encoder = with_template(TEMPLATE, 8192);
    for text in ["word ", "a", "很长的文字", "<|im_end|>", "\u{301}"] {
        let text = text.repeat(5_000_000 / text.len());
        assert_eq!(error(&encoder, "query", &text, &PromptOptions::default()).kind(), ErrorKind::TooLong);
        assert_eq!(error(&encoder, &text, "document", &PromptOptions::default()).kind(), ErrorKind::TooLong);
        let shorten = PromptOptions { shorten: true, ..Default::default() };
        for (query, document) in [("query", text.as_str()), (&text, "document")] {
            let tokens = ids(&encoder, query, document, &shorten).len();
            assert!((8100..=8192).contains(&tokens), "{tokens} tokens of {:.10}", text);
        }
    }
}

#[test]
fn the_last_token_is_never_part_of_what_comes_before_the_document() {
    let encoder = with_template("{{ messages[0].content }}: {{ messages[1].content }}<|im_end|>", 100);
    for (query, document) in [("q", ""), ("", ""), ("q", "d")] {
        let prompt = encoder.encode(query, document, &PromptOptions::default()).unwrap();
        assert!(prompt.prefix() < prompt.len(), "{query} {document}: {prompt:?}");
    }
}

#[test]
fn a_template_that_fails_is_an_error_of_the_request() {
    let encoder = with_template("{% if not messages[1].content %}{{ raise_exception('empty') }}{% endif %}text", 100);
    assert_eq!(error(&encoder, "q", "", &PromptOptions::default()).kind(), ErrorKind::InvalidRequest);
    assert_eq!(ids(&encoder, "q", "d", &PromptOptions::default()), [1318]);
    let nothing = with_template("{{ messages[1].content }}", 100);
    assert_eq!(error(&nothing, "q", "", &PromptOptions::default()).to_string(), "The decoder prompt cannot be empty");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn with_a_template_too_many_documents_encode_as_one_by_one_and_as_the_whole(
        query in "\\PC{0,40}",
        documents in prop::collection::vec("[\\PC\n ]{0,60}", 1..5),
        other in any::<bool>(),
    ) {
        static ENCODERS: LazyLock<[PromptEncoder; 2]> =
            LazyLock::new(|| [TEMPLATE, OTHER_TEMPLATE].map(|template| with_template(template, 8192)));
        let encoder = &ENCODERS[usize::from(other)];
        let texts: Vec<&str> = documents.iter().map(String::as_str).collect();
        let many = encoder.encode_many(&query, &texts, &PromptOptions::default()).unwrap().prompts;
        for (prompt, document) in many.iter().zip(&texts) {
            prop_assert!(prompt.prefix() < prompt.len());
            let whole = if other {
                let (upper, trimmed) = (query.to_uppercase(), document.trim());
                format!("<|im_start|>{trimmed}<|im_end|>\n<|im_start|>: {upper}<|im_end|> {document}{query}?")
            } else {
                let suffix = "<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n";
                format!("{PREFIX}<Instruct>: {INSTRUCTION}\n<Query>: {query}\n<Document>: {document}{suffix}")
            };
            let whole = PARSING.encode_fast(whole, false).unwrap();
            prop_assert_eq!(&*prompt.token_ids(), whole.get_ids());
        }
    }
}

#[test]
fn a_tokenizer_that_is_none_of_qwens_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tokenizer.json");
    let word_piece = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "WordPiece", "unk_token": "[UNK]",
        "continuing_subword_prefix": "-", "max_input_chars_per_word": 9, "vocab": {"[UNK]": 0}}}"#;
    let empty = r#"{"version": "1.0", "added_tokens": [], "model": {"type": "BPE", "vocab": {}, "merges": []}}"#;
    for (json, reason) in [
        ("<html>", "is an HTML page"),
        ("Entry not found", "is not valid JSON: it begins with \"Entry not found\""),
        ("[]", "is not a BPE tokenizer: "),
        (word_piece, "is not a BPE tokenizer: invalid value: string \"WordPiece\""),
        (empty, "has no token <|im_start|>"),
    ] {
        std::fs::write(&path, json).unwrap();
        let said = PromptEncoder::open(dir.path(), 512).err().expect("it is refused").to_string();
        assert!(said.starts_with(&format!("{} {reason}", path.display())), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

#[test]
fn the_prompts_of_a_query_hold_its_tokens_once() {
    let query = "word ".repeat(4000);
    let formatted = format!("{PREFIX}<Query>: {query}");
    let templated = with_template(TEMPLATE, 8192);
    for (encoder, query, end) in [(&*ENCODER, &query, ""), (&templated, &query, ""), (&ENCODER, &formatted, SUFFIX)] {
        let documents: Vec<String> = (0..20).map(|i| format!("{}{end}", "!".repeat(i % 2))).collect();
        let documents: Vec<&str> = documents.iter().map(String::as_str).collect();
        let made = encoder.encode_many(query, &documents, &PromptOptions::default()).unwrap().prompts;
        for (prompt, document) in made.iter().zip(&documents) {
            assert!(
                prompt.len() > 4000 && prompt.own() < 40,
                "{} of {} tokens are its own",
                prompt.own(),
                prompt.len()
            );
            assert_eq!(*prompt, encoder.encode(query, document, &PromptOptions::default()).unwrap());
        }
    }
}

#[test]
fn the_end_of_a_long_text_has_the_tokens_that_the_whole_ends_with() {
    let text: String =
        (0..400_000).map(|i| format!("{} lighthouse,{}", i, if i % 7 == 0 { "\n" } else { "" })).collect();
    let left = |tokens| PromptOptions {
        truncate_prompt_tokens: Some(tokens),
        truncation_side: TruncationSide::Left,
        ..PromptOptions::default()
    };
    let all = ENCODER.vocabulary().tokens(&text, usize::MAX).unwrap();
    for tokens in [1, 100, 500] {
        assert_eq!(*ENCODER.raw(&text, &left(tokens)).unwrap().token_ids(), all[all.len() - tokens..]);
    }
    let suffix = ENCODER.vocabulary().tokens(SUFFIX, usize::MAX).unwrap().len();
    let prompt = ENCODER.encode("q", &text, &left(500)).unwrap();
    let (ids, kept) = (prompt.token_ids(), prompt.own() - suffix);
    assert_eq!(ids.len(), 500);
    assert_eq!(ids[500 - suffix - kept..500 - suffix], all[all.len() - kept..]);
}
#[test]
fn what_stands_around_a_document_is_what_its_prompt_has_besides() {
    for query in ["", "how long does a reranker take"] {
        let around = ENCODER.around(query).unwrap();
        let prompt = ENCODER.encode(query, "question", &PromptOptions::default()).unwrap();
        assert_eq!(around.before + 1 + around.behind, prompt.len(), "{query}");
    }
}
