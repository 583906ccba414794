//! The packed-weight file: the same scores with it and without, made anew when it is not what it should be.

use crate::support::{config, head, write_checkpoint, write_checkpoint_in};
use ironrank::batch::Batch;
use ironrank::checkpoint::{Checkpoint, Overrides, packed};
use ironrank::error::Result;
use ironrank::model::{self, Model};
use ironrank::precision::Precision;
use ironrank::prompt::Prompt;
use ironrank_kernels::{Cpu, Isa, Pool};
use safetensors::Dtype;
use std::fs;
use std::path::{Path, PathBuf};

fn load(checkpoint: &Checkpoint, cache: Option<&Path>) -> Result<Box<dyn Model>> {
    load_on(Isa::best(), checkpoint, cache)
}

fn load_on(isa: Isa, checkpoint: &Checkpoint, cache: Option<&Path>) -> Result<Box<dyn Model>> {
    let cpu = Cpu::new(isa, Pool::new(Some(2), false).unwrap());
    // As a start does.
    let found = cache.and_then(|dir| model::find(&cpu, checkpoint, Precision::Exact, dir));
    let packed = found.map_or_else(|| model::pack(&cpu, checkpoint, Precision::Exact, cache), Ok)?;
    model::load(cpu, checkpoint, packed, head(checkpoint), 512)
}

/// The model in `dir`, its packed weights kept in `cache`.
fn loaded(dir: &Path, cache: Option<&Path>) -> Box<dyn Model> {
    load(&Checkpoint::open(dir, &Overrides::new()).unwrap(), cache).unwrap()
}

/// The bits of some margins of the model in `dir`, its packed weights kept in `cache`.
fn margins(dir: &Path, cache: Option<&Path>) -> Vec<u32> {
    margins_of(&mut *loaded(dir, cache))
}

fn margins_of(model: &mut dyn Model) -> Vec<u32> {
    let prompts: Vec<Prompt> = (1..4)
        .map(|i| {
            let ids: Vec<u32> = (0..40 * i).map(|t| 1000 + 7 * t).collect();
            Prompt::new(ids[..5].into(), &ids[5..])
        })
        .collect();
    model.run(Batch::of(&prompts)).values.into_iter().map(f32::to_bits).collect()
}

/// The only packed file in `cache`.
fn packed_file(cache: &Path) -> PathBuf {
    let files: Vec<PathBuf> = fs::read_dir(cache).unwrap().map(|entry| entry.unwrap().path()).collect();
    let mut packed = files.iter().filter(|path| path.extension().is_some_and(|kind| kind == "weights"));
    let file = packed.next().expect("there is a packed file").clone();
    assert!(packed.next().is_none(), "one model has one file: {files:?}");
    assert!(files.iter().all(|path| path.extension().is_none_or(|kind| kind != "unfinished")), "{files:?}");
    file
}

#[test]
fn scores_are_the_same_bits_with_and_without_the_file() {
    for shape in ["tiny", "tiny-untied", "tiny-mha"] {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_checkpoint(shape, dir.path(), 2);
        let expected = margins(dir.path(), None);
        assert_eq!(margins(dir.path(), Some(cache.path())), expected, "{shape}: while it is made");
        let made = fs::metadata(packed_file(cache.path())).unwrap().modified().unwrap();
        assert_eq!(margins(dir.path(), Some(cache.path())), expected, "{shape}: when it is there");
        assert_eq!(fs::metadata(packed_file(cache.path())).unwrap().modified().unwrap(), made, "{shape}: made twice");
    }
}

#[test]
fn weights_in_bfloat16_and_the_same_numbers_in_float32_score_the_same_bits() {
    let float32 = |which: &'static str| move |name: &str| if name.contains(which) { Dtype::F32 } else { Dtype::BF16 };
    for shape in ["tiny", "tiny-untied"] {
        let cache = tempfile::tempdir().unwrap();
        // Nothing; all; each layer's gate, which makes `gate_up` float32; the second layer's queries.
        let models = ["nothing", "", "gate_proj", "layers.1.self_attn.q_proj"].map(|which| {
            let dir = tempfile::tempdir().unwrap();
            write_checkpoint_in(&config(shape), dir.path(), 1, float32(which));
            dir
        });
        let opened = models.each_ref().map(|dir| Checkpoint::open(dir.path(), &Overrides::new()).unwrap());
        let matrices = |checkpoint: &Checkpoint| {
            packed::bytes(checkpoint, Precision::Exact) - checkpoint.embedding().unwrap().bytes() as u64
        };
        let [short, long, gates, queries] = opened.each_ref().map(matrices);
        assert!(
            2 * short == long && short < queries && queries < gates && gates < long,
            "{:?}",
            [short, queries, gates, long]
        );
        for isa in Isa::available() {
            let [expected, others @ ..] =
                opened.each_ref().map(|checkpoint| margins_of(&mut *load_on(isa, checkpoint, None).unwrap()));
            assert!(others.iter().all(|margins| *margins == expected), "{shape} on {isa:?}: {expected:?} {others:?}");
        }
        for (i, checkpoint) in opened.iter().enumerate() {
            let expected = margins_of(&mut *load(checkpoint, None).unwrap());
            for file in ["made", "there"] {
                let mapped = margins_of(&mut *load(checkpoint, Some(cache.path())).unwrap());
                assert_eq!(mapped, expected, "{shape}, model {i}: the file is {file}");
            }
        }
    }
}

