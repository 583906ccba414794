//! Text of the user to tokens, with special tokens read as plain text, in pieces so that work is bounded.
//!
//! Invariant: pieces change no token. The pieces of a text give exactly the tokens of the whole text, which is known
//! only for Qwen's own normaliser and pre-tokeniser; with any other, a text is one piece. Called by the prompt encoder.

use crate::error::{Error, ErrorKind, Result};
use serde_json::json;
use tokenizers::{AddedToken, Encoding, Tokenizer};

/// Texts are encoded in pieces of about this many bytes: far above the cost of a call, far below what takes long.
const PIECE_BYTES: usize = 16 << 10;
/// A run without any border is parted all the same after this many bytes, so that hostile input can't hold a thread for
/// seconds. Only such a run, a "word" of 128 KiB, may get other tokens than the whole text would, next to that place.
const RUN_BYTES: usize = 128 << 10;
/// NFC never makes a text shorter than a third of its UTF-8 bytes (Unicode's maximum expansion factor of NFD).
const NFC_SHRINKS_BY: usize = 3;
/// Qwen2's and Qwen3's pre-tokeniser.
const QWEN_PATTERN: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// A tokenizer that reads special tokens as plain text.
pub(super) struct PlainText {
    tokenizer: Tokenizer,
    /// Tokens that are cut out of a text before anything else happens to it, such as `<think>`.
    added: Vec<String>,
    separable: bool,
    longest_token: usize,
    vocab_size: usize,
}

impl PlainText {
    pub(super) fn new(mut tokenizer: Tokenizer) -> Self {
        // transformers' split_special_tokens: added tokens that are not special, such as <think>, are still tokens.
        tokenizer.set_encode_special_tokens(true);
        let added: Vec<AddedToken> =
            tokenizer.get_added_vocabulary().get_added_tokens_decoder().values().cloned().collect();
        let vocabulary = tokenizer.get_vocab(true);
        Self {
            separable: is_qwen_pipeline(&tokenizer) && added.iter().all(is_simple),
            // Byte-level tokens have one character per byte.
            longest_token: vocabulary
                .keys()
                .map(|t| t.chars().count())
                .chain(added.iter().map(|a| a.content.len()))
                .max()
                .unwrap_or(1),
            vocab_size: vocabulary.values().max().map_or(0, |&id| id as usize + 1),
            added: added.into_iter().map(|a| a.content).collect(),
            tokenizer,
        }
    }

    pub(super) fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    pub(super) fn vocab_size(&self) -> usize {
        self.vocab_size
    }

    /// Whether texts may be encoded apart before a space that follows something else, or where a word ends.
    ///
    /// Why that is exact: the pattern of Qwen's pre-tokeniser matches without looking back; only runs of letters go on
    /// after a letter, nothing goes on after a digit, and runs of letters, punctuation and marks all end before a space,
    /// so that a match always ends there and the next starts fresh. The right side starts with an ASCII character (or CJK
    /// punctuation), which never composes with what precedes it, so NFC of both sides is NFC of the whole. Added
    /// tokens hold no white space and ask for no stripping; `border` looks out for those that straddle other places.
    pub(super) fn separable(&self) -> bool {
        self.separable
    }

    /// True only if `text` has more than `limit` tokens, known from its size alone.
    pub(super) fn surely_exceeds(&self, text: &str, limit: usize) -> bool {
        self.separable && text.len() > self.most_bytes(limit)
    }

    /// The tokens of `text` if they are at most `limit`; else at least its first `limit + 1`.
    pub(super) fn encode(&self, text: &str, limit: usize) -> Result<Vec<u32>> {
        let mut ids = Vec::with_capacity((text.len() / 4).min(limit).saturating_add(1));
        for (from, to) in self.pieces(text) {
            let encoding = self.tokenizer.encode_fast(&text[from..to], false).map_err(failed)?;
            ids.extend_from_slice(encoding.get_ids());
            if ids.len() > limit {
                break;
            }
        }
        Ok(ids)
    }

