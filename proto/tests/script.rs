//! Transcripts of cores, from `testdata/`. How to read them: `common/script.rs`.

mod common;

use common::{links, script, streams};

#[test]
fn links_follow_their_transcripts() {
    script::play("links", links::Bench::new, links::Bench::run);
}

#[test]
fn streams_follow_their_transcripts() {
    script::play("streams", streams::Bench::new, streams::Bench::run);
}
