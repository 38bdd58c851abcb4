//! Known bugs, put back on purpose, to prove that the simulator and the tests of Raft and of groups see them.
//!
//! In every build that anybody ships or tests, [`on`] is a `const fn` that returns false, so the
//! branches behind it are not compiled. With `RUSTFLAGS="--cfg mosaik_mutants"`, which only
//! `cargo xtask mutants` sets, one mutant at a time can be selected. Not a cargo feature: features of one
//! workspace are unified, and a build of everything would contain the bugs.
//!
//! Each mutant is a bug that streams, gossip, Raft or group implementations really had, or that a model of
//! our rules found (`docs/simulator.md` says where).

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

    // --- groups ----------------------------------------------------------------------------
    /// The leader of an established lineage yields to a rival as if nothing could be lost (S3).
    EstablishedYields,
    /// Between lineages only the number of commands counts, not whether one may yield (S3).
    EstablishedOutranked,
    /// Of two provisional lineages the one of higher rank yields.
    RankInverted,
    /// Founders that meet both keep their histories (S1).
    RivalsIgnored,
    /// Who is empty founds beside voters that have no leader at present (R47).
    HoldersIgnored,
    /// Commands are taken before the founders are there.
    FoundersNotAwaited,
    /// Voters that are merely silent are gone: a copy goes on without them (S4).
    SilentVotersGone,
    /// An operator's recovery is never refused, whatever it loses.
    RecoveryUnchecked,
    /// Who comes back empty comes back under its old seat: a voter without memory (S7, U6).
    SeatReused,
    /// A voter whose peer came back under another seat is waited for, for ever.
    SeatsNotMet,
    /// Nobody looks which start of its store a member is: older copies vote on (R41).
    BootIgnored,
    /// A member that is told that its store is an older copy goes on with it (R41).
    RolledBackAdopted,
    /// The store of another peer is taken over, with that peer's seat.
    ForeignSeatTaken,
    /// Who may not vote is made a voter all the same (R29).
    ObserverCounted,
    /// The leader takes commands of members that may not write.
    ObserverWrites,
    /// A learner becomes a voter before it has what is committed.
    LearnerPromotedBehind,
    /// A silent voter is dropped, without another in its place, down to the last two.
    LastSpareDropped,
    /// A leader that leaves hands over to nobody (R48).
    LeaverLeads,
    /// A voter in memory leaves before its removal is committed (R48).
    LeaverStaysListed,
    /// A leader whose machine failed leads on (G37).
    FencedLeads,
    /// A member whose store cannot be begun anew lets commands wait for their deadlines.
    StorelessWaits,
    /// A leader takes what is in its log already: sent again, it is applied twice (S11).
    DuplicateAdmitted,
    /// A new leader does not know which commands its log holds beyond what is applied (S11).
    TailNotSearched,
    /// A command is acknowledged when it is in the leader's log (S10).
    TakenIsInForce,
    /// Commands that the last leader took are not asked of the next (L3).
    NothingSentAgain,
    /// A read is answered before the machine has what Raft names (S12).
    ReadBeforeApplied,
    /// A read shares the question that was under way when it came (R9).
    ReadJoinsLate,
    /// Committed commands are handed to a slow machine without bound (M3).
    MachineFlooded,
    /// Commands are handed over while a snapshot replaces the machine (R35).
    AppliedWhileInstalled,
    /// Snapshots forget which commands were applied (R44).
    SessionsNotFrozen,
    /// What a member that died was asked for nobody else is asked for (L4).
    ChunksNotAskedAgain,
    /// Who sent wrong bytes of a snapshot is asked for them again, for ever (S17).
    LiarAskedAgain,
    /// Machines that differ go on to serve (S1).
    DivergenceIgnored,
    /// A proof of one link is good on any other.
    BindingLeftOut,
    /// Proofs are not compared: the secret keeps nobody out.
    ProofUnchecked,
    /// What was said to a member as it was before is heard by what it is now (R42).
    FormerSeatHears,
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

    /// Those of groups: their own tests see them (`proto/tests/groups/mutants.rs`).
    pub const OF_GROUPS: [Self; 36] = [
        Self::EstablishedYields,
        Self::EstablishedOutranked,
        Self::RankInverted,
        Self::RivalsIgnored,
        Self::HoldersIgnored,
        Self::FoundersNotAwaited,
        Self::SilentVotersGone,
        Self::RecoveryUnchecked,
        Self::SeatReused,
        Self::SeatsNotMet,
        Self::BootIgnored,
        Self::RolledBackAdopted,
        Self::ForeignSeatTaken,
        Self::ObserverCounted,
        Self::ObserverWrites,
        Self::LearnerPromotedBehind,
        Self::LastSpareDropped,
        Self::LeaverLeads,
        Self::LeaverStaysListed,
        Self::FencedLeads,
        Self::StorelessWaits,
        Self::DuplicateAdmitted,
        Self::TailNotSearched,
        Self::TakenIsInForce,
        Self::NothingSentAgain,
        Self::ReadBeforeApplied,
        Self::ReadJoinsLate,
        Self::MachineFlooded,
        Self::AppliedWhileInstalled,
        Self::SessionsNotFrozen,
        Self::ChunksNotAskedAgain,
        Self::LiarAskedAgain,
        Self::DivergenceIgnored,
        Self::BindingLeftOut,
        Self::ProofUnchecked,
        Self::FormerSeatHears,
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