    /// The longest start of `text`, cut where a token starts, that has at most `max` tokens by itself; 0 is no limit.
    pub(super) fn cut<'t>(&self, mut text: &'t str, max: usize) -> Result<&'t str> {
        if max == 0 {
            return Ok(text);
        }
        // A shortened text may be merged otherwise at its new end and have more tokens again: each round is shorter.
        while let Some(end) = self.start_of_token(text, max)? {
            let mut end = end.min(text.len() - 1);
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text = &text[..end];
        }
        Ok(text)
    }

    /// A start of `text`, up to a place where it may be parted, that has more than `tokens` tokens; or all of it. What is
    /// behind that need not be looked at to know its first `tokens` tokens.
    pub(super) fn start<'t>(&self, text: &'t str, tokens: usize) -> &'t str {
        match self.most_bytes(tokens) {
            most if self.separable && most < text.len() => &text[..self.border(text, most)],
            _ => text,
        }
    }

    /// An end of `text`, the same.
    pub(super) fn end<'t>(&self, text: &'t str, tokens: usize) -> &'t str {
        // The place is found within another `RUN_BYTES`, but for a few bytes of added tokens.
        match text.len().checked_sub(self.most_bytes(tokens).saturating_add(RUN_BYTES + PIECE_BYTES)) {
            Some(from) if self.separable => &text[self.border(text, from)..],
            _ => text,
        }
    }

    /// A text of more bytes has more than `tokens` tokens.
    fn most_bytes(&self, tokens: usize) -> usize {
        tokens.saturating_add(1).saturating_mul(self.longest_token).saturating_mul(NFC_SHRINKS_BY)
    }

    /// An end of `text` that has at most `max` tokens by itself; 0 keeps nothing.
    pub(super) fn cut_left<'t>(&self, text: &'t str, max: usize) -> Result<&'t str> {
        let mut text = self.end(text, max);
        loop {
            let tokens = self.encode(text, usize::MAX)?.len();
            if tokens <= max {
                return Ok(text);
            }
            let mut start = self.start_of_token(text, tokens - max)?.unwrap_or(text.len()).max(1);
            while !text.is_char_boundary(start) {
                start += 1;
            }
            text = &text[start..];
        }
    }

    /// Byte offset in `text` of the character in which its token number `index` starts.
    fn start_of_token(&self, text: &str, index: usize) -> Result<Option<usize>> {
        let mut before = 0;
        for (from, to) in self.pieces(text) {
            let encoding: Encoding = self.tokenizer.encode(&text[from..to], false).map_err(failed)?;
            if let Some((start, _)) = encoding.get_offsets().get(index - before) {
                return Ok(Some(from + start));
            }
            before += encoding.len();
        }
        Ok(None)
    }

    /// Ranges of bytes that cover `text` and may be encoded apart.
    fn pieces<'t>(&'t self, text: &'t str) -> impl Iterator<Item = (usize, usize)> + 't {
        let mut from = 0;
        std::iter::from_fn(move || {
            (from < text.len()).then(|| {
                let to = if self.separable { self.border(text, from + PIECE_BYTES) } else { text.len() };
                (std::mem::replace(&mut from, to), to)
            })
        })
    }

    /// The first place at or after `from` where `text` may be parted; its end, or `RUN_BYTES` on, if there is none.
    fn border(&self, text: &str, mut from: usize) -> usize {
        while from < text.len() && !text.is_char_boundary(from) {
            from += 1;
        }
        let mut rest = text.get(from..).unwrap_or("").char_indices().peekable();
        while let Some((_, left)) = rest.next() {
            if let Some(&(at, right)) = rest.peek()
                && (is_border(left, right) || at >= RUN_BYTES)
                && !self.is_straddled(text, from + at)
            {
                return from + at;
            }
        }
        text.len()
    }

    /// The last place between `from` and `to`, neither of them, where `text` may be parted.
    pub(super) fn last_border(&self, text: &str, from: usize, to: usize) -> Option<usize> {
        let mut left = text.get(from..to).filter(|_| self.separable)?.char_indices();
        let mut right = left.next_back()?;
        while let Some(next) = left.next_back() {
            let at = from + right.0;
            if is_border(next.1, right.1) && !self.is_straddled(text, at) {
                return Some(at);
            }
            right = next;
        }
        None
    }

    /// Whether an added token lies across byte `at`.
    fn is_straddled(&self, text: &str, at: usize) -> bool {
        self.added.iter().any(|token| {
            (at.saturating_sub(token.len() - 1)..at).any(|start| text.as_bytes()[start..].starts_with(token.as_bytes()))
        })
    }
}

/// Whether a match of the pattern always ends between these two, and NFC leaves them apart.
fn is_border(left: char, right: char) -> bool {
    // Scripts that do without spaces need the second rule; those listed have letters only and are whole under NFC.
    let letter = matches!(left, 'a'..='z' | 'A'..='Z' | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}' | '\u{4e00}'..='\u{9fff}');
    let punctuation = matches!(right, '、' | '。' | '，' | '！' | '？' | '；' | '：' | '（' | '）');
    (right == ' ' && !left.is_whitespace())
        || ((right.is_ascii() || punctuation) && (left.is_ascii_digit() || (letter && !right.is_ascii_alphabetic())))
}

