//! The words of a command: `verb one two key=value flag`.

use core::{fmt::Debug, str::FromStr, time::Duration};

use mosaik_proto::{links::DownReason, wire::CloseCode};

/// A command, taken apart.
#[derive(Debug)]
pub(crate) struct Args<'a> {
    line: &'a str,
    words: Vec<&'a str>,
}

impl<'a> Args<'a> {
    /// Splits a command into its verb and the rest.
    pub(crate) fn new(line: &'a str) -> (&'a str, Self) {
        let mut words = line.split_whitespace();
        let verb = words.next().expect("a command has a verb");
        (verb, Self { line, words: words.collect() })
    }

    /// The `at`-th word.
    pub(crate) fn word(&self, at: usize) -> &'a str {
        self.words.get(at).unwrap_or_else(|| panic!("word {at} is missing in `{}`", self.line))
    }

    /// The `at`-th word as a number or whatever else can be read.
    pub(crate) fn read<T: FromStr<Err: Debug>>(&self, at: usize) -> T {
        read(self.word(at))
    }

    /// The `at`-th word as a pair `items/bytes`.
    pub(crate) fn pair(&self, at: usize) -> (u64, u64) {
        pair(self.word(at))
    }

    /// The value behind `key=`.
    pub(crate) fn key(&self, key: &str) -> Option<&'a str> {
        self.words.iter().find_map(|word| word.strip_prefix(key)?.strip_prefix('='))
    }

    /// The value behind `key=` as a number or whatever else can be read.
    pub(crate) fn read_key<T: FromStr<Err: Debug>>(&self, name: &str) -> Option<T> {
        self.key(name).map(read)
    }

    /// True if the command has this word.
    pub(crate) fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    /// How something ended: `lost`, `timeout`, `finished`, `local CODE` or a code.
    pub(crate) fn reason(&self, at: usize) -> DownReason {
        match self.words.get(at).copied() {
            None | Some("lost") => DownReason::Lost,
            Some("timeout") => DownReason::Timeout,
            Some("finished") => DownReason::Finished,
            Some(name) => DownReason::Closed(code(name)),
        }
    }
}

pub(crate) fn read<T: FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap_or_else(|error| panic!("`{text}`: {error:?}"))
}

/// `items/bytes`.
pub(crate) fn pair(text: &str) -> (u64, u64) {
    let (items, bytes) = text.split_once('/').unwrap_or_else(|| panic!("`{text}` is no pair"));
    (number(items), number(bytes))
}

fn number(text: &str) -> u64 {
    if text == "max" { u64::MAX } else { read(text) }
}

/// `10ms`, `5s`.
pub(crate) fn duration(text: &str) -> Duration {
    match text.strip_suffix("ms") {
        Some(millis) => Duration::from_millis(read(millis)),
        None => Duration::from_secs(read(text.strip_suffix('s').expect("a duration"))),
    }
}

/// A close code by its name.
pub(crate) fn code(name: &str) -> CloseCode {
    (0..20_000)
        .map(CloseCode::from)
        .find(|code| code.name() == Some(name))
        .unwrap_or_else(|| panic!("`{name}` is no close code"))
}

/// The name of a close code.
pub(crate) fn code_name(code: CloseCode) -> String {
    code.name().map_or_else(|| code.code().to_string(), str::to_owned)
}

pub(crate) fn show_reason(reason: DownReason) -> String {
    match reason {
        DownReason::Closed(code) => format!("closed {}", code_name(code)),
        DownReason::Local(code) => format!("local {}", code_name(code)),
        DownReason::Timeout => "timeout".into(),
        DownReason::Lost => "lost".into(),
        DownReason::Finished => "finished".into(),
    }
}

/// Bytes from hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "`{text}`: whole bytes");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal digits"))
        .collect()
}
