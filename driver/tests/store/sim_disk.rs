//! A disk in memory that loses, tears and reorders what was not synced, and fails where told.

use std::{
    collections::BTreeMap,
    io,
    mem::take,
    sync::{Arc, Mutex, MutexGuard},
};

use mosaik_driver::storage::disk::{Disk, DiskFile};

/// What survives a crash in one piece: a sector, or less on a disk that does not keep its word.
const PIECES: [usize; 2] = [512, 24];

/// What happens at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no space; a write still writes half.
    Full,
    /// The hardware fails.
    Io,
    /// The process dies: this call and all later ones fail.
    Crash,
    /// A write or read does half of what it should, without an error.
    Short,
}

/// Shared by all who hold it, like a real disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    inner: Arc<Mutex<Inner>>,
    /// Who holds the lock holds this.
    lock: Option<Arc<()>>,
}

#[derive(Clone, Debug, Default)]
struct Inner {
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    name_changes: Vec<NameChange>,
    files: BTreeMap<u64, File>,
    next_file: u64,
    lock: std::sync::Weak<()>,
    calls: u64,
    fault: Option<(u64, Fault)>,
    dead: bool,
}

#[derive(Clone, Debug)]
enum NameChange {
    Add(String, u64),
    Rename(String, String, u64),
    Remove(String),
}

#[derive(Clone, Debug, Default)]
struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// A small seeded generator.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }
}

impl SimDisk {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Another view of the same disk, which holds no lock.
    pub(crate) fn view(&self) -> Self {
        Self { inner: self.inner.clone(), lock: None }
    }

    /// Another disk with the same content, all durable.
    pub(crate) fn image(&self) -> Self {
        let copy = Self::default();
        for (name, bytes) in self.contents() {
            copy.put(&name, bytes);
        }
        copy
    }

    /// The process died and the machine goes on: nothing is lost.
    pub(crate) fn revive(&self) {
        let mut inner = self.inner();
        inner.dead = false;
        inner.fault = None;
    }

    /// Another disk in the same state, of which as much may get lost.
    pub(crate) fn fork(&self) -> Self {
        let inner = Inner { lock: std::sync::Weak::new(), ..self.inner().clone() };
        Self { inner: Arc::new(Mutex::new(inner)), lock: None }
    }

    /// The files as a process sees them.
    pub(crate) fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let inner = self.inner();
        inner
            .names
            .iter()
            .map(|(name, file)| (name.clone(), inner.files[file].now.clone()))
            .collect()
    }

    /// Puts a file there, durable.
    pub(crate) fn put(&self, name: &str, bytes: Vec<u8>) {
        let mut inner = self.inner();
        let file = inner.next_file;
        inner.next_file += 1;
        let content = File { now: bytes.clone(), durable: bytes, changes: Vec::new() };
        inner.files.insert(file, content);
        inner.names.insert(name.to_owned(), file);
        inner.durable_names.insert(name.to_owned(), file);
    }

    pub(crate) fn delete(&self, name: &str) {
        let mut inner = self.inner();
        inner.names.remove(name);
        inner.durable_names.remove(name);
    }

    /// Changes bytes at rest.
    pub(crate) fn flip(&self, name: &str, at: usize, mask: u8) {
        let mut inner = self.inner();
        let file = inner.names[name];
        let file = inner.files.get_mut(&file).unwrap();
        file.now[at] ^= mask;
        file.durable[at] ^= mask;
    }

    /// The call with this number, from now on counted from 0, fails.
    pub(crate) fn fail_at(&self, call: u64, fault: Fault) {
        let mut inner = self.inner();
        inner.calls = 0;
        inner.fault = Some((call, fault));
    }

    pub(crate) fn calls(&self) -> u64 {
        self.inner().calls
    }

    /// True if the fault has happened.
    pub(crate) fn has_failed(&self) -> bool {
        self.inner().fault.is_none()
    }

    /// The power fails: of what was not synced, an arbitrary part survives.
    pub(crate) fn crash(&self, dice: &mut Dice) {
        // One crash in four loses all of it, one nothing, others a part.
        let odds = [0, 4, 1, 3][dice.roll(4) as usize];
        self.lose(odds, dice);
    }

    /// The power fails: of what was not synced, so many parts in four survive.
    pub(crate) fn lose(&self, odds: u64, dice: &mut Dice) {
        let mut inner = self.inner();
        let Inner { files, durable_names, name_changes, names, .. } = &mut *inner;
        let piece = PIECES[dice.roll(2) as usize];
        let mut survives = || dice.roll(4) < odds;
        for change in take(name_changes) {
            if survives() {
                change.apply(durable_names);
            }
        }
        *names = durable_names.clone();
        for file in files.values_mut() {
            for change in take(&mut file.changes) {
                for part in change.pieces(piece) {
                    if survives() {
                        part.apply(&mut file.durable);
                    }
                }
            }
            file.now = file.durable.clone();
        }
        inner.dead = false;
        inner.fault = None;
    }

    fn enter(&self) -> io::Result<(MutexGuard<'_, Inner>, Option<Fault>)> {
        let mut inner = self.inner();
        if inner.dead {
            return Err(io::Error::other("the process is dead"));
        }
        let call = inner.calls;
        inner.calls += 1;
        let fault = inner.fault.take_if(|(at, _)| *at == call).map(|(_, fault)| fault);
        match fault {
            Some(Fault::Crash) => {
                inner.dead = true;
                Err(io::Error::other("the process dies"))
            }
            other => Ok((inner, other)),
        }
    }

    /// A call that is done or not.
    fn whole(&self) -> io::Result<MutexGuard<'_, Inner>> {
        match self.enter()? {
            (inner, None | Some(Fault::Short)) => Ok(inner),
            (_, Some(fault)) => Err(fault.error()),
        }
    }

    fn handle(&self, file: u64) -> Box<dyn DiskFile> {
        Box::new(Handle { disk: self.view(), file })
    }
}