/// Whether a token is cut out of the text as it stands, and no matter what surrounds it.
fn is_simple(token: &AddedToken) -> bool {
    let plain = !token.single_word && !token.lstrip && !token.rstrip && !token.normalized;
    plain && !token.content.is_empty() && !token.content.contains(char::is_whitespace)
}

fn is_qwen_pipeline(tokenizer: &Tokenizer) -> bool {
    let normalizer = serde_json::to_value(tokenizer.get_normalizer()).ok();
    let pre_tokenizer = serde_json::to_value(tokenizer.get_pre_tokenizer()).ok();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false});
    let split = json!({"type": "Split", "pattern": {"Regex": QWEN_PATTERN}, "behavior": "Isolated", "invert": false});
    normalizer == Some(json!({"type": "NFC"}))
        && pre_tokenizer == Some(json!({"type": "Sequence", "pretokenizers": [split, byte_level]}))
}

fn failed(e: tokenizers::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("The tokenizer failed on a text: {}.", e.to_string().replace('\n', " ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::LazyLock;

    static PLAIN: LazyLock<PlainText> = LazyLock::new(|| {
        PlainText::new(Tokenizer::from_bytes(super::super::tokenizer::builtin_tokenizer().unwrap()).unwrap())
    });

    #[test]
    fn the_builtin_tokenizer_is_separable_and_its_longest_token_has_128_bytes() {
        assert!(PLAIN.separable());
        assert_eq!(PLAIN.longest_token, 128);
        assert_eq!(PLAIN.vocab_size(), 151_669);
    }

    /// Texts dense in what could go wrong at a border: marks, runs of white space, contractions, added tokens.
    fn text() -> impl Strategy<Value = String> {
        let part = prop_oneof![
            "[a-zA-Z]{1,6}",
            "[0-9]{1,3}",
            "[ \t\r\n]{1,4}",
            "['.,:;<>|/_-]{1,4}",
            "\\PC{1,4}",
            "[\u{300}-\u{36f}]{1,2}",
            "[\u{4e00}-\u{4eff}\u{3041}-\u{30fe}，。！]{1,4}",
            "[\u{ac00}-\u{acff}\u{1100}-\u{11ff}]{1,3}",
            Just("<think>".into()),
            Just("</think>".into()),
            Just("<|im_end|>".into()),
            Just("<tool_call>".into()),
            Just("'s".into()),
            Just("<|fim_prefix|>".into()),
            Just("don't".into()),
        ];
        prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(1500))]

        #[test]
        fn a_text_parted_at_any_border_has_the_tokens_of_the_whole(text in text()) {
            let whole = PLAIN.tokenizer.encode_fast(text.as_str(), false).unwrap();
            let mut from = 0;
            let mut parted = Vec::new();
            while from < text.len() {
                let to = PLAIN.border(&text, from);
                parted.extend_from_slice(PLAIN.tokenizer.encode_fast(&text[from..to], false).unwrap().get_ids());
                from = to;
            }
            prop_assert_eq!(parted, whole.get_ids());
        }

        #[test]
        fn a_cut_text_is_a_start_of_the_text_within_the_limit(text in text(), max in 1usize..40) {
            let cut = PLAIN.cut(&text, max).unwrap();
            prop_assert!(text.starts_with(cut));
            prop_assert!(PLAIN.encode(cut, max).unwrap().len() <= max);
            let end = PLAIN.cut_left(&text, max).unwrap();
            prop_assert!(text.ends_with(end) && PLAIN.encode(end, max).unwrap().len() <= max);
            if PLAIN.encode(&text, max).unwrap().len() <= max {
                prop_assert_eq!((cut, end), (text.as_str(), text.as_str()));
            }
        }
    }

    #[test]
    fn no_piece_is_long_even_without_a_border() {
        for text in ["a", "  ", "\u{301}", "很长的文字", "<think>", "\u{1f9ff}"] {
            let text = text.repeat(1_000_000 / text.len());
            let mut end = 0;
            for (from, to) in PLAIN.pieces(&text) {
                assert_eq!(from, end);
                assert!(to - from <= PIECE_BYTES + RUN_BYTES + 64, "{} bytes of {:.8}", to - from, text);
                end = to;
            }
            assert_eq!(end, text.len());
        }
    }

    #[test]
    fn a_cut_never_splits_a_character_of_several_tokens() {
        let text = "a\u{12000}x";
        assert!(PLAIN.encode(text, 100).unwrap().len() >= 4, "the cuneiform sign should take several tokens");
        assert_eq!(PLAIN.cut(text, 2).unwrap(), "a");
    }
}
