//! A crash or an error at each call of a life that has everything in it.

use mosaik_driver::storage::{LogStore, StoreError, Wal};

use crate::{
    model::{Durable, Model, Step, found},
    models::{Possible, reopen, wal},
    sim_disk::{Dice, Fault, SimDisk},
};

/// Segments begin and end, the log is cut, compacted and replaced.
pub(crate) fn life() -> Vec<Step> {
    let append = |count, size| Step::Append { count, size, terms: 0 };
    vec![
        Step::Boot,
        Step::Append { count: 3, size: 20, terms: 1 },
        append(2, 1400),
        Step::Sync,
        Step::Vote { terms: 1 },
        append(4, 900),
        Step::Seen { who: 3, boot: 4 },
        Step::Sync,
        Step::Replace { cut: 3, count: 3 },
        append(1, 10),
        Step::Large { bytes: 66_000 },
        append(1, 10),
        Step::Sync,
        Step::Compact { before: 2, bytes: 3_000 },
        append(5, 1000),
        Step::Sync,
        append(5, 1000),
        Step::Sync,
        Step::Stage { bytes: 50 },
        Step::Compact { before: 0, bytes: 300_000 },
        Step::Boot,
        append(2, 100),
        Step::Sync,
        Step::Reset { ahead: 5, bytes: 700 },
        append(3, 30),
        Step::Sync,
        Step::Reopen,
        append(1, 1),
        Step::Sync,
        Step::Compact { before: 1, bytes: 0 },
    ]
}

/// A store, and what may be found of it.
struct Life {
    disk: SimDisk,
    store: Wal,
    model: Model,
    possible: Possible,
}

impl Life {
    /// Goes on with a step; what it was doing may be found or not if that fails.
    fn step(&mut self, step: &Step) -> Result<(), StoreError> {
        if let Step::Reopen = step {
            self.store = wal(&SimDisk::default());
            self.store = wal(&self.disk);
            let loaded = self.store.load()?;
            assert_eq!(found(&mut self.store, &loaded)?, self.model);
            return Ok(());
        }
        let result = self.model.step(step, &mut self.store);
        self.possible.push(&self.model, *result.as_ref().unwrap_or(&Durable::No));
        result.map(|_| ())
    }
}

/// Lives until the first error, which is given back with what is left of the life.
fn live(disk: SimDisk) -> (Life, Option<(StoreError, Vec<Step>)>) {
    let store = wal(&disk);
    let (model, possible) = (Model::default(), Possible(vec![Model::default()]));
    let mut life = Life { disk, store, model, possible };
    let mut steps = life_steps();
    let failed = match life.store.load() {
        Err(error) => Some(error),
        Ok(_) => loop {
            let Some(step) = steps.next() else { break None };
            if let Err(error) = life.step(&step) {
                break Some(error);
            }
        },
    };
    (life, failed.map(|error| (error, steps.collect())))
}

fn life_steps() -> std::vec::IntoIter<Step> {
    life().into_iter()
}

/// How many calls a whole life makes.
fn calls() -> u64 {
    let disk = SimDisk::default();
    disk.fail_at(u64::MAX, Fault::Crash);
    let (life, failed) = live(disk.view());
    assert!(failed.is_none(), "{failed:?}");
    drop(life);
    disk.calls()
}

/// STORE-01, STORE-10, STORE-11, STORE-12: whatever it was doing, and whatever of it reached the
/// disk, nothing durable is lost, and the rest of the life can be lived.
#[test]
fn a_crash_at_every_call() {
    for call in 0..calls() {
        for seed in 0..6 {
            let disk = SimDisk::default();
            disk.fail_at(call, Fault::Crash);
            let (life, failed) = live(disk.view());
            let Life { store, possible, .. } = life;
            drop(store);
            assert!(disk.has_failed());
            disk.crash(&mut Dice(call * 100 + seed));
            let (store, model) = reopen(&disk, &possible);
            let possible = Possible(vec![model.clone()]);
            let mut life = Life { disk, store, model, possible };
            for step in failed.into_iter().flat_map(|(_, steps)| steps) {
                life.step(&step).unwrap_or_else(|error| panic!("call {call} seed {seed}: {error}"));
            }
            let Life { disk, store, model, .. } = life;
            drop(store);
            reopen(&disk, &Possible(vec![model]));
        }
    }
}

/// STORE-07, STORE-08 (G40): after an error nothing more is said to be durable, and the next start
/// finds what was; also if the power fails after that start.
fn an_error_at_every_call(fault: Fault, is_right: impl Fn(&StoreError) -> bool) {
    let mut tolerated = 0;
    for call in 0..calls() {
        let disk = SimDisk::default();
        disk.fail_at(call, fault);
        let (life, failed) = live(disk.view());
        let Life { mut store, possible, .. } = life;
        match &failed {
            Some((error, _)) => {
                assert!(is_right(error), "call {call}: {error:?}");
                // A snapshot that failed hurts nobody; any other error is the end.
                let goes_on = store.raise_boot().is_ok();
                let in_snapshot = error.to_string().contains("snapshot");
                assert!(!goes_on || in_snapshot, "call {call}: {error}");
                if goes_on {
                    let names: Vec<_> = disk.contents().into_keys().collect();
                    assert!(names.iter().all(|name| !name.ends_with(".tmp")), "{names:?}");
                    continue;
                }
                assert!(matches!(store.sync(), Err(StoreError::Poisoned)));
            }
            None => tolerated += 1,
        }
        drop(store);
        assert!(disk.has_failed());
        let names_after = |disk: &SimDisk| disk.contents().len();
        let (store, model) = reopen(&disk, &possible);
        // What was found is durable now, whether or not it was before.
        disk.fail_at(0, Fault::Crash);
        drop(store);
        disk.crash(&mut Dice(call));
        let (store, _) = reopen(&disk, &Possible(vec![model]));
        drop(store);
        assert!(names_after(&disk) <= 4, "nothing is left over: {:?}", disk.contents().keys());
    }
    // Removing what nobody needs may fail, and so may the end of a value that is dropped.
    assert!(tolerated < 30, "{tolerated} errors were not noticed");
}

