//! Known bugs, put back on purpose, to prove that the simulator sees them.
//!
//! In every build that anybody ships or tests, [`on`] is a `const fn` that returns false, so the
//! branches behind it are not compiled. With `RUSTFLAGS="--cfg mosaik_mutants"`, which only
//! `cargo xtask mutants` sets, one mutant at a time can be selected. Not a cargo feature: features of one
//! workspace are unified, and a build of everything would contain the bugs.
//!
//! Each mutant is a bug that stream or gossip systems really had (`docs/simulator.md` says where).

/// A known bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mutant {
    /// A resuming consumer continues one item late: a gap that need not be.
    ResumeLate,
    /// A resuming consumer is sent its last item again.
    ResumeEarly,
    /// The consumer's end does not report a gap.
    GapHiddenFromConsumer,
    /// The producer's end does not report a gap.
    GapHiddenFromProducer,
    /// A consumer that comes back grants nothing until it has consumed something.
    CreditLostOnReconnect,
    /// Credit counts items only: bytes are not bounded.
    CreditIgnoresBytes,
    /// The live edge is taken with the first item sent, not with `ACCEPT`.
    LateLiveEdge,
    /// A consumer is counted by its producer only after its first frame behind `ACCEPT`.
    CountedLate,
    /// A place to resume from is taken as one in the present incarnation of the producer.
    IncarnationIgnored,
    /// A consumer that caught up is cut off all the same.
    LagTimerKept,
    /// The window does not open again when the consumer leaves that held it.
    WindowNotReopened,
    /// A producer that closes drops what it had accepted.
    CloseDropsQueue,
    /// An item above the byte window is never sent.
    LargeItemStuck,
    /// A refused consumer tries again at once.
    RetryWithoutWait,
    /// A farewell removes the entry but leaves no tombstone.
    TombstoneForgotten,
    /// A farewell loses against the entry of the same version that came first.
    TieKeepsFirst,
    /// Versions are compared by their counters, across restarts.
    IncarnationNotCompared,
    /// An older entry is taken over a newer one.
    OlderAccepted,
    /// Signatures of entries are not checked.
    SignatureUnchecked,
    /// Entries from the future are taken.
    DriftUnchecked,
    /// Who is said to be dead is given up without a look of one's own.
    HearsayBelieved,
    /// Nobody tells the others of a lost peer: who has no link to it never learns.
    DeathUntold,
    /// A late loop blames the others for the time in which it did not listen.
    LateLoopBlamesOthers,
    /// A link that is replaced by another is not closed.
    DuplicateKept,
    /// Of two links dialled at the same time each end drops the other's.
    BothDialsDropped,
}

impl Mutant {
    /// All of them.
    pub const ALL: [Self; 25] = [
        Self::ResumeLate,
        Self::ResumeEarly,
        Self::GapHiddenFromConsumer,
        Self::GapHiddenFromProducer,
        Self::CreditLostOnReconnect,
        Self::CreditIgnoresBytes,
        Self::LateLiveEdge,
        Self::CountedLate,
        Self::IncarnationIgnored,
        Self::LagTimerKept,
        Self::WindowNotReopened,
        Self::CloseDropsQueue,
        Self::LargeItemStuck,
        Self::RetryWithoutWait,
        Self::TombstoneForgotten,
        Self::TieKeepsFirst,
        Self::IncarnationNotCompared,
        Self::OlderAccepted,
        Self::SignatureUnchecked,
        Self::DriftUnchecked,
        Self::HearsayBelieved,
        Self::DeathUntold,
        Self::LateLoopBlamesOthers,
        Self::DuplicateKept,
        Self::BothDialsDropped,
    ];
}

#[cfg(not(mosaik_mutants))]
mod selected {
    use super::Mutant;

    /// True if this bug is put back: never, in this build.
    #[inline(always)]
    #[must_use]
    pub const fn on(_: Mutant) -> bool {
        false
    }
}

#[cfg(mosaik_mutants)]
mod selected {
    use core::sync::atomic::{AtomicUsize, Ordering};

    use super::Mutant;

    /// The one that is selected, counted from 1; 0 is none.
    static SELECTED: AtomicUsize = AtomicUsize::new(0);

    /// True if this bug is put back.
    #[must_use]
    pub fn on(mutant: Mutant) -> bool {
        SELECTED.load(Ordering::Relaxed) == mutant as usize + 1
    }

    /// Puts one bug back in the whole process, or none.
    pub fn select(mutant: Option<Mutant>) {
        SELECTED.store(mutant.map_or(0, |mutant| mutant as usize + 1), Ordering::SeqCst);
    }
}

#[cfg(not(mosaik_mutants))]
pub use self::selected::on;
#[cfg(mosaik_mutants)]
pub use self::selected::{on, select};
