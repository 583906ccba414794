//! What a forward pass costs in floating-point operations; a multiply-add counts as two.
//!
//! Invariant: nothing else in the program counts them. Read by the forward pass, which tells the work that it does, and by
//! those who foretell it or compare it with what a machine can do: `bench` and `check`.

use crate::checkpoint::Config;

/// Rows of a chunk at most: long enough that a layer's weights, read from memory once a chunk, cost nothing.
pub const CHUNK: usize = 768;

/// Operations in one layer, and how many layers there are.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    layers: u64,
    /// A token's keys and values.
    pub(super) keys: u64,
    /// The other matrices that a token meets.
    pub(super) rest: u64,
    /// A token and one of the keys that it attends to.
    pub(super) attention: u64,
}

/// What the layers of a model of this shape cost.
pub fn cost(config: &Config) -> Cost {
    let (hidden, intermediate) = (config.hidden_size as u64, config.intermediate_size as u64);
    let channels = |heads: usize| (heads * config.head_dim) as u64;
    let (queries, keys) = (channels(config.num_attention_heads), channels(config.num_key_value_heads));
    Cost {
        layers: config.num_hidden_layers as u64,
        keys: 2 * hidden * 2 * keys,
        rest: 2 * (2 * hidden * queries + 3 * hidden * intermediate),
        attention: 4 * queries,
    }
}

impl Cost {
    /// A prompt of `tokens` tokens when nothing is shared and nothing left out.
    pub fn alone(self, tokens: usize) -> u64 {
        self.layers * self.layer(0, tokens as u64)
    }

    /// As many prompts as `count` says, whose first `shared` tokens are the same and each of which has `own` more: what is
    /// shared is computed once, and of the last layer keys and values only. What last tokens need besides is next to
    /// nothing and left out.
    pub fn together(self, shared: usize, own: usize, count: usize) -> u64 {
        let (shared, own, count) = (shared as u64, own as u64, count as u64);
        let layer = self.layer(0, shared) + count * self.layer(shared, own);
        (self.layers - 1) * layer + (shared + count * own) * self.keys
    }

    /// One layer of `tokens` tokens that come behind `before` others.
    fn layer(self, before: u64, tokens: u64) -> u64 {
        let attended = tokens * before + tokens * (tokens + 1) / 2;
        tokens * (self.keys + self.rest) + attended * self.attention
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{Checkpoint, Overrides};

    #[test]
    fn the_naive_count_of_the_06b_shape_is_the_one_worked_out_by_hand() {
        let checkpoint = Checkpoint::dummy(None, &Overrides::new()).unwrap();
        // A layer: q 1024x2048, k and v 1024x1024, o 2048x1024, gate, up and down 1024x3072: 15,728,640 weights.
        let cost = cost(checkpoint.config());
        assert_eq!(cost.alone(1), 28 * (2 * 15_728_640 + 4 * 2048));
        assert_eq!(cost.alone(300), 300 * 880_803_840 + 114_688 * 300 * 301);
    }

    #[test]
    fn what_is_shared_costs_once_and_the_last_layer_keys_and_values() {
        let cost = cost(Checkpoint::dummy(None, &Overrides::new()).unwrap().config());
        let naive = cost.alone(77) + 64 * (cost.alone(77 + 522) - cost.alone(77));
        assert_eq!(cost.together(77, 522, 64), naive / 28 * 27 + (77 + 64 * 522) * 4 * 1024 * 1024);
    }
}
