//! Prompts of texts: what the tokenizer appends comes once and stays, whatever is cut off.

use crate::support::embedding_tokenizer;
use ironrank::error::ErrorKind;
use ironrank::prompt::{Prompt, TextEncoder, TextOptions, TruncationSide};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::LazyLock;

const END: u32 = 151_643;
const QUERY: &str = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery:";

static ENCODER: LazyLock<TextEncoder> = LazyLock::new(|| TextEncoder::builtin(512, BTreeMap::new()).unwrap());

fn at_most(tokens: usize) -> TextOptions {
    TextOptions { truncate_prompt_tokens: Some(tokens), ..TextOptions::default() }
}

fn made(prefix: &str, text: &str, options: &TextOptions) -> (Vec<u32>, bool) {
    let (prompt, shortened) = ENCODER.behind(prefix, options).unwrap().prompt(text).unwrap();
    (prompt.token_ids().into_owned(), shortened)
}

fn ids(text: &str) -> Vec<u32> {
    made("", text, &TextOptions::default()).0
}

#[test]
fn the_tokenizers_own_post_processor_ends_every_text_once() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), embedding_tokenizer()).unwrap();
    let read = TextEncoder::open(dir.path(), 512, BTreeMap::new()).unwrap();
    assert_eq!((read.end(), read.examine()), (&[END][..], Vec::new()));
    let options = TextOptions::default();
    for (text, expected) in [
        ("test", &[1944, END][..]),
        ("test again", &[1944, 1549, END]),
        ("!", &[0, END]),
        ("!#012", &[0, 2, 15, 16, 17, END]),
        ("", &[END]),
    ] {
        let prompt = read.behind("", &options).unwrap().prompt(text).unwrap().0;
        assert_eq!(*prompt.token_ids(), *expected, "{text}");
        // The built-in tokenizer is the rerankers', which appends nothing by itself.
        assert_eq!(ids(text), expected, "{text}");
    }
    for control in ["<|im_end|>", "<|endoftext|>", "a<|endoftext|>"] {
        let ids = ids(control);
        assert!(ids.len() > 4 && ids.iter().filter(|id| **id >= END).eq([&END]), "{control}: {ids:?}");
    }
}

/// A tokenizer of five tokens with this post-processor.
fn small(post_processor: &Value) -> Result<TextEncoder, String> {
    let special = |id: u32, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "single_word": false, "lstrip": false, "rstrip": false,
            "normalized": false,
        })
    };
    let tokenizer = json!({
        "version": "1.0", "added_tokens": [special(3, "<|begin|>"), special(4, "<|end|>")],
        "post_processor": post_processor, "model": {"type": "BPE", "vocab": {"a": 0, "b": 1, " ": 2}, "merges": []},
    });
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("tokenizer.json"), tokenizer.to_string()).unwrap();
    TextEncoder::open(dir.path(), 8, BTreeMap::new()).map_err(|err| err.to_string())
}

#[test]
fn a_post_processor_that_does_more_than_append_is_refused_and_one_that_appends_nothing_told_of() {
    let template = |single: Value, id: u32| {
        let special = |name: &str, id: u32| json!({"id": name, "ids": [id], "tokens": [name]});
        json!({
            "type": "TemplateProcessing", "single": single, "pair": single,
            "special_tokens": {"<|begin|>": special("<|begin|>", 3), "<|end|>": special("<|end|>", id)},
        })
    };
    let text = json!({"Sequence": {"id": "A", "type_id": 0}});
    let token = |name: &str| json!({"SpecialToken": {"id": name, "type_id": 0}});
    let ended = json!([text, token("<|end|>")]);
    let nested = json!({"type": "Sequence", "processors": [template(ended.clone(), 4)]});
    for processor in [template(ended.clone(), 4), nested] {
        let encoder = small(&processor).unwrap();
        assert_eq!((encoder.end(), encoder.examine().len()), (&[4][..], 0));
    }
    for nothing in [json!(null), template(json!([text]), 4)] {
        let encoder = small(&nothing).unwrap();
        assert_eq!(encoder.end(), [0; 0]);
        assert!(encoder.examine()[0].contains("appends nothing"), "{:?}", encoder.examine());
    }
    for (processor, fact) in [
        (template(json!([token("<|begin|>"), text, token("<|end|>")]), 4), "does more with a text than to append"),
        (template(ended, 5), "appends tokens [5], expected some of its 5 tokens"),
    ] {
        let said = small(&processor).err().unwrap();
        assert!(said.contains("tokenizer.json has a post_processor that") && said.contains(fact), "{said}");
    }
}

