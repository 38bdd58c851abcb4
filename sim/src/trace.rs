//! One line per event and action, hashed: two runs are the same if their hashes are.

use std::{fmt, fmt::Write as _};

use bytes::Bytes;
use mosaik_proto::{
    Digest,
    groups::{self, Applying, Input, Output, Status},
    node::{Action, Event},
    time::Instant,
};

use crate::net::HostId;

/// The record of a run. Keeps a hash only; prints the lines to stderr if asked to.
pub struct Trace {
    hasher: blake3::Hasher,
    print: bool,
    line: String,
    lines: u64,
}

impl Trace {
    /// An empty trace; `print` writes every line to stderr.
    #[must_use]
    pub fn new(print: bool) -> Self {
        Self { hasher: blake3::Hasher::new(), print, line: String::new(), lines: 0 }
    }

    /// The hash over all lines so far, and over the bytes that they only count.
    #[must_use]
    pub fn hash(&self) -> Digest {
        Digest::from_hasher(&self.hasher)
    }

    /// The number of lines so far.
    #[must_use]
    pub const fn lines(&self) -> u64 {
        self.lines
    }

    /// Records that an event is about to be handled.
    pub(crate) fn event(&mut self, at: Instant, host: HostId, event: &Event) {
        if let Event::Data { chunk, .. } | Event::Offer { data: chunk, .. } = event {
            self.hasher.update(chunk);
        }
        if let Event::Group {
            input: Input::Execute { data, .. } | Input::Chunk { data: Some(data), .. },
            ..
        } = event
        {
            self.hasher.update(data);
        }
        self.put(at, format_args!("{host} > {}", EventLine(event)));
    }

    /// Records an action.
    pub(crate) fn action(&mut self, at: Instant, host: HostId, action: &Action) {
        if let Action::Write { body, .. } = action {
            self.hasher.update(body);
        }
        if let Action::Group { output: Output::Apply(Applying { data, .. }), .. } = action {
            self.hasher.update(data);
        }
        self.put(at, format_args!("{host} < {}", ActionLine(action)));
    }

    /// Records bytes, without a line.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// Records what the world itself did: a fault, a start, a stop.
    pub(crate) fn note(&mut self, at: Instant, what: fmt::Arguments<'_>) {
        self.put(at, format_args!("world {what}"));
    }

    fn put(&mut self, at: Instant, what: fmt::Arguments<'_>) {
        self.line.clear();
        // Writing to a string cannot fail.
        let _ = writeln!(self.line, "{at:?} {what}");
        self.hasher.update(self.line.as_bytes());
        self.lines += 1;
        if self.print {
            eprint!("{}", self.line);
        }
    }
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Trace({} lines, {:?})", self.lines, self.hash())
    }
}

/// An event in one line; bulk data as its length.
struct EventLine<'a>(&'a Event);

impl fmt::Display for EventLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Data { channel, chunk } => write!(f, "Data {channel:?} {} B", chunk.len()),
            Event::Drained { channel, bytes } => write!(f, "Drained {channel:?} {bytes} B"),
            Event::Offer { producer, items, data, .. } => {
                write!(f, "Offer {producer:?} {items} items {} B", data.len())
            }
            Event::Group { input, .. } => match input {
                Input::Execute { first, count, data } => {
                    write!(f, "Group Execute {first} + {count}, {} B", data.len())
                }
                Input::Chunk { read, data } => {
                    write!(f, "Group Chunk {read} {:?} B", data.as_ref().map(Bytes::len))
                }
                Input::Loaded(loaded) => {
                    let groups::Loaded { seat, boot, stored, .. } = &**loaded;
                    write!(f, "Group Loaded {seat:?} boot {boot} {stored:?}")
                }
                input => write!(f, "Group {input:?}"),
            },
            other => write!(f, "{other:?}"),
        }
    }
}

/// An action in one line; bulk data as its length.
struct ActionLine<'a>(&'a Action);

impl fmt::Display for ActionLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Action::Write { channel, head, body } => {
                write!(f, "Write {channel:?} {head:?} + {} B", body.len())
            }
            Action::Deliver(delivery) => write!(
                f,
                "Deliver {:?} {:?} {}..+{} {} B",
                delivery.consumer,
                delivery.subscription,
                delivery.first,
                delivery.items,
                delivery.data.len()
            ),
            Action::Group { output, .. } => match output {
                Output::Apply(applying) => {
                    let Applying { term, entry, first, count, data, void } = applying;
                    let void = if *void { " void" } else { "" };
                    write!(
                        f,
                        "Group Apply {term:?}{entry:?} {first} + {count}, {} B{void}",
                        data.len()
                    )
                }
                Output::Freeze { snapshot, head } => {
                    write!(f, "Group Freeze {:?}, {} B", snapshot.last, head.len())
                }
                Output::FetchChunk(bytes) => write!(f, "Group FetchChunk {} B", bytes.len()),
                Output::Status(status) => {
                    let Status { role, term, leader, seat, lineage, .. } = &**status;
                    let Status { voters, learners, committed, blocked, .. } = &**status;
                    let voters: Vec<_> = voters.iter().map(|member| member.seat).collect();
                    write!(
                        f,
                        "Group Status {role:?} {term:?} {lineage:?} {seat:?} leader {leader:?} voters {voters:?} learners {} committed {committed} {blocked:?}",
                        learners.len()
                    )
                }
                output => write!(f, "Group {output:?}"),
            },
            other => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use mosaik_proto::ids::ChannelId;

    use super::*;

    #[test]
    fn content_counts() {
        let hash = |chunk: &'static [u8]| {
            let mut trace = Trace::new(false);
            let channel = ChannelId::core(1);
            let event = Event::Data { channel, chunk: Bytes::from_static(chunk) };
            trace.event(Instant::ZERO, HostId(0), &event);
            trace.hash()
        };
        assert_eq!(hash(b"one"), hash(b"one"));
        assert_ne!(hash(b"one"), hash(b"two"));
    }
}
