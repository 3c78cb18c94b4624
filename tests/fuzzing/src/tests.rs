//! A short run without a fuzzer: every file of the corpus, and for a while what a seeded mutator makes of them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::{TARGETS, Target};

/// For all targets together, unless a machine is so slow that it would see next to nothing.
const TIME: Duration = Duration::from_secs(10);
/// Mutations of a target: a slow machine does no less, a fast one no more.
const INPUTS: std::ops::Range<usize> = 50..200_000;
const SEED: u64 = 20_261;
/// Bytes that mean something to some reader.
const TELLING: &[u8] = b"\0\t\r\n \"#$%&'()*+,-./:;<=>?@[\\]_{|}~0aAz\x7f\x80\xc0\xe2\xff";

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = fuzz().join("corpus").join(name);
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty(), "the corpus of {name} is empty");
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

/// A small deterministic generator (xorshift64*): what fails once fails again.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound.max(1)
    }

    /// One of the inputs, changed in one to four places, perhaps with a piece of another.
    fn mutation(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut data = corpus[self.below(corpus.len())].clone();
        for _ in 0..=self.below(4) {
            let at = self.below(data.len() + 1);
            let end = (at + self.below(8)).min(data.len());
            match self.below(6) {
                0 => drop(data.drain(at..end)),
                1 => data.insert(at, TELLING[self.below(TELLING.len())]),
                2 if at < data.len() => data[at] = TELLING[self.below(TELLING.len())],
                3 if at < data.len() => data[at] ^= 1 << self.below(8),
                4 => {
                    let piece = data[at..end].to_vec();
                    let to = self.below(data.len() + 1);
                    data.splice(to..to, piece);
                }
                _ => {
                    let other = &corpus[self.below(corpus.len())];
                    let from = self.below(other.len() + 1);
                    let piece = other[from..(from + self.below(32)).min(other.len())].to_vec();
                    data.splice(at..end, piece);
                }
            }
        }
        data
    }
}

/// Runs a target on one input, and prints an input that fails so that it can be kept.
fn check(&(name, target): &Target, data: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| target(data)) {
        println!("{name} fails on: {}", data.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

#[test]
fn everything_holds_for_the_corpus_and_its_mutations() {
    for target in &TARGETS {
        let corpus = corpus(target.0);
        for data in corpus.iter().map(Vec::as_slice).chain([&b""[..]]) {
            check(target, data);
        }
        let (mut random, end) = (Random(SEED), Instant::now() + TIME / u32::try_from(TARGETS.len()).unwrap());
        let mut inputs = 0;
        while inputs < INPUTS.start || (inputs < INPUTS.end && Instant::now() < end) {
            check(target, &random.mutation(&corpus));
            inputs += 1;
        }
        println!("{}: {} files, {inputs} mutations", target.0, corpus.len());
    }
}

#[test]
fn every_target_has_a_fuzzer_and_a_corpus() {
    let names: BTreeSet<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.len(), TARGETS.len());
    let found = |folder: &str| -> BTreeSet<String> {
        let entries = fs::read_dir(fuzz().join(folder)).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found("fuzz_targets"), names);
    assert_eq!(found("corpus"), names);
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    for name in &names {
        assert!(manifest.contains(&format!("name = \"{name}\"\n")), "fuzz/Cargo.toml does not build {name}");
    }
}
