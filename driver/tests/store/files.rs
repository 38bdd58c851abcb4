//! Stores in directories of this machine.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::atomic::{AtomicUsize, Ordering},
};

use mosaik_driver::storage::{LogStore, StoreError, Wal};

use crate::{
    crashes::life,
    model::{Model, Step, found},
    models::{self, SEGMENT},
    sim_disk::SimDisk,
};

/// A directory that is removed in the end.
#[derive(Debug)]
pub(crate) struct Place(pub(crate) PathBuf);

impl Place {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let name = format!("store-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Self(Path::new(env!("CARGO_TARGET_TMPDIR")).join(name))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wal(place: &Place) -> Wal {
    Wal::new(&place.0).with_segment_bytes(SEGMENT)
}

/// What a process that is killed leaves behind: the operating system has all that was written.
fn copy(from: &Place) -> Place {
    let to = Place::new();
    fs::create_dir_all(&to.0).unwrap();
    for entry in fs::read_dir(&from.0).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), to.0.join(entry.file_name())).unwrap();
    }
    to
}

/// STORE-01: after each step of a life, closed or killed.
#[test]
fn a_life_with_a_kill_after_each_step() {
    let place = Place::new();
    let mut store = wal(&place);
    let loaded = store.load().unwrap();
    assert!(loaded.fresh);
    let mut model = Model::default();
    for step in life().iter().filter(|step| !matches!(step, Step::Reopen)) {
        model.step(step, &mut store).unwrap();
        store.sync().unwrap();
        let copied = copy(&place);
        let mut again = wal(&copied);
        let after = again.load().unwrap();
        assert!(!after.fresh && after.seat == loaded.seat);
        assert_eq!(found(&mut again, &after).unwrap(), model);
    }
    drop(store);
    let mut store = wal(&place);
    let after = store.load().unwrap();
    assert_eq!((after.cut, found(&mut store, &after).unwrap()), (0, model));
}

/// STORE-15: a directory has one user, whoever it is.
#[test]
fn two_stores_never_share_a_directory() {
    let place = Place::new();
    let mut first = wal(&place);
    first.load().unwrap();
    let mut second = wal(&place);
    assert!(matches!(second.load(), Err(StoreError::Locked)));
    assert!(matches!(second.wipe(), Err(StoreError::Locked)));
    first.raise_boot().unwrap();
    drop(first);
    assert_eq!(second.load().unwrap().boot, 1);
}

/// STORE-16: each start has a higher number, and a thousand of them leave no more than a few files.
#[test]
fn a_thousand_boots() {
    let place = Place::new();
    boots(20, || wal(&place));
    let disk = SimDisk::default();
    boots(1_000, || models::wal(&disk));
    let files = disk.contents();
    assert!(files.values().map(Vec::len).sum::<usize>() < 64 * 1024, "{:?}", files.keys());
}

fn boots(count: u64, open: impl Fn() -> Wal) {
    for boot in 1..=count {
        let mut store = open();
        let loaded = store.load().unwrap();
        assert_eq!((loaded.boot, loaded.fresh), (boot - 1, boot == 1));
        assert_eq!(store.raise_boot().unwrap(), boot);
    }
}

/// STORE-14: a damaged store is not used; once wiped it is another one.
#[test]
fn a_damaged_store_is_wiped_and_has_a_new_seat() {
    let place = Place::new();
    let mut store = wal(&place);
    let seat = store.load().unwrap().seat;
    store.raise_boot().unwrap();
    let mut model = Model::default();
    model.step(&Step::Append { count: 3, size: 10, terms: 1 }, &mut store).unwrap();
    drop(store);
    let file = place.0.join("0000000000000001.wal");
    let mut bytes = fs::read(&file).unwrap();
    let end = bytes.len() - 1;
    bytes[end] ^= 4;
    fs::write(&file, bytes).unwrap();
    let mut store = wal(&place);
    let error = store.load().unwrap_err();
    assert!(matches!(&error, StoreError::Damaged { file, .. } if file == "0000000000000001.wal"));
    assert!(matches!(store.raise_boot(), Err(StoreError::Poisoned)));
    store.wipe().unwrap();
    let loaded = store.load().unwrap();
    assert!(loaded.seat != seat && loaded.boot == 0 && loaded.stored.runs.is_empty());
    let names = fs::read_dir(&place.0).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.collect();
    names.sort();
    assert_eq!(names, ["0000000000000002.wal", "lock"]);
}

/// A reader goes on with its snapshot while others take its place.
#[test]
fn a_snapshot_is_readable_while_it_is_replaced() {
    let place = Place::new();
    let mut store = wal(&place);
    store.load().unwrap();
    let mut model = Model::default();
    let append = Step::Append { count: 5, size: 10, terms: 0 };
    let compact = |bytes| Step::Compact { before: 0, bytes };
    for step in [&append, &compact(600_000)] {
        model.step(step, &mut store).unwrap();
    }
    let reader = store.open_snapshot().unwrap().unwrap();
    let expected = model.snapshot.clone().unwrap();
    for step in [&append, &compact(10), &append, &compact(20)] {
        model.step(step, &mut store).unwrap();
    }
    let chunks = (0..).map_while(|number| reader.chunk(number).unwrap());
    assert_eq!(chunks.flatten().collect::<Vec<u8>>(), expected);
}
