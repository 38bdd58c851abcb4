//! Known bugs, put back on purpose, to prove that the simulator and the Raft tests see them.
//!
//! In every build that anybody ships or tests, [`on`] is a `const fn` that returns false, so the
//! branches behind it are not compiled. With `RUSTFLAGS="--cfg mosaik_mutants"`, which only
//! `cargo xtask mutants` sets, one mutant at a time can be selected. Not a cargo feature: features of one
//! workspace are unified, and a build of everything would contain the bugs.
//!
//! Each mutant is a bug that streams, gossip or Raft implementations really had, or that a model of our
//! rules found (`docs/simulator.md` says where).

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

    // --- Raft ------------------------------------------------------------------------------
    /// Votes for whoever asks first, whatever its log holds (R23).
    VoteWithoutLogCheck,
    /// A follower acknowledges as durable what it is still writing (R43).
    AckBeforeDurable,
    /// Half of a voter set decides if the other half is merely silent.
    HalfWhenSilent,
    /// Half of a voter set decides, always (R3).
    AnyHalfWins,
    /// A superseded half is waited for, for ever.
    HalfNever,
    /// A read is answered before anybody confirms that the leader still leads (R8).
    ReadWithoutQuorum,
    /// A new leader answers reads before an entry of its term is committed (R7).
    ReadBeforeOwnTerm,
    /// Questions are numbered anew in every life, so that late answers match (R9).
    ReadIdsRepeat,
    /// Whoever is handed the lead still waits for the old leader's answer to its reads.
    QuestionKept,
    /// A leader with many reads of its own drops the questions of others, who wait for ever.
    QuestionDropped,
    /// Entries of an earlier term are committed by counting their copies (R2).
    OldTermCounted,
    /// Votes and requests for them leave before they are on the disk (R17).
    VoteBeforePersist,
    /// A restart finds the term, but not the vote given in it (R16).
    VoteForgotten,
    /// Stepping down within a term forgets the vote given in it (R18).
    VoteClearedInTerm,
    /// Voters change in one step, by any number of seats at once.
    OneStepChange,
    /// Single seats change in one step, before the new leader committed in its term (R1).
    ChangeBeforeOwnTerm,
    /// A change of voters begins before the one before it is committed.
    SecondChangeInFlight,
    /// Single seats change in one step, beside the half rule, which is unsafe together.
    HalfWithOneStep,
    /// A late write of entries that were cut off counts for those in their place (R45).
    OldWriteCounts,
    /// A follower acknowledges its whole log, also what the leader has not compared.
    AckClaimsWholeLog,
    /// Entries that are there already are cut off, and written anew as far as they came again (R24).
    EqualTailCut,
    /// While voters change only the set that is being entered is asked.
    JointNeedsNewSetOnly,
    /// A leader whom nobody hears leads on (R11).
    NoCheckQuorum,
    /// Learners get all entries, and count as voters for commits (R5).
    LearnerCounted,
    /// Learners get uncommitted entries: one that is ahead of the voters blocks them.
    LearnerGetsUncommitted,
    /// Who installs a snapshot goes on to follow the leader of a term before it.
    InstallKeepsTerm,
    /// Only whom the last set of its log lists asks for votes (R31).
    LatestSetCampaigns,
    /// Whoever wishes to leave does not ask for votes any more (R31).
    LeaverIsMute,
    /// A leader that is removed fills seats before it makes room: of a set of one that is not its own.
    RemovedLeaderChanges,
    /// Who votes alone sends the change that ends this before it has written it.
    SoleVoterSendsFirst,
    /// Members ask for votes at once: who comes back topples the leader (R30).
    NoPreVote,
    /// Members that hear a leader help others to topple it.
    NoStickiness,
    /// A follower commits up to the leader's index what it has not compared.
    CommitUnverified,
    /// What an old seat said is heard after its peer came back under another.
    UnlinkedHeard,
}

impl Mutant {
    /// Those of links, gossip and streams: the simulator sees them.
    pub const OF_NODES: [Self; 25] = [
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

    /// Those of Raft: its own tests see them (`proto/tests/raft/mutants.rs`).
    pub const OF_RAFT: [Self; 34] = [
        Self::VoteWithoutLogCheck,
        Self::AckBeforeDurable,
        Self::HalfWhenSilent,
        Self::AnyHalfWins,
        Self::HalfNever,
        Self::ReadWithoutQuorum,
        Self::ReadBeforeOwnTerm,
        Self::ReadIdsRepeat,
        Self::QuestionKept,
        Self::QuestionDropped,
        Self::OldTermCounted,
        Self::VoteBeforePersist,
        Self::VoteForgotten,
        Self::VoteClearedInTerm,
        Self::OneStepChange,
        Self::ChangeBeforeOwnTerm,
        Self::SecondChangeInFlight,
        Self::HalfWithOneStep,
        Self::OldWriteCounts,
        Self::AckClaimsWholeLog,
        Self::EqualTailCut,
        Self::JointNeedsNewSetOnly,
        Self::NoCheckQuorum,
        Self::LearnerCounted,
        Self::LearnerGetsUncommitted,
        Self::InstallKeepsTerm,
        Self::LatestSetCampaigns,
        Self::LeaverIsMute,
        Self::RemovedLeaderChanges,
        Self::SoleVoterSendsFirst,
        Self::NoPreVote,
        Self::NoStickiness,
        Self::CommitUnverified,
        Self::UnlinkedHeard,
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
