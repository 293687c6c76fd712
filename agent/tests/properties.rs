//! The properties that fuzzing looks for breaches of (`cargo xtask fuzz`), for some seconds of
//! every test run: the corpus as it is, and changed at random. The random numbers are the same each
//! time, so that what fails fails again.

#[path = "../../tests/fuzz/src/lib.rs"]
#[expect(
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::naive_bytecount,
    reason = "a property that does not hold is a panic"
)]
mod properties;

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How long each target is tried.
const TIME: Duration = Duration::from_secs(2);

/// Longest changed input, bytes.
const LONGEST: usize = 16 << 10;

/// xorshift64 (Marsaglia, "Xorshift RNGs", 2003).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap_or(0) % limit.max(1)
    }
}

fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| fs::read(path).ok()).collect()
}

/// A few bytes overwritten, a stretch taken out, doubled, or brought in from another input.
fn change(random: &mut Random, seeds: &[Vec<u8>], bytes: &mut Vec<u8>) {
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len());
        let end = (at + random.below(32)).min(bytes.len());
        match random.below(5) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => bytes.extend_from_within(at..end),
            3 => {
                let other = seeds.get(random.below(seeds.len())).map(Vec::as_slice).unwrap_or_default();
                let from = random.below(other.len());
                bytes.splice(at..end, other.iter().skip(from).take(random.below(64)).copied());
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    let any = u8::try_from(random.below(256)).unwrap_or(0);
                    *byte = [0, 1, 0x7f, 0x80, 0xff].get(random.below(6)).copied().unwrap_or(any);
                }
            }
        }
    }
    bytes.truncate(LONGEST);
}

fn hold(name: &str, data: Option<&str>, holds: fn(&[u8])) {
    let agent = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut seeds_of = seeds(&agent.join("../tests/fuzz/corpus").join(name));
    seeds_of.extend(data.map(|data| seeds(&agent.join("testdata").join(data))).unwrap_or_default());
    assert!(!seeds_of.is_empty(), "no corpus for {name}");
    for seed in &seeds_of {
        holds(seed);
    }
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (began, mut tries) = (Instant::now(), 0);
    while began.elapsed() < TIME {
        let mut bytes = seeds_of.get(random.below(seeds_of.len())).cloned().unwrap_or_default();
        change(&mut random, &seeds_of, &mut bytes);
        holds(&bytes);
        tries += 1;
    }
    println!("{name}: {} inputs of the corpus, {tries} changed ones", seeds_of.len());
}

macro_rules! targets {
    ($($name:ident $(and $data:literal)?),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                hold(stringify!($name), [$($data)?].first().copied(), properties::$name::holds);
            }
        )*

        #[test]
        fn every_corpus_has_a_target() {
            let known = [$(stringify!($name)),*];
            let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fuzz/corpus");
            for entry in fs::read_dir(corpus).expect("the corpus is there").flatten() {
                assert!(known.iter().any(|name| entry.file_name() == *name), "{:?} has no target", entry.path());
            }
        }
    };
}

targets!(amqp, btf and "btf", capture, config, events and "stories", log, names, packet, sinks and "events", state, tracefs and "tracefs", wire);