#[test]
fn a_file_of_another_version_gives_way_whatever_it_is_called() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let expected = margins(dir.path(), Some(cache.path()));
    let path = packed_file(cache.path());
    let name = path.file_stem().unwrap().to_str().unwrap();
    let (model, digest) = name.split_once("-exact-").expect("it says the precision");
    let mut older = fs::read(&path).unwrap();
    older[8] ^= 1;
    fs::remove_file(&path).unwrap();
    for stem in [digest, &format!("{model}-{digest}")] {
        fs::write(cache.path().join(format!("{stem}.weights")), &older).unwrap();
        fs::write(cache.path().join(format!("{stem}.lock")), "").unwrap();
    }
    let of_another_model = cache.path().join(format!("{model}-0123456789abcdef.weights"));
    fs::write(&of_another_model, &older).unwrap();
    assert_eq!(margins(dir.path(), Some(cache.path())), expected);
    fs::remove_file(of_another_model).expect("what is of another model stays");
    assert_eq!(packed_file(cache.path()), path);
    assert_eq!(fs::read_dir(cache.path()).unwrap().count(), 2, "it and its lock");
}

#[test]
fn a_damaged_file_is_made_anew() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let expected = margins(dir.path(), Some(cache.path()));
    let path = packed_file(cache.path());
    let good = fs::read(&path).unwrap();
    let flipped = |byte: usize| {
        let mut bytes = good.clone();
        bytes[byte] ^= 1;
        bytes
    };
    for (what, bad) in [
        ("nothing in it", Vec::new()),
        ("half of it", good[..good.len() / 2].to_vec()),
        ("a byte short", good[..good.len() - 1].to_vec()),
        ("a page more", [&good[..], &[0; 4096]].concat()),
        ("another magic", flipped(0)),
        ("another version", flipped(8)),
        ("another panel width", flipped(16)),
        ("another fingerprint", flipped(24)),
        ("another length of the text", flipped(40)),
        ("another number of matrices", flipped(48)),
        ("another offset", flipped(57)),
        ("another storage", flipped(64)),
        ("another depth", flipped(72)),
        ("another number of outputs", flipped(80)),
        ("another checksum", flipped(88)),
        ("another first weight", flipped(4096)),
        ("another weight", flipped(good.len() / 2)),
    ] {
        fs::write(&path, bad).unwrap();
        assert_eq!(margins(dir.path(), Some(cache.path())), expected, "{what}");
        assert!(fs::read(&path).unwrap() == good, "{what}: the file was not mended");
    }
}

#[test]
fn another_checkpoint_at_the_same_place_gets_a_file_of_its_own() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let before = margins(dir.path(), Some(cache.path()));
    let file = dir.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    // The last tensor's first rows, sign bits flipped: same length, same header.
    let at = bytes.len() - 4096;
    bytes[at..].iter_mut().skip(1).step_by(2).for_each(|byte| *byte ^= 0x80);
    fs::write(&file, bytes).unwrap();
    let after = margins(dir.path(), Some(cache.path()));
    assert_eq!(after, margins(dir.path(), None));
    assert_ne!(after, before, "the change must show");
    packed_file(cache.path());
}

#[test]
fn a_place_that_cannot_hold_it_leaves_the_weights_in_memory() {
    let (dir, blocked) = (tempfile::tempdir().unwrap(), tempfile::NamedTempFile::new().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    assert_eq!(margins(dir.path(), Some(&blocked.path().join("cache"))), margins(dir.path(), None));
}

/// Starts at once, each of which must have the right scores; one packed file and nothing unfinished is left.
fn start_at_once(dir: &Path, cache: &Path, starts: usize) {
    let expected = margins(dir, None);
    std::thread::scope(|scope| {
        let starts: Vec<_> = (0..starts).map(|_| scope.spawn(|| margins(dir, Some(cache)))).collect();
        for start in starts {
            assert_eq!(start.join().unwrap(), expected);
        }
    });
    packed_file(cache);
}

#[test]
fn several_starts_at_once_and_a_crashed_one_do_no_harm() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    margins(dir.path(), Some(cache.path()));
    let path = packed_file(cache.path());
    let mut half = fs::read(&path).unwrap();
    half.truncate(half.len() / 2);
    half[..4096].fill(0);
    half[..8].copy_from_slice(b"irnkmake");
    fs::remove_file(&path).unwrap();
    fs::write(path.with_extension("0123456789abcdef.unfinished"), half).unwrap();
    start_at_once(dir.path(), cache.path(), 4);
}

