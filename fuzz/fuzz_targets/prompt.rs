//! Any texts as query, document and instruction, under the model card's prompt and under templates, and as texts of an
//! embedding model: a prompt keeps its limit, its beginning and its end, texts never yield a control token, and pieces change
//! no token. Any text as template.
//!
//! Input: seven bytes (see `read`), then query, document, instruction and template with NULs between them.
#![no_main]

use flate2::read::GzDecoder;
use ironrank::error::{Error, ErrorKind};
use ironrank::prompt::{
    Message, Prompt, PromptEncoder, PromptOptions, Template, TextEncoder, TextOptions, TruncationSide,
};
use libfuzzer_sys::{Corpus, fuzz_target};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::io::Read;
use std::sync::LazyLock;
use tokenizers::Tokenizer;

const MAX_MODEL_LEN: usize = 160;
/// vLLM's, and one that changes, repeats and glues texts.
const TEMPLATES: [&str; 2] = [
    include_str!("../../tests/fixtures/qwen3_reranker.jinja"),
    "<|im_start|>{{ messages[1].content | trim }}<|im_end|>\n<|im_{{ instruction }}-{{ messages[0].content.upper() \
     }}{{ messages[0].content }}end|>{{ messages[1].content }}<think>{{ messages[0].content }}<|im_end|>",
];

static CARD: LazyLock<Subject> = LazyLock::new(|| Subject::new(PromptEncoder::builtin(MAX_MODEL_LEN)));
static TEMPLATED: LazyLock<[Subject; 2]> = LazyLock::new(|| {
    TEMPLATES.map(|template| {
        let template = Template::parse(template).expect("the template is one");
        Subject::new(PromptEncoder::builtin(MAX_MODEL_LEN).and_then(|encoder| encoder.with_template(template)))
    })
});
static TEXTS: LazyLock<TextEncoder> =
    LazyLock::new(|| TextEncoder::builtin(MAX_MODEL_LEN, BTreeMap::new()).expect("the encoder is made"));
/// What reads a whole text at once.
static WHOLE: LazyLock<Tokenizer> = LazyLock::new(|| {
    let mut json = Vec::new();
    let file: &[u8] = include_bytes!("../../assets/tokenizer.json.gz");
    GzDecoder::new(file).read_to_end(&mut json).expect("the tokenizer unpacks");
    Tokenizer::from_bytes(json).expect("the tokenizer is one")
});

fuzz_target!(|input: &[u8]| -> Corpus {
    let Some((how, texts)) = input.split_first_chunk::<7>() else { return Corpus::Reject };
    let texts = String::from_utf8_lossy(texts);
    let mut texts = texts.splitn(4, '\0');
    let [query, document, instruction, template] = std::array::from_fn(|_| texts.next().unwrap_or_default());
    let (kind, options, repeat) = read(how, instruction);
    let document = &document.repeat((20_000 / document.len().max(1)).min(repeat));
    match kind {
        b'm' => CARD.check(query, document, &options),
        b'v' => TEMPLATED[0].check(query, document, &options),
        b'o' => TEMPLATED[1].check(query, document, &options),
        b'r' => raw(query, document, &options),
        b'e' => embedded(query, document, &options),
        b't' => render(template, query, document, &options.template_kwargs),
        _ => return Corpus::Reject,
    }
    Corpus::Keep
});

/// A letter for the target, then numbers: how often the document repeats, flags (`shorten`, the left side, tokens of
/// the prompt limited), the limits of the prompt, the document and the query. Digits are small numbers.
fn read(bytes: &[u8; 7], instruction: &str) -> (u8, PromptOptions, usize) {
    let [kind, repeat, flags, prompt, document, query, _] = *bytes;
    let number = |byte: u8| usize::from(byte.wrapping_sub(b'0'));
    let flag = |bit: u8| flags.wrapping_sub(b'0') & bit != 0;
    let options = PromptOptions {
        instruction: Some(instruction.to_owned()),
        template_kwargs: [("instruction".to_owned(), Value::from(instruction))].into_iter().collect(),
        shorten: flag(1),
        truncation_side: if flag(2) { TruncationSide::Left } else { TruncationSide::Right },
        truncate_prompt_tokens: flag(4).then_some(number(prompt) % (MAX_MODEL_LEN + 2)),
        max_tokens_per_doc: number(document) % 64,
        max_tokens_per_query: number(query) % 64,
    };
    (kind, options, 1 + number(repeat) % 32 * number(repeat))
}

struct Subject {
    encoder: PromptEncoder,
    /// The prompt of empty texts.
    empty: Vec<u32>,
    controls: usize,
}

impl Subject {
    fn new(encoder: Result<PromptEncoder, Error>) -> Self {
        let encoder = encoder.expect("the encoder is made");
        let empty =
            encoder.encode("", "", &PromptOptions::default()).expect("an empty pair fits").token_ids().into_owned();
        let controls = controls(&empty);
        Self { encoder, empty, controls }
    }

