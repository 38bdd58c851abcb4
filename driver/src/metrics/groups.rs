//! What a node counts of one group.

use std::{collections::VecDeque, sync::Mutex};

use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};
use mosaik_proto::{
    Short,
    groups::{self, Outcome, Status},
    ids::GroupId,
    raft::Role,
    time::Instant,
};

use super::NodeMetrics;
use crate::sync::cell::lock;

/// The counters of one group.
#[derive(Debug)]
pub(crate) struct GroupMetrics {
    pub(crate) bonds: Gauge,
    bytes_sent: Counter,
    bytes_received: Counter,
    messages_sent: Counter,
    messages_received: Counter,
    elections: Counter,
    leader_changes: Counter,
    pub(crate) committed: Gauge,
    voters: Gauge,
    non_voters: Gauge,
    size: Gauge,
    bonds_refused: Counter,
    violations: Counter,
    snapshots_fetched: Counter,
    commands_rejected: Counter,
    commands_unknown: Counter,
    /// Seconds from the moment that the core was told of a command to its outcome here.
    commit_seconds: Histogram,
    /// Commands that travelled together.
    batch_commands: Histogram,
    /// Commands without an outcome: where a batch ends, and when it was taken.
    under_way: Mutex<VecDeque<(u64, Instant)>>,
}

impl NodeMetrics {
    /// The counters of one group.
    pub(crate) fn group(&self, group: &GroupId) -> GroupMetrics {
        let group = SharedString::from(Short(group).to_string());
        let label = || [("group", group.clone()), ("network", self.network.clone())];
        GroupMetrics {
            bonds: gauge!("mosaik.groups.bonds.active", &label()),
            bytes_sent: counter!("mosaik.groups.bonds.bytes.sent", &label()),
            bytes_received: counter!("mosaik.groups.bonds.bytes.received", &label()),
            messages_sent: counter!("mosaik.groups.bonds.messages.sent", &label()),
            messages_received: counter!("mosaik.groups.bonds.messages.received", &label()),
            elections: counter!("mosaik.groups.raft.elections", &label()),
            leader_changes: counter!("mosaik.groups.raft.leader.changes", &label()),
            committed: gauge!("mosaik.groups.raft.committed", &label()),
            voters: gauge!("mosaik.groups.raft.committee.voters", &label()),
            non_voters: gauge!("mosaik.groups.raft.committee.non_voters", &label()),
            size: gauge!("mosaik.groups.raft.committee.size", &label()),
            bonds_refused: counter!("mosaik.groups.bonds.refused", &label()),
            violations: counter!("mosaik.groups.violations", &label()),
            snapshots_fetched: counter!("mosaik.groups.snapshots.fetched", &label()),
            commands_rejected: counter!("mosaik.groups.commands.rejected", &label()),
            commands_unknown: counter!("mosaik.groups.commands.unknown", &label()),
            commit_seconds: histogram!("mosaik.groups.commit.seconds", &label()),
            batch_commands: histogram!("mosaik.groups.batch.commands", &label()),
            under_way: Mutex::default(),
        }
    }
}

impl GroupMetrics {
    /// The core was told of commands.
    pub(crate) fn taken(&self, first: u64, count: u32, now: Instant) {
        self.batch_commands.record(f64::from(count));
        lock(&self.under_way).push_back((first + u64::from(count), now));
    }

    /// Commands ended.
    pub(crate) fn ended(&self, first: u64, count: u32, outcome: Outcome, now: Instant) {
        match outcome {
            Outcome::Committed { .. } => {}
            Outcome::Rejected(_) => self.commands_rejected.increment(u64::from(count)),
            Outcome::Unknown => self.commands_unknown.increment(u64::from(count)),
        }
        let end = first + u64::from(count);
        let under_way = &mut *lock(&self.under_way);
        while let Some((last, taken)) = under_way.front().copied().filter(|(last, _)| *last <= end)
        {
            under_way.pop_front();
            let _ = last;
            if matches!(outcome, Outcome::Committed { .. }) {
                self.commit_seconds.record(now.since(taken).as_secs_f64());
            }
        }
    }

    /// The status changed.
    pub(crate) fn status(&self, status: &Status) {
        // Only the leader knows all of them.
        if status.role == Role::Leader {
            let (voters, others) = (status.voters.len(), status.learners.len());
            self.voters.set(voters as f64);
            self.non_voters.set(others as f64);
            self.size.set((voters + others) as f64);
        }
    }

    pub(crate) fn count(&self, counter: groups::Counter) {
        match counter {
            groups::Counter::Bonds(_, bonds) => self.bonds.set(bonds as f64),
            groups::Counter::BondRefused(_, code) => {
                tracing::debug!(%code, "a bond was refused");
                self.bonds_refused.increment(1);
            }
            groups::Counter::Violation(_) => {
                tracing::warn!("a peer broke the protocol of groups");
                self.violations.increment(1);
            }
            groups::Counter::Election(_) => self.elections.increment(1),
            groups::Counter::LeaderChanged(_) => self.leader_changes.increment(1),
            groups::Counter::Sent(_, bytes) => {
                self.messages_sent.increment(1);
                self.bytes_sent.increment(u64::from(bytes));
            }
            groups::Counter::Received(_, bytes) => {
                self.messages_received.increment(1);
                self.bytes_received.increment(u64::from(bytes));
            }
            groups::Counter::SnapshotFetched(_) => self.snapshots_fetched.increment(1),
        }
    }
}

/// Which group a counter is about.
pub(crate) const fn group_of(counter: &groups::Counter) -> GroupId {
    match counter {
        groups::Counter::Bonds(group, _)
        | groups::Counter::BondRefused(group, _)
        | groups::Counter::Violation(group)
        | groups::Counter::Election(group)
        | groups::Counter::LeaderChanged(group)
        | groups::Counter::Sent(group, _)
        | groups::Counter::Received(group, _)
        | groups::Counter::SnapshotFetched(group) => *group,
    }
}