#[test]
fn several_starts_at_once_do_no_harm_where_locks_have_no_effect() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    margins(dir.path(), Some(cache.path()));
    let path = packed_file(cache.path());
    fs::remove_file(&path).unwrap();
    // Nobody gets this lock, so that all of them pack.
    fs::remove_file(path.with_extension("lock")).unwrap();
    fs::create_dir(path.with_extension("lock")).unwrap();
    start_at_once(dir.path(), cache.path(), 4);
}

#[test]
fn a_place_that_is_taken_by_a_directory_is_used_once_it_is_free() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let expected = margins(dir.path(), Some(cache.path()));
    let path = packed_file(cache.path());
    let good = fs::read(&path).unwrap();
    // A directory in its place, which nothing can be renamed to.
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert_eq!(margins(dir.path(), Some(cache.path())), expected, "in memory");
    fs::remove_dir(&path).unwrap();
    fs::write(&path, &good).unwrap();
    assert_eq!(margins(dir.path(), Some(cache.path())), expected);
    packed_file(cache.path());
}

#[test]
fn models_of_one_name_have_a_file_each() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (place, shape) in [("a/reranker", "tiny"), ("b/reranker", "tiny-mha"), ("c/重排 模型/reranker", "tiny-untied")]
    {
        let model = dir.path().join(place);
        fs::create_dir_all(&model).unwrap();
        write_checkpoint(shape, &model, 1);
        assert_eq!(margins(&model, Some(cache.path())), margins(&model, None), "{place}");
    }
    let files = fs::read_dir(cache.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let packed = files.filter(|name| name.starts_with("reranker-") && name.ends_with(".weights"));
    assert_eq!(packed.count(), 3);
}

#[test]
fn a_model_needs_nothing_of_its_checkpoint_once_it_is_loaded() {
    for cached in [true, false] {
        let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        write_checkpoint("tiny", dir.path(), 1);
        let expected = margins(dir.path(), None);
        let mut model = loaded(dir.path(), cached.then(|| cache.path()));
        let file = fs::OpenOptions::new().write(true).open(dir.path().join("model.safetensors")).unwrap();
        // To read a byte of it would end this process.
        file.set_len(0).unwrap();
        assert_eq!(margins_of(&mut *model), expected, "cached: {cached}");
        model.check().unwrap();
    }
}

#[test]
fn a_file_that_is_written_into_is_told_and_one_that_is_replaced_is_no_matter() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let mut model = loaded(dir.path(), Some(cache.path()));
    let expected = margins_of(&mut *model);
    let path = packed_file(cache.path());
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(&path, &bytes).unwrap();
    model.check().unwrap();
    assert_eq!(margins_of(&mut *model), expected);
    let model = loaded(dir.path(), Some(cache.path()));
    model.check().unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, &[1], bytes.len() as u64 / 2).unwrap();
    file.set_modified(std::time::SystemTime::now() + std::time::Duration::from_secs(1)).unwrap();
    let said = model.check().unwrap_err().to_string();
    assert!(said.contains(".weights was changed while it was in use"), "{said}");
}

#[test]
fn a_checkpoint_that_changes_while_it_is_read_is_refused() {
    let (dir, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_checkpoint("tiny", dir.path(), 1);
    let file = dir.path().join("model.safetensors");
    for cache in [Some(cache.path()), None] {
        let checkpoint = Checkpoint::open(dir.path(), &Overrides::new()).unwrap();
        // As a download does that is still running.
        let later = std::time::SystemTime::now() + std::time::Duration::from_secs(60);
        fs::OpenOptions::new().write(true).open(&file).unwrap().set_modified(later).unwrap();
        let said = load(&checkpoint, cache).err().expect("refused").to_string();
        assert!(said.contains("was changed while it was read"), "{said}");
        fs::write(&file, fs::read(&file).unwrap()).unwrap();
    }
    assert!(fs::read_dir(cache.path()).unwrap().all(|entry| entry.unwrap().path().extension().unwrap() == "lock"));
}