    fn check(&self, query: &str, document: &str, options: &PromptOptions) {
        let made = self.encoder.encode(query, document, options);
        let many = self.encoder.encode_many(query, &[document, query, document], options);
        let prompt = match made {
            Ok(prompt) => prompt,
            Err(error) => {
                is_the_clients(&error);
                assert!(many.is_err(), "{error}");
                return;
            }
        };
        let ids = &*prompt.token_ids();
        if let Ok(many) = many {
            assert_eq!(*many.prompts[2].token_ids(), *ids, "a document does not depend on others");
        }
        assert!(prompt.prefix() < ids.len());
        assert!(ids.len() <= options.truncate_prompt_tokens.unwrap_or(MAX_MODEL_LEN), "{} tokens", ids.len());
        // The client's own whole prompt has the control tokens that it was written with.
        if query.starts_with("<|im_start|>system\n") {
            return;
        }
        assert_eq!(controls(ids), self.controls, "control tokens of {ids:?}");
        let kept = |tokens: &[u32]| tokens.iter().take_while(|&&id| !is_control(id)).count();
        let (start, end) = (1 + kept(&self.empty[1..]), kept(&self.empty.iter().rev().copied().collect::<Vec<_>>()));
        let is_card = self.empty == CARD.empty;
        if is_card {
            assert_eq!(ids[..start], self.empty[..start], "the template's beginning");
            assert_eq!(ids[ids.len() - end..], self.empty[self.empty.len() - end..], "the template's end");
        }
        let is_whole = !options.shorten
            && options.truncate_prompt_tokens.is_none()
            && options.max_tokens_per_doc + options.max_tokens_per_query == 0;
        // Other characters may be normalised.
        if is_card && is_whole && query.is_ascii() && document.is_ascii() {
            let text = self.encoder.vocabulary().text(ids).expect("tokens have a text");
            assert!(text.contains(&format!("\n<Query>: {query}\n<Document>: {document}<|im_end|>\n")), "{text:?}");
        }
    }
}

fn is_control(id: u32) -> bool {
    WHOLE.get_added_vocabulary().get_added_tokens_decoder().get(&id).is_some_and(|token| token.special)
}

fn controls(ids: &[u32]) -> usize {
    ids.iter().filter(|&&id| is_control(id)).count()
}

/// Prompts of the client's own making: raw text, token ids, messages.
fn raw(text: &str, other: &str, options: &PromptOptions) {
    let encoder = &CARD.encoder;
    let fits = |prompt: Result<Prompt, Error>| match prompt {
        Ok(prompt) => assert!((1..=MAX_MODEL_LEN).contains(&prompt.len())),
        Err(error) => is_the_clients(&error),
    };
    fits(encoder.raw(text, options));
    fits(encoder.raw(other, options));
    let whole = WHOLE.encode_fast(other, false).expect("the tokenizer reads any text");
    let ids = encoder.vocabulary().tokens(other, usize::MAX).expect("a text has tokens");
    assert_eq!(ids, whole.get_ids(), "pieces change no token");
    let any: Vec<u32> = text.as_bytes().chunks(3).map(|b| b.iter().fold(0, |id, &b| id << 8 | u32::from(b))).collect();
    fits(encoder.raw_ids(&any, options));
    assert_eq!(encoder.vocabulary().token_strings(&any).len(), any.len());
    encoder.vocabulary().text(&any).expect("any tokens have a text");
    let roles = ["query", "document", "system", "user"].into_iter().cycle().skip(text.len() % 4);
    let contents = [text, other, text].into_iter().map(str::to_owned);
    let messages: Vec<Message> =
        roles.zip(contents).map(|(role, content)| Message { role: role.to_owned(), content }).collect();
    if let Err(error) = encoder.messages(&messages, options) {
        is_the_clients(&error);
    }
}

/// Texts of an embedding model: what precedes a text and the text are one string, and the end stays.
fn embedded(prefix: &str, text: &str, options: &PromptOptions) {
    let PromptOptions { truncate_prompt_tokens, truncation_side, shorten, .. } = *options;
    let options = TextOptions { truncate_prompt_tokens, truncation_side, shorten, bare: false };
    let made = |prefix: &str, text: &str| TEXTS.behind(prefix, &options)?.prompt(text);
    match (made(prefix, text), made("", &format!("{prefix}{text}"))) {
        (Ok((apart, cut)), Ok((whole, cut_too))) => {
            let ids = apart.token_ids();
            assert_eq!((&ids, cut), (&whole.token_ids(), cut_too), "a prefix and a text are one string");
            assert!((1..=MAX_MODEL_LEN).contains(&ids.len()) && ids.ends_with(TEXTS.end()));
            assert_eq!(controls(&ids), TEXTS.end().len(), "no text has a control token");
        }
        (Err(error), Err(_)) => is_the_clients(&error),
        (one, other) => panic!("{} and {}", one.is_ok(), other.is_ok()),
    }
}

/// Any text as an operator's template: it is one or is refused, and ends.
fn render(template: &str, query: &str, document: &str, kwargs: &Map<String, Value>) {
    match Template::parse(template) {
        Err(error) => assert_eq!(error.kind(), ErrorKind::Options, "{error}"),
        Ok(template) => {
            let mut kwargs = kwargs.clone();
            kwargs.insert("list".to_owned(), json!([query, 1, null, {"a": [document, 1.5, true]}]));
            if let Err(error) = template.with(kwargs).render(query, document) {
                is_the_clients(&error);
            }
        }
    }
}

fn is_the_clients(error: &Error) {
    assert!(matches!(error.kind(), ErrorKind::TooLong | ErrorKind::InvalidRequest), "{error}");
}
