//! The synthetic weights are, bit for bit, those that the goldens were computed on.

use crate::support;
use ironrank::checkpoint::{Checkpoint, Overrides, packed};
use ironrank::precision::Precision;

/// Shape, tensor, CRC-32 of its bf16 bytes in the checkpoint that the reference implementation (NumPy) writes.
const KNOWN: &[(&str, &str, u32)] = &[
    ("tiny", "model.embed_tokens.weight", 0x6861B661),
    ("tiny", "model.layers.0.input_layernorm.weight", 0xD2714BC4),
    ("tiny", "model.layers.0.self_attn.q_proj.weight", 0xC994D736),
    ("tiny", "model.layers.0.self_attn.k_proj.weight", 0x4D06DD53),
    ("tiny", "model.layers.0.self_attn.v_proj.weight", 0xC0C5EF31),
    ("tiny", "model.layers.0.self_attn.o_proj.weight", 0x6CE4AFA2),
    ("tiny", "model.layers.0.self_attn.q_norm.weight", 0x096CEB28),
    ("tiny", "model.layers.0.self_attn.k_norm.weight", 0xA2BBCEF4),
    ("tiny", "model.layers.0.post_attention_layernorm.weight", 0xD7A1A20C),
    ("tiny", "model.layers.0.mlp.gate_proj.weight", 0x5358940C),
    ("tiny", "model.layers.0.mlp.up_proj.weight", 0x2C0C8808),
    ("tiny", "model.layers.0.mlp.down_proj.weight", 0x89D5CFF7),
    ("tiny", "model.layers.1.input_layernorm.weight", 0x2953D05B),
    ("tiny", "model.layers.1.self_attn.q_proj.weight", 0x3CE17647),
    ("tiny", "model.layers.1.self_attn.k_proj.weight", 0xC9BBF4D1),
    ("tiny", "model.layers.1.self_attn.v_proj.weight", 0x2F39D931),
    ("tiny", "model.layers.1.self_attn.o_proj.weight", 0x25C4679D),
    ("tiny", "model.layers.1.self_attn.q_norm.weight", 0xB14F0987),
    ("tiny", "model.layers.1.self_attn.k_norm.weight", 0x85A8E1F0),
    ("tiny", "model.layers.1.post_attention_layernorm.weight", 0xE0B0BB96),
    ("tiny", "model.layers.1.mlp.gate_proj.weight", 0xFFD775E9),
    ("tiny", "model.layers.1.mlp.up_proj.weight", 0xCDFD6127),
    ("tiny", "model.layers.1.mlp.down_proj.weight", 0x0702AE5B),
    ("tiny", "model.layers.2.input_layernorm.weight", 0xFB3F8761),
    ("tiny", "model.layers.2.self_attn.q_proj.weight", 0x42F189FB),
    ("tiny", "model.layers.2.self_attn.k_proj.weight", 0x44358ABA),
    ("tiny", "model.layers.2.self_attn.v_proj.weight", 0x87C380C2),
    ("tiny", "model.layers.2.self_attn.o_proj.weight", 0xE2792E12),
    ("tiny", "model.layers.2.self_attn.q_norm.weight", 0x60F3F7B0),
    ("tiny", "model.layers.2.self_attn.k_norm.weight", 0x27F0FE19),
    ("tiny", "model.layers.2.post_attention_layernorm.weight", 0xE5EBBDC0),
    ("tiny", "model.layers.2.mlp.gate_proj.weight", 0x560E3867),
    ("tiny", "model.layers.2.mlp.up_proj.weight", 0x8F568B58),
    ("tiny", "model.layers.2.mlp.down_proj.weight", 0x6741B5C6),
    ("tiny", "model.norm.weight", 0xCB423FE9),
    ("tiny-untied", "model.layers.1.input_layernorm.weight", 0x6AB09E9C),
    ("tiny-untied", "model.layers.1.self_attn.q_proj.weight", 0x87555AC1),
    ("tiny-untied", "model.layers.1.self_attn.k_proj.weight", 0xFF956E4A),
    ("tiny-untied", "model.layers.1.self_attn.v_proj.weight", 0x26199018),
    ("tiny-untied", "model.layers.1.self_attn.o_proj.weight", 0x0550A0A4),
    ("tiny-untied", "model.layers.1.self_attn.q_norm.weight", 0x1CDDF151),
    ("tiny-untied", "model.layers.1.self_attn.k_norm.weight", 0x4F29F3D4),
    ("tiny-untied", "model.layers.1.post_attention_layernorm.weight", 0xB601A27F),
    ("tiny-untied", "model.layers.1.mlp.gate_proj.weight", 0x5098CDB8),
    ("tiny-untied", "model.layers.1.mlp.up_proj.weight", 0xBB5ED153),
    ("tiny-untied", "model.layers.1.mlp.down_proj.weight", 0xB3F79AE9),
    ("tiny-untied", "model.norm.weight", 0x75922210),
    ("tiny-untied", "lm_head.weight", 0xDD8F5DD6),
    ("tiny-mha", "model.layers.1.input_layernorm.weight", 0xE19F1B57),
    ("tiny-mha", "model.layers.1.self_attn.q_proj.weight", 0x3C1902DE),
    ("tiny-mha", "model.layers.1.self_attn.k_proj.weight", 0x0B23856D),
    ("tiny-mha", "model.layers.1.self_attn.v_proj.weight", 0x748A90E1),
    ("tiny-mha", "model.layers.1.self_attn.o_proj.weight", 0xE1A4038E),
    ("tiny-mha", "model.layers.1.self_attn.q_norm.weight", 0xB264673E),
    ("tiny-mha", "model.layers.1.self_attn.k_norm.weight", 0x7DB95794),
    ("tiny-mha", "model.layers.1.post_attention_layernorm.weight", 0x1437B102),
    ("tiny-mha", "model.layers.1.mlp.gate_proj.weight", 0x856ADDB3),
    ("tiny-mha", "model.layers.1.mlp.up_proj.weight", 0x6C001FC3),
    ("tiny-mha", "model.layers.1.mlp.down_proj.weight", 0x52218372),
    ("tiny-mha", "model.norm.weight", 0x30639F20),
    ("0.6b", "model.layers.27.input_layernorm.weight", 0xB49617BB),
    ("0.6b", "model.layers.27.self_attn.q_proj.weight", 0xDA867051),
    ("0.6b", "model.layers.27.self_attn.k_proj.weight", 0x3A233A78),
    ("0.6b", "model.layers.27.self_attn.v_proj.weight", 0x45068237),
    ("0.6b", "model.layers.27.self_attn.o_proj.weight", 0x0B1D3D3D),
    ("0.6b", "model.layers.27.self_attn.q_norm.weight", 0x391BE761),
    ("0.6b", "model.layers.27.self_attn.k_norm.weight", 0xF05CE8E4),
    ("0.6b", "model.layers.27.post_attention_layernorm.weight", 0x1076C555),
    ("0.6b", "model.layers.27.mlp.gate_proj.weight", 0x31DB8B37),
    ("0.6b", "model.layers.27.mlp.up_proj.weight", 0x59B9512E),
    ("0.6b", "model.layers.27.mlp.down_proj.weight", 0xD6573B14),
    ("0.6b", "model.norm.weight", 0x0134D098),
];