impl Fault {
    fn error(self) -> io::Error {
        match self {
            Self::Full => io::ErrorKind::StorageFull.into(),
            Self::Io | Self::Crash | Self::Short => io::Error::other("the disk fails"),
        }
    }
}

impl NameChange {
    fn apply(self, names: &mut BTreeMap<String, u64>) {
        match self {
            Self::Add(name, file) => {
                names.insert(name, file);
            }
            Self::Rename(from, to, file) => {
                names.remove(&from);
                names.insert(to, file);
            }
            Self::Remove(name) => {
                names.remove(&name);
            }
        }
    }
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, new) => {
                if bytes.len() < at + new.len() {
                    bytes.resize(at + new.len(), 0);
                }
                bytes[*at..at + new.len()].copy_from_slice(new);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }

    /// The parts that survive or not.
    fn pieces(self, size: usize) -> Vec<Self> {
        match self {
            Self::Write(mut at, mut bytes) => {
                let mut parts = Vec::new();
                while !bytes.is_empty() {
                    let rest = bytes.split_off(bytes.len().min(size - at % size));
                    let next = at + bytes.len();
                    parts.push(Self::Write(at, bytes));
                    (at, bytes) = (next, rest);
                }
                parts
            }
            length @ Self::Length(_) => vec![length],
        }
    }
}

impl Disk for SimDisk {
    fn lock(&mut self) -> io::Result<()> {
        let mut inner = self.inner();
        match (&self.lock, inner.lock.upgrade()) {
            (Some(own), Some(held)) if Arc::ptr_eq(own, &held) => return Ok(()),
            (_, Some(_)) => return Err(io::ErrorKind::WouldBlock.into()),
            (_, None) => {}
        }
        let lock = Arc::new(());
        inner.lock = Arc::downgrade(&lock);
        drop(inner);
        self.lock = Some(lock);
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.whole()?.names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let inner = self.whole()?;
        let file = inner.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        drop(inner);
        Ok(self.handle(file))
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn DiskFile>> {
        let mut inner = self.whole()?;
        let file = inner.next_file;
        inner.next_file += 1;
        inner.files.insert(file, File::default());
        inner.names.insert(name.to_owned(), file);
        inner.name_changes.push(NameChange::Add(name.to_owned(), file));
        drop(inner);
        Ok(self.handle(file))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut inner = self.whole()?;
        let file = inner.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        inner.names.insert(to.to_owned(), file);
        inner.name_changes.push(NameChange::Rename(from.to_owned(), to.to_owned(), file));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut inner = self.whole()?;
        inner.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        inner.name_changes.push(NameChange::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut inner = self.whole()?;
        inner.name_changes.clear();
        inner.durable_names = inner.names.clone();
        Ok(())
    }
}

#[derive(Debug)]
struct Handle {
    disk: SimDisk,
    file: u64,
}

impl Handle {
    fn change(inner: &mut Inner, file: u64, change: Change) {
        let file = inner.files.get_mut(&file).unwrap();
        change.apply(&mut file.now);
        file.changes.push(change);
    }
}

impl DiskFile for Handle {
    fn length(&self) -> io::Result<u64> {
        Ok(self.disk.whole()?.files[&self.file].now.len() as u64)
    }

    fn read_at(&self, into: &mut [u8], at: u64) -> io::Result<usize> {
        let (inner, fault) = self.disk.enter()?;
        let now = &inner.files[&self.file].now;
        let mut count = into.len().min(now.len().saturating_sub(at as usize));
        match fault {
            Some(Fault::Short) => count = count.div_ceil(2),
            Some(fault) => return Err(fault.error()),
            None => {}
        }
        if count > 0 {
            into[..count].copy_from_slice(&now[at as usize..at as usize + count]);
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<usize> {
        let (mut inner, fault) = self.disk.enter()?;
        let count = if fault.is_some() { bytes.len().div_ceil(2) } else { bytes.len() };
        let change = Change::Write(at as usize, bytes[..count].to_vec());
        Self::change(&mut inner, self.file, change);
        match fault {
            None | Some(Fault::Short) => Ok(count),
            Some(fault) => Err(fault.error()),
        }
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let mut inner = self.disk.whole()?;
        Self::change(&mut inner, self.file, Change::Length(length as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let (mut inner, fault) = self.disk.enter()?;
        let file = inner.files.get_mut(&self.file).unwrap();
        let changes = take(&mut file.changes);
        if let Some(fault) = fault.filter(|fault| *fault != Fault::Short) {
            // As Linux does it: what could not be written stays readable and is never tried again.
            return Err(fault.error());
        }
        changes.iter().for_each(|change| change.apply(&mut file.durable));
        Ok(())
    }
}