#[test]
fn no_space_at_every_call() {
    an_error_at_every_call(Fault::Full, |error| matches!(error, StoreError::Full { .. }));
}

#[test]
fn an_input_output_error_at_every_call() {
    an_error_at_every_call(Fault::Io, |error| matches!(error, StoreError::Io { .. }));
}

/// A write or read that does less than it was asked is finished by the next.
#[test]
fn a_short_write_or_read_at_every_call() {
    for call in 0..calls() {
        let disk = SimDisk::default();
        disk.fail_at(call, Fault::Short);
        let (life, failed) = live(disk.view());
        assert!(failed.is_none(), "call {call}: {failed:?}");
        let Life { store, model, .. } = life;
        drop(store);
        reopen(&disk, &Possible(vec![model]));
    }
}

/// STORE-08: a crash at any call of a start, of a store that a failed sync or a crash left behind.
#[test]
fn a_crash_at_every_call_of_a_start() {
    let calls = calls();
    for (first, fault) in (0..calls).flat_map(|call| [(call, Fault::Io), (call, Fault::Crash)]) {
        let disk = SimDisk::default();
        disk.fail_at(first, fault);
        let (Life { store, possible, .. }, _) = live(disk.view());
        drop(store);
        disk.revive();
        for call in 0.. {
            let disk = disk.fork();
            disk.fail_at(call, Fault::Crash);
            drop(wal(&disk).load());
            if !disk.has_failed() {
                break;
            }
            disk.crash(&mut Dice(first * 1_000 + call));
            reopen(&disk, &possible);
        }
    }
}

/// STORE-14: a crash at any call of a wipe leaves a store that is still damaged, or a new one.
#[test]
fn a_crash_at_every_call_of_a_wipe() {
    let disk = SimDisk::default();
    let (life, _) = live(disk.view());
    drop(life);
    let mut store = wal(&disk);
    let seat = store.load().unwrap().seat;
    drop(store);
    let first = disk.contents().keys().find(|name| name.ends_with(".wal")).unwrap().clone();
    disk.flip(&first, 12_400, 1);
    for call in 0.. {
        let disk = disk.image();
        disk.fail_at(call, Fault::Crash);
        let mut store = wal(&disk);
        let _ = store.wipe();
        let done = !disk.has_failed();
        drop(store);
        disk.crash(&mut Dice(call));
        let mut store = wal(&disk);
        match store.load() {
            Err(StoreError::Damaged { .. }) if !done => {}
            Ok(loaded) => {
                assert!(loaded.seat != seat && loaded.boot == 0);
                assert_eq!(found(&mut store, &loaded).unwrap(), Model::default());
            }
            other => panic!("call {call}: {other:?}"),
        }
        store.wipe().unwrap();
        store.load().unwrap();
        if done {
            break;
        }
    }
}

/// STORE-06: a tail that is torn anywhere is cut; what the mark says was synced is damage.
#[test]
fn a_batch_that_is_torn_at_every_byte() {
    let disk = SimDisk::default();
    let mut store = wal(&disk);
    store.load().unwrap();
    let mut model = Model::default();
    let step = |step: Step, model: &mut Model, store: &mut Wal| model.step(&step, store).unwrap();
    step(Step::Append { count: 2, size: 50, terms: 1 }, &mut model, &mut store);
    step(Step::Sync, &mut model, &mut store);
    let name = disk.contents().keys().next().unwrap().clone();
    let before = disk.contents()[&name].clone();
    let mut possible = Possible(vec![model.clone()]);
    for batch in [
        Step::Append { count: 3, size: 70, terms: 0 },
        Step::Replace { cut: 2, count: 2 },
        Step::Append { count: 1, size: 200, terms: 1 },
    ] {
        let durable = step(batch, &mut model, &mut store);
        possible.push(&model, durable);
    }
    store.sync().unwrap();
    let after = disk.contents()[&name].clone();
    drop(store);
    let pages = 12_288;
    let end = after.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    let start = (pages..end).find(|at| before[*at] != after[*at]).unwrap();
    for tear in start..end {
        for (kept, lost) in [(&after, &before), (&before, &after)] {
            // The first mark is the one before the batch; then also the one after it.
            for (mark, torn) in [(&before, true), (&after, false)] {
                let mut bytes = kept[..tear].to_vec();
                bytes.extend_from_slice(&lost[tear..]);
                bytes[..pages].copy_from_slice(&mark[..pages]);
                let disk = SimDisk::default();
                disk.put(&name, bytes.clone());
                if torn {
                    reopen(&disk, &possible);
                } else if bytes[start..end] != after[start..end] {
                    let result = wal(&disk).load();
                    assert!(
                        matches!(result, Err(StoreError::Damaged { .. })),
                        "{tear}: {result:?}"
                    );
                }
            }
        }
    }
}
