//! Bits that change at rest.

use mosaik_driver::storage::{Damage, LogStore, StoreError};

use crate::{
    crashes::life,
    model::{Model, Step, found},
    models::wal,
    sim_disk::{Dice, Fault, SimDisk},
};

/// A store with several segments and a snapshot: as it is while it is used, and when it was closed.
fn store() -> (SimDisk, SimDisk, Model) {
    let disk = SimDisk::default();
    let mut store = wal(&disk);
    store.load().unwrap();
    let mut model = Model::default();
    let more = [
        Step::Append { count: 3, size: 20, terms: 0 },
        Step::Compact { before: 1, bytes: 1_000 },
        Step::Append { count: 5, size: 900, terms: 0 },
        Step::Sync,
        Step::Append { count: 3, size: 100, terms: 1 },
        Step::Sync,
        Step::Append { count: 1, size: 30, terms: 0 },
        Step::Sync,
    ];
    let life = life();
    let skipped = |step: &&Step| matches!(step, Step::Reopen | Step::Large { .. });
    for step in life.iter().chain(&more).filter(|step| !skipped(step)) {
        model.step(step, &mut store).unwrap();
    }
    assert_eq!(model.snapshot.as_ref().unwrap().len(), 1_000);
    let used = disk.image();
    drop(store);
    (used, disk.image(), model)
}

/// The places where a flip was not noticed; what was found there is what was written.
fn unnoticed(disk: &SimDisk, model: &Model, mask: impl Fn(usize) -> u8) -> Vec<(String, usize)> {
    let mut unnoticed = Vec::new();
    for (name, bytes) in disk.contents() {
        for at in 0..bytes.len() {
            let disk = disk.image();
            disk.flip(&name, at, mask(at));
            let mut store = wal(&disk);
            match store.load() {
                Ok(loaded) => {
                    let found = found(&mut store, &loaded).unwrap();
                    assert!(
                        found == *model,
                        "byte {at} of {name} is different, and nobody noticed"
                    );
                    unnoticed.push((name.clone(), at));
                }
                Err(StoreError::Damaged { .. } | StoreError::NewerFormat { .. }) => {}
                Err(other) => panic!("byte {at} of {name}: {other}"),
            }
        }
    }
    unnoticed
}

/// STORE-02, STORE-04, STORE-13: every byte of a store that was closed is checked. Each mark of the
/// last segment is there twice, so that of these one may break.
#[test]
fn every_byte_at_rest() {
    let (_, disk, model) = store();
    let names = disk.contents();
    assert!(names.keys().filter(|name| name.ends_with(".wal")).count() >= 2, "{:?}", names.keys());
    assert!(names.keys().any(|name| name.ends_with(".snap")));
    let last = names.keys().rfind(|name| name.ends_with(".wal")).unwrap().clone();
    for bit in 0..3 {
        for (name, at) in unnoticed(&disk, &model, |at| 1 << ((at + bit * 3) % 8)) {
            let in_mark = (4096..4096 + 64).contains(&at) || (8192..8192 + 64).contains(&at);
            assert!(name == last && in_mark, "byte {at} of {name}");
        }
    }
}

/// STORE-02: of a store that was killed, also the zeros that it would have grown into may change.
#[test]
fn every_byte_after_a_kill() {
    let (disk, _, model) = store();
    let (last, bytes) =
        disk.contents().into_iter().rfind(|(name, _)| name.ends_with(".wal")).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    // Most of the zeros need no try.
    disk.put(&last, bytes[..end + 100].to_vec());
    for (name, at) in unnoticed(&disk, &model, |at| 0x80 >> (at % 8)) {
        let in_mark = (4096..4096 + 64).contains(&at) || (8192..8192 + 64).contains(&at);
        assert!(name == last && (in_mark || at >= end), "byte {at} of {name}");
    }
}

/// STORE-06: files that are gone, cut or grown are noticed; but for the newest segment, which the
/// boot number stands for.
#[test]
fn files_that_are_gone_cut_or_grown() {
    let (_, disk, _) = store();
    let names = disk.contents();
    let last = names.keys().rfind(|name| name.ends_with(".wal")).unwrap();
    for (name, bytes) in &names {
        let load = |change: &dyn Fn(&SimDisk)| {
            let disk = disk.image();
            change(&disk);
            wal(&disk).load()
        };
        let is_damaged = |result| matches!(result, Err(StoreError::Damaged { .. }));
        if name != last {
            assert!(is_damaged(load(&|disk| disk.delete(name))), "{name} is gone");
            let mut longer = bytes.clone();
            longer.push(0);
            assert!(is_damaged(load(&|disk| disk.put(name, longer.clone()))), "{name} is longer");
        }
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        for length in [0, 1, 100, 4096, 12_287, 12_288, end / 2 + 6_144, end] {
            if length < bytes.len() {
                let result = load(&|disk| disk.put(name, bytes[..length].to_vec()));
                assert!(is_damaged(result), "{name} is {length} bytes long");
            }
        }
    }
}

