//! Transcripts: commands, and below each of them, indented, what the core asked for.
//!
//! `#` begins a comment. With `REWRITE=1` in the environment the transcript is written anew from
//! what happens; review the difference.

use std::{
    fs,
    path::{Path, PathBuf},
};

const INDENT: &str = "  ";

/// Plays every transcript of a folder, each on a bench of its own.
pub(crate) fn play<B>(
    folder: &str,
    new: impl Fn() -> B,
    run: impl Fn(&mut B, &str) -> Vec<String>,
) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata").join(folder);
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    assert!(!files.is_empty());
    let rewrite = std::env::var_os("REWRITE").is_some();
    let mut failed = Vec::new();
    for file in files {
        let script = fs::read_to_string(&file).unwrap();
        let mut bench = new();
        let played = transcript(&script, |command| run(&mut bench, command));
        if rewrite {
            fs::write(&file, played).unwrap();
        } else if played != script {
            failed.push(format!("{}\n{}", file.display(), difference(&script, &played)));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// The script with what really happens below each command.
fn transcript(script: &str, mut run: impl FnMut(&str) -> Vec<String>) -> String {
    let mut text = String::new();
    for line in script.lines().filter(|line| !line.starts_with(INDENT)) {
        text += line;
        text += "\n";
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        for outcome in run(line) {
            text += &format!("{INDENT}{outcome}\n");
        }
    }
    text
}

/// The first lines that differ, with the command above them.
fn difference(expected: &str, played: &str) -> String {
    let same = expected.lines().zip(played.lines()).take_while(|(a, b)| a == b).count();
    let from = |text: &str| {
        text.lines().skip(same.saturating_sub(3)).take(8).collect::<Vec<_>>().join("\n")
    };
    format!(
        "--- expected, from line {}\n{}\n--- played\n{}",
        same.max(3) - 2,
        from(expected),
        from(played)
    )
}