#[test]
fn the_end_stays_whichever_side_is_cut_and_ids_get_none() {
    let text = "one two three four five six seven";
    let whole = ids(text);
    assert_eq!(whole.len(), 8);
    for tokens in 1..=8 {
        let (right, shortened) = made("", text, &at_most(tokens));
        assert_eq!(right, [&whole[..tokens - 1], &[END]].concat(), "{tokens}");
        assert_eq!(shortened, tokens < 8);
        let left = TextOptions { truncation_side: TruncationSide::Left, ..at_most(tokens) };
        assert_eq!(made("", text, &left).0, whole[8 - tokens..], "{tokens}");
        let (cut, shortened) = ENCODER.ids(&whole[..7], &left).unwrap();
        assert_eq!((&*cut.token_ids(), shortened), (&whole[7 - tokens.min(7)..7], tokens < 7));
        assert_eq!(*ENCODER.ids(&whole[..7], &at_most(tokens)).unwrap().0.token_ids(), whole[..tokens.min(7)]);
    }
    let bare = TextOptions { bare: true, ..TextOptions::default() };
    assert_eq!(made("", text, &bare).0, whole[..7]);
}

#[test]
fn what_does_not_fit_is_refused_in_vllms_words_or_cut_where_the_server_says_so() {
    let long = "word ".repeat(600);
    let usual = TextOptions::default();
    let refused = |prefix: &str, text: &str, options: &TextOptions| {
        ENCODER.behind(prefix, options).and_then(|mut behind| behind.prompt(text)).unwrap_err()
    };
    for err in [refused("", &long, &usual), refused(&long, "a", &usual), ENCODER.ids(&[5; 513], &usual).unwrap_err()] {
        assert_eq!((err.kind(), err.param()), (ErrorKind::TooLong, Some("input_tokens")));
        let words = ["maximum context length is 512 tokens", "at least 513 input tokens"];
        assert!(words.iter().all(|word| err.to_string().contains(word)), "{err}");
    }
    let cut = TextOptions { shorten: true, ..TextOptions::default() };
    let left = TextOptions { truncation_side: TruncationSide::Left, ..cut.clone() };
    for (prefix, options) in [("", &cut), ("", &left), (QUERY, &cut), (QUERY, &left), (&long, &cut), (&long, &left)] {
        let (ids, shortened) = made(prefix, &long, options);
        assert!(ids.len() == 512 && ids[511] == END && shortened, "{} tokens behind {prefix:.9}", ids.len());
    }
    // Nothing fits, even where everything may be cut, and no prompt is empty.
    let bare = TextOptions { bare: true, ..TextOptions::default() };
    for (text, options, words) in [
        ("", &bare, "The decoder prompt cannot be empty"),
        ("a", &at_most(0), "The decoder prompt cannot be empty"),
        ("a", &at_most(513), "truncate_prompt_tokens value is greater than max_model_len"),
    ] {
        let err = refused("", text, options);
        assert!(err.to_string().contains(words), "{err}");
    }
    for (ids, words) in [(&[][..], "cannot be empty"), (&[5, 151_669], "Token id 151669 is out of vocabulary")] {
        let err = ENCODER.ids(ids, &usual).unwrap_err();
        assert!(err.kind() == ErrorKind::InvalidRequest && err.to_string().contains(words), "{err}");
    }
}

#[test]
fn texts_behind_one_prompt_share_its_tokens() {
    let mut behind = ENCODER.behind(QUERY, &at_most(64)).unwrap();
    let prompts: Vec<Prompt> =
        ["What is it?", "how", "", " x", "\u{301}"].iter().map(|text| behind.prompt(text).unwrap().0).collect();
    for prompt in &prompts {
        assert!(prompt.prefix() > 15 && prompt.shares_head(&prompts[0]), "{prompt:?}");
    }
}

proptest! {
    #[test]
    fn a_prompt_and_a_text_are_one_string(
        prefix in "[a-zA-Z0-9 :.\n]{0,12}|<th|Query:|\\PC{0,4}",
        text in "[a-zA-Z0-9 :.\n]{0,12}|ink>|\\PC{0,4}",
        most in 1usize..12,
        left in any::<bool>(),
    ) {
        let truncation_side = if left { TruncationSide::Left } else { TruncationSide::Right };
        for options in [TextOptions::default(), TextOptions { truncation_side, ..at_most(most) }] {
            let whole = made("", &format!("{prefix}{text}"), &options);
            let mut behind = ENCODER.behind(&prefix, &options).unwrap();
            // The second time what precedes is there.
            for _ in 0..2 {
                let (prompt, shortened) = behind.prompt(&text).unwrap();
                prop_assert_eq!((&*prompt.token_ids(), shortened), (&*whole.0, whole.1));
            }
        }
    }
}