fn dummy(shape: &str, overrides: &Overrides) -> Checkpoint {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), support::config(shape).to_string()).unwrap();
    Checkpoint::dummy(Some(dir.path()), overrides).unwrap()
}

fn crc(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}

#[test]
fn synthetic_tensors_are_the_references_bit_for_bit() {
    for shape in ["tiny", "tiny-untied", "tiny-mha", "0.6b"] {
        let checkpoint = dummy(shape, &Overrides::new());
        let tensors = checkpoint.tensors();
        for (_, name, expected) in KNOWN.iter().filter(|known| known.0 == shape) {
            let (_, dims) = tensors.iter().find(|(known, _)| known == name).unwrap();
            assert_eq!(crc(&support::bf16_bytes(&checkpoint, name, dims)), *expected, "{shape} {name}");
        }
    }
}

#[test]
fn all_tensors_of_tiny_are_known() {
    let names: Vec<String> = dummy("tiny", &Overrides::new()).tensors().into_iter().map(|(name, _)| name).collect();
    let known: Vec<&str> = KNOWN.iter().filter(|known| known.0 == "tiny").map(|known| known.1).collect();
    assert_eq!(names, known);
}

#[test]
fn the_builtin_configuration_is_that_of_06b() {
    let builtin = Checkpoint::dummy(None, &Overrides::new()).unwrap();
    assert_eq!(builtin.config(), dummy("0.6b", &Overrides::new()).config());
    assert_eq!(builtin.bytes(), 2 * 595_776_512);
    // All of its matrices as bfloat16; its embedding is made as it is read.
    assert_eq!(packed::bytes(&builtin, Precision::Exact), 2 * 440_401_920);
}

#[test]
fn a_written_checkpoint_reads_as_the_function_in_one_file_and_in_shards() {
    for (shape, shards) in [("tiny", 1), ("tiny", 3), ("tiny-untied", 2)] {
        let dir = tempfile::tempdir().unwrap();
        support::write_checkpoint(shape, dir.path(), shards);
        let written = Checkpoint::open(dir.path(), &Overrides::new()).unwrap();
        let made = dummy(shape, &Overrides::new());
        assert_eq!(written.config(), made.config());
        assert_eq!(written.bytes(), made.bytes());
        for (name, dims) in made.tensors() {
            let (written, made) = (written.tensor(&name, &dims).unwrap(), made.tensor(&name, &dims).unwrap());
            let (mut a, mut b) = (vec![0.0; written.cols()], vec![1.0; made.cols()]);
            for row in [0, written.rows() / 2, written.rows() - 1] {
                written.read_row(row, &mut a);
                made.read_row(row, &mut b);
                assert_eq!(a, b, "{shape} {name} row {row}");
            }
        }
    }
}

#[test]
fn a_row_is_the_same_part_of_the_tensor_in_every_type() {
    for (dtype, tolerance) in [("bfloat16", 1.0 / 256.0), ("float16", 1.0 / 2048.0), ("float32", 0.0)] {
        let overrides = serde_json::json!({"torch_dtype": dtype}).as_object().unwrap().clone();
        let exact = serde_json::json!({"torch_dtype": "float32"}).as_object().unwrap().clone();
        let (typed, exact) = (dummy("tiny", &overrides), dummy("tiny", &exact));
        let (mut a, mut b) = ([0.0; 64], [0.0; 64]);
        typed.tensor("layers.2.mlp.up_proj.weight", &[160, 64]).unwrap().read_row(77, &mut a);
        exact.tensor("model.layers.2.mlp.up_proj.weight", &[160, 64]).unwrap().read_row(77, &mut b);
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= b.abs() * tolerance), "{dtype}");
    }
}
