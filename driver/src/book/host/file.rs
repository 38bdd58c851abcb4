//! One published node as a file: its name, its text, its lock.
//!
//! ```text
//! mosaik 1
//! peer <64 hexadecimal digits>
//! network <64 hexadecimal digits>          (only if listed)
//! netns net:[4026531833]                   (only where there are such things)
//! addr 127.0.0.1:4433                      (any number up to ADDRS_MAX)
//! ```
//!
//! Lines that begin with another word are for later editions of version 1 and are ignored.

use std::{
    collections::BTreeSet,
    fmt::{self, Write as _},
    fs::{self, File, TryLockError},
    hash::{BuildHasher, RandomState},
    io::{self, Read, Write as _},
    net::SocketAddr,
    path::Path,
};

use mosaik_proto::{NetworkId, PeerId};

use super::place::{create_private, same_file};
use crate::book::Record;

/// Longer files are skipped.
pub(super) const SIZE_MAX: u64 = 4096;
/// Addresses that are written, so that a record is never too long to be read.
const ADDRS_MAX: usize = 32;
/// The first line.
const VERSION: &str = "mosaik 1";
/// Behind a name: not in place yet.
const NEW: &str = ".new";
/// Attempts at what a reader or a publisher can come between.
const TRIES: usize = 5;

/// The name of a record's file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    peer: PeerId,
    suffix: u64,
    new: bool,
}

impl Name {
    /// A name that nobody else uses.
    pub(super) fn unique(peer: PeerId) -> Self {
        // The standard library's hash keys are its source of randomness.
        Self { peer, suffix: RandomState::new().hash_one(std::process::id()), new: false }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let (stem, new) = text.strip_suffix(NEW).map_or((text, false), |stem| (stem, true));
        let (peer, suffix) = stem.split_once('-')?;
        let suffix = u64::from_str_radix(suffix, 16).ok()?;
        let name = Self { peer: PeerId::from_bytes(hex(peer)?), suffix, new };
        // Only the spelling that we write ourselves leads back to the file.
        (name.to_string() == text).then_some(name)
    }

    fn not_in_place(&self) -> Self {
        Self { new: true, ..*self }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}{}", self.peer, self.suffix, if self.new { NEW } else { "" })
    }
}

/// A file that we published. As long as it is open it is locked, and as long as it is locked we
/// live.
pub(super) struct Held(File);

impl Held {
    /// Whether this name leads to this file.
    pub(super) fn is_at(&self, dir: &Path, name: &Name) -> bool {
        same_file(&self.0, &dir.join(name.to_string())).unwrap_or(false)
    }

    /// Withdraws it. If that fails it is as good as dead, and somebody removes it later.
    pub(super) fn remove(self, dir: &Path, name: &Name) {
        if self.is_at(dir, name) {
            drop(fs::remove_file(dir.join(name.to_string())));
        }
    }
}

/// What a file turned out to be.
pub(super) enum Seen {
    /// Its publisher lives.
    Alive { record: Record, netns: Option<String> },
    /// Its publisher was dead; the file is removed.
    Dead,
    /// Nothing for us: not in place yet, or replaced whenever we looked.
    Nothing,
}

/// Reads one file, or removes it if its publisher is dead.
pub(super) fn read(dir: &Path, name: &Name) -> io::Result<Seen> {
    let path = dir.join(name.to_string());
    for _ in 0..TRIES {
        // Opening a pipe would block.
        if !fs::symlink_metadata(&path)?.is_file() {
            break;
        }
        if let Some(seen) = examine(File::open(&path)?, &path, name)? {
            return Ok(seen);
        }
    }
    Ok(Seen::Nothing)
}

/// Judges an open file; `None` if it has been replaced since it was opened.
fn examine(mut file: File, path: &Path, name: &Name) -> io::Result<Option<Seen>> {
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) if name.new => Ok(Some(Seen::Nothing)),
        Err(TryLockError::WouldBlock) => {
            let (record, netns) = parse(&mut file)?;
            if record.peer == name.peer {
                Ok(Some(Seen::Alive { record, netns }))
            } else {
                Err(io::ErrorKind::InvalidData.into())
            }
        }
        Ok(()) if same_file(&file, path)? => {
            fs::remove_file(path)?;
            Ok(Some(Seen::Dead))
        }
        Ok(()) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// Puts a file in place, whole and locked.
pub(super) fn write(dir: &Path, name: &Name, text: &str) -> io::Result<Held> {
    let path = dir.join(name.to_string());
    let new = dir.join(name.not_in_place().to_string());
    let mut result = Err(io::ErrorKind::ResourceBusy.into());
    for _ in 0..TRIES {
        result = create_private(&new).and_then(|mut file| {
            file.try_lock()?;
            file.write_all(text.as_bytes())?;
            fs::rename(&new, &path)?;
            Ok(Held(file))
        });
        match &result {
            Ok(_) => break,
            // Before it was locked a reader took it for a dead one's, and has it still or has
            // removed it; or it is left over from an attempt that failed.
            Err(error) => {
                drop(fs::remove_file(&new));
                let between = [
                    io::ErrorKind::WouldBlock,
                    io::ErrorKind::NotFound,
                    io::ErrorKind::AlreadyExists,
                ];
                if !between.contains(&error.kind()) {
                    break;
                }
            }
        }
    }
    result
}

/// The text of a record.
pub(super) fn compose(record: &Record, netns: Option<&str>) -> String {
    let mut text = format!("{VERSION}\npeer {}\n", record.peer);
    let mut line = |word: &str, value: &dyn fmt::Display| {
        let _ = writeln!(text, "{word} {value}");
    };
    record.network.iter().for_each(|network| line("network", network));
    netns.iter().for_each(|netns| line("netns", netns));
    record.addrs.iter().take(ADDRS_MAX).for_each(|addr| line("addr", addr));
    text
}

