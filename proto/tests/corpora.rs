//! The corpora of the fuzz targets, replayed: `fuzz/corpus/<target>/`. How to fuzz:
//! `docs/fuzzing.md`.

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use std::{fs, path::PathBuf};

fn corpus(target: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "corpus", target].iter().collect()
}

/// All inputs of a target, with their names, which a failure prints.
fn replay(target: &str, run: fuzz::Body) {
    let folder = corpus(target);
    let listing = fs::read_dir(&folder).expect("every target has a corpus");
    let mut paths: Vec<_> = listing.map(|file| file.expect("a readable folder").path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{} is empty", folder.display());
    for path in paths {
        println!("{}", path.display());
        run(&fs::read(&path).expect("a readable input"));
    }
}

#[test]
fn every_input_of_the_corpora_is_survived() {
    for (target, run) in fuzz::TARGETS {
        replay(target, run);
    }
}

#[test]
fn every_seed_is_survived() {
    for (target, run) in fuzz::TARGETS {
        let seeds = fuzz::seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        seeds.iter().for_each(|seed| run(seed));
        run(&[]);
    }
}

/// Not a test: writes the seeds where the fuzzer finds them.
#[test]
#[ignore = "changes the corpora"]
fn write_seeds() {
    for (target, _) in fuzz::TARGETS {
        fs::create_dir_all(corpus(target)).expect("a folder");
        for (at, seed) in fuzz::seeds(target).iter().enumerate() {
            fs::write(corpus(target).join(format!("seed-{at}")), seed).expect("a file");
        }
    }
}
