//! Random steps: what a store holds is what the model holds.

use mosaik_driver::storage::{InMemoryLogStore, LogStore, Wal};
use proptest::prelude::*;

use crate::{
    model::{Durable, Model, Step, found, steps},
    sim_disk::{Dice, SimDisk},
};

/// Small, so that a few steps fill several; the first pages are 12 KiB of it.
pub(crate) const SEGMENT: u64 = 16 * 1024;

pub(crate) fn wal(disk: &SimDisk) -> Wal {
    Wal::on(Box::new(disk.view())).with_segment_bytes(SEGMENT)
}

/// The states that a crash may leave, oldest first; from the last that is durable on.
#[derive(Debug)]
pub(crate) struct Possible(pub(crate) Vec<Model>);

impl Possible {
    pub(crate) fn push(&mut self, model: &Model, durable: Durable) {
        if durable == Durable::Yes {
            self.0.clear();
        }
        self.0.push(model.clone());
    }
}

/// Opens the store again after a crash; STORE-01: it holds one of the states that are possible.
pub(crate) fn reopen(disk: &SimDisk, possible: &Possible) -> (Wal, Model) {
    let mut store = wal(disk);
    let loaded = store.load().unwrap_or_else(|error| panic!("{error}"));
    let model = found(&mut store, &loaded).unwrap_or_else(|error| panic!("{error}"));
    assert!(possible.0.contains(&model), "found {model:#?}\nwhich is none of {:#?}", possible.0);
    (store, model)
}

fn run(steps: &[Step]) {
    let disk = SimDisk::default();
    let mut model = Model::default();
    let mut possible = Possible(vec![model.clone()]);
    let mut store = wal(&disk);
    store.load().unwrap();
    for step in steps {
        match step {
            Step::Reopen => {
                // Closing makes everything durable.
                drop(store);
                possible.push(&model, Durable::Yes);
                (store, model) = reopen(&disk, &possible);
            }
            Step::Crash { seed } => {
                disk.fail_at(0, crate::sim_disk::Fault::Crash);
                drop(store);
                disk.crash(&mut Dice(*seed));
                (store, model) = reopen(&disk, &possible);
                possible.push(&model, Durable::Yes);
            }
            step => {
                let durable = model.step(step, &mut store).unwrap();
                possible.push(&model, durable);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// STORE-01: after a crash there is everything that was durable, and whole writes behind it.
    #[test]
    fn a_crash_leaves_a_prefix_that_holds_all_that_was_durable(steps in steps()) {
        run(&steps);
    }

    #[test]
    fn memory_holds_what_the_model_holds(steps in steps()) {
        let mut store = InMemoryLogStore::default();
        store.load().unwrap();
        let mut model = Model::default();
        for step in &steps {
            if matches!(step, Step::Reopen | Step::Crash { .. }) {
                continue;
            }
            model.step(step, &mut store).unwrap();
        }
        let loaded = store.load().unwrap();
        prop_assert_eq!(found(&mut store, &loaded).unwrap(), model);
    }
}
