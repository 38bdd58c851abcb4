//! The proof that the checkers see: known bugs put back one by one, and how many seeds each survives.
//!
//! A seed is one run of each of [`PROGRAMS`]. Bugs can be selected only in a build with
//! `--cfg mosaik_mutants`, which `cargo xtask mutants` makes.

use std::{
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use mosaik_proto::mutant::Mutant;

use super::{Faults, cuts, single};
use crate::verdict::{Failure, catch};

/// A world that a seed is run in: its name, and what it does.
pub type Program = (&'static str, fn(u64) -> Result<(), Failure>);

/// What one seed runs, in this order.
pub const PROGRAMS: [Program; 11] = [
    ("faults", |seed| Faults { strict: true, ..Faults::new(seed) }.run().map(drop)),
    ("faults --tight", |seed| {
        Faults { strict: true, tight: true, ..Faults::new(seed) }.run().map(drop)
    }),
    ("cuts", |seed| {
        let kind = cuts::Kind::ALL[(seed % 5) as usize];
        cuts::Cut { seed, kind, message: 1 + seed % 40, of_producer: seed % 2 == 0 }.run().map(drop)
    }),
    ("drain", single::drain),
    ("holder_dies", single::holder_dies),
    ("idle", single::idle),
    ("stuck", single::stuck),
    ("farewell", single::farewell),
    ("crossed", single::crossed),
    ("late_loop", single::late_loop),
    ("silent_death", single::silent_death),
];

/// The first seed that fails.
#[derive(Clone, Debug)]
pub struct Caught {
    /// The seed.
    pub seed: u64,
    /// The program in which it fails.
    pub program: &'static str,
    /// How.
    pub failure: Failure,
}

impl fmt::Display for Caught {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.program, self.failure)
    }
}

/// Puts a bug back in the whole process, or none. False if this build has no bugs to put back.
#[must_use]
pub fn select(mutant: Option<Mutant>) -> bool {
    #[cfg(mosaik_mutants)]
    mosaik_proto::mutant::select(mutant);
    cfg!(mosaik_mutants) || mutant.is_none()
}

/// Runs one seed through all programs.
#[must_use]
pub fn seed(seed: u64) -> Option<Caught> {
    PROGRAMS.iter().find_map(|(program, run)| {
        let failure = catch(|| run(seed)).err()?;
        Some(Caught { seed, program, failure })
    })
}

/// Runs seeds from 1 on, on all processors, until one fails; the lowest one that does.
#[must_use]
pub fn hunt(seeds: u64) -> Option<Caught> {
    let (next, limit) = (AtomicU64::new(1), AtomicU64::new(seeds));
    let found = Mutex::new(None::<Caught>);
    let work = || {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number > limit.load(Ordering::Relaxed) {
                return;
            }
            let Some(caught) = seed(number) else { continue };
            // Lower seeds that others are at still count, higher ones do not.
            limit.fetch_min(number, Ordering::Relaxed);
            let Ok(mut found) = found.lock() else { return };
            if found.as_ref().is_none_or(|before| caught.seed < before.seed) {
                *found = Some(caught);
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    found.into_inner().ok().flatten()
}
