//! Texts as the server takes them: a string, or an object with `text`; one of them, or a list.

use serde::de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// One text.
pub(crate) struct Text(pub String);

/// One text, or a list.
pub(crate) struct Texts {
    pub texts: Vec<String>,
    /// Whether it is a list.
    pub many: bool,
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct One;
        impl<'de> Visitor<'de> for One {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text(text.to_owned()))
            }

            fn visit_string<E: Error>(self, text: String) -> Result<Text, E> {
                Ok(Text(text))
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Text, M::Error> {
                text_of(map).map(Text)
            }
        }
        deserializer.deserialize_any(One)
    }
}

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;
        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Texts;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or a list of strings")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Texts, E> {
                Ok(Texts { texts: vec![text.to_owned()], many: false })
            }

            fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Texts, M::Error> {
                Ok(Texts { texts: vec![text_of(map)?], many: false })
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut list: S) -> Result<Texts, S::Error> {
                let mut texts = Vec::new();
                while let Some(Text(text)) = list.next_element()? {
                    texts.push(text);
                }
                Ok(Texts { texts, many: true })
            }
        }
        deserializer.deserialize_any(OneOrMany)
    }
}

/// The `text` of an object, whatever else it holds.
fn text_of<'de, M: MapAccess<'de>>(mut map: M) -> Result<String, M::Error> {
    let mut text = None;
    while let Some(key) = map.next_key::<String>()? {
        match key.as_str() {
            "text" => text = Some(map.next_value()?),
            _ => _ = map.next_value::<IgnoredAny>()?,
        }
    }
    text.ok_or_else(|| Error::custom("an object without `text` in place of a string"))
}