/// STORE-03: a newer format is not taken for damage, nor read.
#[test]
fn a_newer_format() {
    let (_, disk, _) = store();
    let (name, mut bytes) =
        disk.contents().into_iter().find(|(name, _)| name.ends_with(".wal")).unwrap();
    bytes[8] = 2;
    let check = blake3::derive_key("mosaik store: header", &bytes[..72]);
    bytes[72..88].copy_from_slice(&check[..16]);
    disk.put(&name, bytes);
    let result = wal(&disk).load();
    assert!(matches!(result, Err(StoreError::NewerFormat { version: 2, .. })), "{result:?}");
}

/// STORE-05: marks of another segment are none.
#[test]
fn marks_of_another_segment() {
    let (_, disk, _) = store();
    let segments: Vec<_> =
        disk.contents().into_iter().filter(|(name, _)| name.ends_with(".wal")).collect();
    let [.., (_, older), (last, newest)] = &segments[..] else { panic!("there are two") };
    let mut mixed = newest.clone();
    mixed[4096..12_288].copy_from_slice(&older[4096..12_288]);
    disk.put(last, mixed);
    let result = wal(&disk).load();
    assert!(matches!(result, Err(StoreError::Damaged { damage: Damage::Marks, .. })), "{result:?}");
}

/// STORE-09: a length that the file does not have ends the log, and nothing is allocated for it.
#[test]
fn a_length_that_is_not_there() {
    let (_, disk, model) = store();
    let (last, bytes) =
        disk.contents().into_iter().rfind(|(name, _)| name.ends_with(".wal")).unwrap();
    for length in [u32::MAX, 1 << 31, 100] {
        let mut longer = bytes.clone();
        longer.extend_from_slice(&length.to_le_bytes());
        longer.extend_from_slice(&[0x85; 60]);
        disk.put(&last, longer);
        let mut store = wal(&disk);
        let loaded = store.load().unwrap();
        assert_eq!(loaded.cut, 64);
        assert_eq!(found(&mut store, &loaded).unwrap(), model);
    }
}

/// STORE-04: the mark of the last batch is on disk once another follows, or the store was idle.
#[test]
fn an_idle_store_is_settled() {
    for settle in [false, true] {
        let disk = SimDisk::default();
        let mut store = wal(&disk);
        store.load().unwrap();
        let mut model = Model::default();
        model.step(&Step::Append { count: 1, size: 30, terms: 1 }, &mut store).unwrap();
        store.sync().unwrap();
        if settle {
            store.settle().unwrap();
        }
        disk.fail_at(0, Fault::Crash);
        drop(store);
        disk.lose(0, &mut Dice(0));
        let (name, bytes) = disk.contents().into_iter().next().unwrap();
        let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
        disk.flip(&name, end, 1);
        let result = wal(&disk).load();
        match result {
            Err(StoreError::Damaged { .. }) => assert!(settle),
            Ok(loaded) => assert!(!settle && loaded.cut > 0),
            Err(other) => panic!("{other}"),
        }
    }
}

/// STORE-04: a mark that is torn leaves the one before it, which is one batch older and no more.
#[test]
fn a_torn_mark_leaves_the_one_before() {
    let disk = SimDisk::default();
    let mut store = wal(&disk);
    store.load().unwrap();
    let mut model = Model::default();
    let name = disk.contents().into_keys().next().unwrap();
    let mut ends = Vec::new();
    for _ in 0..4 {
        model.step(&Step::Append { count: 1, size: 30, terms: 0 }, &mut store).unwrap();
        store.sync().unwrap();
        ends.push(disk.contents()[&name].iter().rposition(|byte| *byte != 0).unwrap());
    }
    let used = disk.image();
    for slot in [4096, 8192] {
        let torn = used.image();
        torn.flip(&name, slot, 1);
        torn.flip(&name, ends[2], 1);
        let result = wal(&torn).load();
        assert!(matches!(result, Err(StoreError::Damaged { .. })), "{result:?}");
    }
}
