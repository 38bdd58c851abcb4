//! Committed entries on their way to the machine.

use alloc::collections::VecDeque;

use super::{Index, context::Cx, control::Control, group::Group, state::State};
use crate::{
    limits,
    mutant::{self, Mutant},
    raft::{Kind, LogIndex, Membership, Run, Snapshot},
    wire,
};

/// What a run costs the host besides its bytes.
const RUN: usize = 64;

/// What a run counts for in [`limits::APPLY_BYTES`].
pub(super) const fn cost(bytes: usize) -> usize {
    bytes + RUN
}

/// How far the machine was handed the log. What is committed waits in the log itself, so a slow
/// machine holds nothing else.
#[derive(Debug, Default)]
pub(super) struct Handing {
    handed: LogIndex,
    /// The last command handed over.
    index: Index,
    /// Handed over and not yet applied: the last entry of each, and what it costs.
    under_way: VecDeque<(LogIndex, usize)>,
    bytes: usize,
}

impl Handing {
    /// From the snapshot on that the log begins with.
    pub(super) fn behind(snapshot: &Snapshot) -> Self {
        Self { handed: snapshot.last.index, index: Index(snapshot.commands), ..Self::default() }
    }

    /// The last entry that was handed over.
    pub(super) const fn handed(&self) -> LogIndex {
        self.handed
    }

    /// The last command that was handed over.
    pub(super) const fn index(&self) -> Index {
        self.index
    }

    /// GRP-20: how many bytes more may be handed over now.
    pub(super) fn room(&self) -> usize {
        let waiting = if mutant::on(Mutant::MachineFlooded) { 0 } else { self.bytes };
        limits::APPLY_BYTES.saturating_sub(waiting)
    }

    /// The next run is handed over, or passed by if it holds no commands.
    pub(super) fn hand(&mut self, run: &Run) {
        debug_assert_eq!(run.first, self.handed.next(), "nothing is left out");
        self.handed = run.end().index;
        if run.commands() > 0 {
            self.index.0 += run.commands();
            let cost = cost(run.data.len());
            self.under_way.push_back((self.handed, cost));
            self.bytes += cost;
        }
    }

    /// The machine applied everything up to here.
    pub(super) fn on_applied(&mut self, through: LogIndex) {
        while let Some((last, cost)) = self.under_way.front().copied()
            && last <= through
        {
            self.under_way.pop_front();
            self.bytes -= cost;
        }
    }
}

impl Group {
    /// GRP-20: hands committed entries to the machine, as far as it keeps up.
    pub(super) fn hand_over(&mut self, cx: &mut Cx<'_>) {
        let mut runs = core::mem::take(&mut self.runs);
        while let State::Member(standing) = &self.state {
            let (from, to) = (self.handing.handed().next(), standing.raft.commit());
            let room = self.handing.room();
            let installs = self.sync.is_installing() && !mutant::on(Mutant::AppliedWhileInstalled);
            if from > to || room == 0 || installs {
                break;
            }
            standing.raft.log().visit(from, to, room, |run| runs.push(run));
            let tenure = self.tenure;
            for run in runs.drain(..) {
                // An entry may end the lineage that it stands in.
                if self.tenure == tenure {
                    self.hand(run, cx);
                }
            }
        }
        runs.clear();
        self.runs = runs;
    }

    fn hand(&mut self, run: Run, cx: &mut Cx<'_>) {
        self.handing.hand(&run);
        match run.kind {
            Kind::Noop => {}
            Kind::Membership => self.on_voters(&run),
            Kind::Control => self.on_control(&run, cx),
            Kind::Commands => self.hand_commands(run, cx),
        }
    }

    fn on_voters(&mut self, run: &Run) {
        let State::Member(standing) = &mut self.state else { return };
        if let Ok(voters) = wire::decode::<Membership>(&run.data) {
            standing.voters = voters;
        }
        self.dirty.standing = true;
        self.published.dirty = true;
    }

    fn on_control(&mut self, run: &Run, cx: &mut Cx<'_>) {
        let control = Control::decode(&run.data);
        if let Some(control) = &control {
            self.calls.hand_control(run, control);
        }
        match control {
            Some(Control::Fork { from }) => {
                let index = self.handing.index();
                if let State::Member(standing) = &mut self.state {
                    standing.parent = Some((from, index));
                    self.published.dirty = true;
                }
            }
            Some(Control::Yield { to }) => self.on_yield(to, cx),
            Some(Control::Mark) => self.on_mark(run, cx),
            Some(Control::Compare) => self.on_compare(run, cx),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{Kind, Origin, Term};

    fn run(first: u64, count: u32, bytes: usize) -> Run {
        Run {
            term: Term(1),
            first: LogIndex(first),
            count,
            kind: Kind::Commands,
            origin: Origin::default(),
            data: alloc::vec![0; bytes].into(),
        }
    }

    #[test]
    fn grp_20_a_slow_machine_is_waited_for() {
        let mut handing = Handing::default();
        handing.hand(&Run::empty(Term(1), LogIndex(1), Kind::Noop));
        assert!(handing.room() == limits::APPLY_BYTES && handing.index().is_zero());
        handing.hand(&run(2, 10, limits::APPLY_BYTES));
        assert_eq!((handing.room(), handing.index().0, handing.handed().0), (0, 10, 11));
        handing.on_applied(LogIndex(10));
        assert_eq!(handing.room(), 0, "the last of them is not applied yet");
        handing.on_applied(LogIndex(11));
        assert_eq!(handing.room(), limits::APPLY_BYTES);
    }
}
