//! Which tensors a model needs, and whether its files have them and nothing besides.
//!
//! Invariant: what is let in has the shape that the configuration gives, and every tensor of the files is known. Called by
//! `Checkpoint`.

use super::architecture::{Part, layer_tensor};
use super::config::Config;
use super::fault::{fail, shown};
use super::head::Head;
use super::names::{self, EMBEDDING, NORM, OUTPUT, SCORE, SCORE_BIAS};
use super::purpose::Purpose;
use super::shards::{Places, Shards};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Name and shape of every tensor that the model needs, in the order of the forward pass.
pub fn needed(c: &Config, purpose: &Purpose) -> Vec<(String, Vec<usize>)> {
    let layer = purpose.architecture.layer(c);
    let hidden = c.hidden_size;
    let mut all = vec![(EMBEDDING.to_owned(), vec![c.vocab_size, hidden])];
    for index in 0..c.num_hidden_layers {
        let tensors = layer.iter().flat_map(Part::tensors);
        all.extend(tensors.map(|(name, shape)| (layer_tensor(index, name), shape)));
    }
    all.push((NORM.to_owned(), vec![hidden]));
    match purpose.head {
        // Some say that their output is not tied, and have none.
        Head::Vector(_) => {}
        Head::Tokens(_) if c.tie_word_embeddings => {}
        Head::Tokens(_) => all.push((OUTPUT.to_owned(), vec![c.vocab_size, hidden])),
        Head::Score { bias } => {
            all.push((SCORE.to_owned(), vec![1, hidden]));
            if bias {
                all.push((SCORE_BIAS.to_owned(), vec![1]));
            }
        }
    }
    all
}

/// The tensors under the names of a causal model.
pub fn canonical(dir: &Path, shards: Shards) -> Result<Shards> {
    let mut renamed = BTreeMap::new();
    for (name, place) in shards.places {
        let full = names::canonical(&name);
        if renamed.insert(full.clone(), place).is_some() {
            let what = format!("has tensor {} both with and without the prefix model., expected one", shown(&full));
            return Err(fail(dir, what));
        }
    }
    Ok(Shards { places: renamed, ..shards })
}

/// The tensors that the model needs, after a check that all are there and nothing unknown is: at most one error for
/// what is missing, what has another shape, and what nobody knows.
pub fn checked(
    dir: &Path,
    config: &Config,
    purpose: &Purpose,
    mut places: Places,
) -> std::result::Result<Places, Vec<Error>> {
    let (mut known, mut missing, mut misshapen) = (BTreeMap::new(), Vec::new(), Vec::new());
    for (name, shape) in needed(config, purpose) {
        match places.remove(&name) {
            None => missing.push((name, shape)),
            Some(place) if place.shape != shape => misshapen.push((name, shape, place)),
            Some(place) => _ = known.insert(name, place),
        }
    }
    let useless_output = matches!(purpose.head, Head::Score { .. } | Head::Vector(_));
    let harmless = |name: &str| name.ends_with("rotary_emb.inv_freq") || (useless_output && name == OUTPUT);
    places.retain(|name, _| !harmless(name));
    let and_more = |count: usize| if count > 1 { format!(", and {} more", count - 1) } else { String::new() };
    let mut problems = Vec::new();
    if let Some((name, shape)) = missing.first() {
        let hint = match name.as_str() {
            SCORE => "; for an original Qwen3 reranker override is_original_qwen3_reranker to true",
            OUTPUT => "; tie_word_embeddings is false, as it is for Qwen3 where config.json does not say",
            _ => "",
        };
        let more = and_more(missing.len());
        problems.push(fail(dir, format!("lacks tensor {name}, expected with shape {shape:?}{more}{hint}")));
    }
    if let Some((name, shape, place)) = misshapen.first() {
        let (found, more) = (shown(&format!("{:?}", place.shape)), and_more(misshapen.len()));
        let what = format!("has tensor {name} of shape {found}, expected {shape:?} from config.json{more}");
        problems.push(fail(Path::new(&place.file), what));
    }
    if let Some((name, place)) = places.first_key_value() {
        let classes = purpose.architecture.classes();
        let class = match purpose.head {
            Head::Tokens(_) | Head::Vector(_) => classes.causal,
            Head::Score { .. } => classes.classification,
        };
        let (name, more, layers) = (shown(name), and_more(places.len()), config.num_hidden_layers);
        problems.push(fail(
            Path::new(&place.file),
            format!("has tensor {name}{more}, which a {class} with num_hidden_layers {layers} does not have"),
        ));
    }
    if problems.is_empty() { Ok(known) } else { Err(problems) }
}
