#!/usr/bin/env bash
# Makes DIR a model directory of a small shape, to be served with --load-format dummy.
#
#   tests/support/tiny-model.sh DIR
set -euo pipefail
mkdir -p "$1"
gzip -dc "$(dirname "$0")/../../assets/tokenizer.json.gz" >"$1/tokenizer.json"
cat >"$1/config.json" <<'JSON'
{"architectures": ["Qwen3ForCausalLM"], "attention_bias": false, "head_dim": 32, "hidden_act": "silu",
 "hidden_size": 64, "intermediate_size": 160, "max_position_embeddings": 40960, "model_type": "qwen3",
 "num_attention_heads": 4, "num_hidden_layers": 3, "num_key_value_heads": 2, "rms_norm_eps": 1e-06,
 "rope_theta": 1000000, "tie_word_embeddings": true, "torch_dtype": "bfloat16", "vocab_size": 151669}
JSON
# Readable for a server of any user.
chmod 755 "$1"
chmod 644 "$1"/*