fn parse(file: &mut File) -> io::Result<(Record, Option<String>)> {
    let mut text = String::new();
    let size = file.take(SIZE_MAX + 1).read_to_string(&mut text)?;
    let record = (size as u64 <= SIZE_MAX).then(|| parse_text(&text));
    record.flatten().ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn parse_text(text: &str) -> Option<(Record, Option<String>)> {
    let mut lines = text.lines();
    if lines.next()? != VERSION {
        return None;
    }
    let (mut peer, mut network, mut netns, mut addrs) = (None, None, None, BTreeSet::new());
    for line in lines {
        match line.split_once(' ')? {
            ("peer", value) => peer = Some(PeerId::from_bytes(hex(value)?)),
            ("network", value) => network = Some(NetworkId::from_bytes(hex(value)?)),
            ("netns", value) => netns = Some(value.to_owned()),
            ("addr", value) => {
                let addr: SocketAddr = value.parse().ok()?;
                // Whatever is there, it cannot be dialled.
                if addr.port() != 0 && !addr.ip().is_unspecified() && !addr.ip().is_multicast() {
                    addrs.insert(addr);
                }
            }
            _ => (),
        }
    }
    Some((Record { peer: peer?, addrs, network }, netns))
}

/// Exactly 64 hexadecimal digits.
fn hex(text: &str) -> Option<[u8; 32]> {
    let id: PeerId = (text.len() == 64).then(|| text.parse().ok())??;
    Some(*id.as_bytes())
}

/// The network namespace of this process, where there are such things.
pub(super) fn netns() -> Option<String> {
    fs::read_link("/proc/self/ns/net").ok()?.into_os_string().into_string().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_its_text() {
        let peer = PeerId::from_bytes([7; 32]);
        let addrs: BTreeSet<_> =
            ["1.2.3.4:5", "[fe80::1%3]:6"].iter().map(|addr| addr.parse().unwrap()).collect();
        for network in [None, Some(NetworkId::from_bytes([8; 32]))] {
            for netns in [None, Some("net:[1]")] {
                let record = Record { peer, addrs: addrs.clone(), network };
                let read = parse_text(&compose(&record, netns));
                assert_eq!(read, Some((record, netns.map(str::to_owned))));
            }
        }
    }

    #[test]
    fn the_longest_record_can_be_read() {
        let addr = |port| format!("[fe80{}%4294967295]:{port}", ":ffff".repeat(7)).parse().unwrap();
        let record = Record {
            peer: PeerId::from_bytes([7; 32]),
            addrs: (60_000..60_100).map(addr).collect(),
            network: Some(NetworkId::from_bytes([8; 32])),
        };
        let text = compose(&record, Some("net:[18446744073709551615]"));
        assert!(text.len() as u64 <= SIZE_MAX, "{}", text.len());
        assert_eq!(parse_text(&text).unwrap().0.addrs.len(), ADDRS_MAX);
    }

    #[test]
    fn nonsense_is_refused() {
        let peer = PeerId::from_bytes([7; 32]);
        let good =
            format!("{VERSION}\npeer {peer}\nfuture thing\naddr 0.0.0.0:1\naddr 1.1.1.1:0\n");
        assert_eq!(parse_text(&good).unwrap().0.addrs, BTreeSet::new(), "nothing to dial");
        for bad in [
            String::new(),
            VERSION.to_owned(),
            format!("mosaik 2\npeer {peer}"),
            format!("{VERSION}\npeer short"),
            format!("{VERSION}\npeer {}", "\u{e9}".repeat(32)),
            format!("{good}addr here"),
            format!("{good}network -"),
            format!("{good}\n"),
        ] {
            assert_eq!(parse_text(&bad), None, "{bad}");
        }
    }

    #[test]
    fn names_are_spelt_in_one_way() {
        let name = Name::unique(PeerId::from_bytes([0xab; 32]));
        for name in [name.clone(), name.not_in_place()] {
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        assert_ne!(name, Name::unique(name.peer));
        let (peer, upper) = (name.peer.to_string(), name.peer.to_string().to_uppercase());
        for bad in [
            peer.clone(),
            format!("{peer}-12"),
            format!("{peer}-+123456789abcdef"),
            format!("{upper}-0123456789abcdef"),
            format!("{peer}-0123456789abcdef.old"),
            format!("../{peer}-0123456789abcdef"),
        ] {
            assert_eq!(Name::parse(&bad), None, "{bad}");
        }
    }

    /// The publisher replaces its file between a reader's opening it and trying the lock.
    #[cfg(unix)]
    #[test]
    fn a_replaced_file_is_not_taken_for_a_dead_ones() {
        let dir = std::env::temp_dir().join(format!("mosaik-file-{}", std::process::id()));
        fs::create_dir(&dir).unwrap();
        let name = Name::unique(PeerId::from_bytes([7; 32]));
        let path = dir.join(name.to_string());
        let text =
            |network| compose(&Record { peer: name.peer, addrs: BTreeSet::new(), network }, None);
        let first = write(&dir, &name, &text(None)).unwrap();
        let opened = File::open(&path).unwrap();
        let second = write(&dir, &name, &text(Some(NetworkId::zero()))).unwrap();
        drop(first);
        assert!(examine(opened, &path, &name).unwrap().is_none(), "look again");
        let alive = |seen| matches!(seen, Seen::Alive { record, .. } if record.network.is_some());
        assert!(alive(read(&dir, &name).unwrap()));

        drop(second);
        assert!(matches!(read(&dir, &name), Ok(Seen::Dead)));
        assert!(read(&dir, &name).is_err(), "gone");
        fs::remove_dir(dir).unwrap();
    }
}
