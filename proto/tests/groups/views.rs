//! What tests ask of a cluster.

use std::collections::BTreeSet;

use mosaik_proto::{groups::Outcome, raft::Seat};

use crate::cluster::{Cluster, Command, Host, peer};

impl Cluster {
    /// True if a host lets its clients execute so many commands more.
    pub(crate) fn is_roomy(&self, at: usize, commands: u64) -> bool {
        let host = &self.hosts[at];
        host.window.0 > host.sent.len() as u64 + commands
    }

    /// True if a host lets its clients execute.
    pub(crate) fn is_open(&self, at: usize) -> bool {
        let host = &self.hosts[at];
        host.is_up() && !host.closed && host.window.0 > host.sent.len() as u64 + 8
    }

    /// The leader that knows the most commands.
    pub(crate) fn leader(&self) -> Option<usize> {
        let leaders = (0..self.hosts.len()).filter(|at| self.hosts[*at].leads());
        leaders
            .max_by_key(|at| (self.hosts[*at].status().log.index(), self.hosts[*at].status().term))
    }

    /// Everybody who is up follows one leader of one lineage.
    pub(crate) fn is_formed(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let lineage = self.hosts[leader].lineage();
        self.hosts
            .iter()
            .filter(|host| host.is_up() && !host.closed)
            .all(|host| host.lineage() == lineage && host.status().leader == Some(peer(leader)))
    }

    /// Everybody who is up and may vote is a voter.
    pub(crate) fn is_full(&self) -> bool {
        let Some(leader) = self.leader() else { return false };
        let voters = &self.hosts[leader].status().voters;
        let seats: BTreeSet<Option<Seat>> = voters.iter().map(|member| Some(member.seat)).collect();
        let wanted: BTreeSet<_> = self
            .hosts
            .iter()
            .filter(|h| h.is_up() && h.config.can_vote)
            .map(|host| host.status().seat)
            .collect();
        self.is_formed() && seats == wanted
    }

    /// Every machine holds every command that a client knows to be committed, and they are equal.
    pub(crate) fn is_settled(&self) -> bool {
        let known: BTreeSet<Command> = self
            .executed
            .iter()
            .filter(|(command, at)| self.committed(**at, **command))
            .map(|(command, _)| *command)
            .collect();
        let all = |host: &Host| {
            let has: BTreeSet<_> = host.machine.commands().iter().copied().collect();
            known.is_subset(&has)
        };
        self.is_full()
            && self.is_even()
            && self.hosts.iter().filter(|host| host.is_up() && !host.closed).all(all)
    }

    /// The machines that run all hold the same.
    pub(crate) fn is_even(&self) -> bool {
        let mut all = self.hosts.iter().filter(|host| host.is_up() && !host.closed);
        let Some(first) = all.next() else { return true };
        all.all(|host| host.machine.commands() == first.machine.commands())
    }

    pub(crate) fn committed(&self, at: usize, command: Command) -> bool {
        matches!(self.hosts[at].outcomes.get(&command), Some(Outcome::Committed { .. }))
    }

    pub(crate) fn describe(&self) -> String {
        let one = |(at, host): (usize, &Host)| {
            let status = host.status.as_ref();
            format!(
                "{at} up {} links {:?} applied {} {status:?} {:?}\n",
                host.is_up(),
                self.links.keys().filter(|(a, b)| *a == at || *b == at).collect::<Vec<_>>(),
                host.machine.commands().len(),
                host.notices,
            )
        };
        format!("{:?}\n{}", self.now, self.hosts.iter().enumerate().map(one).collect::<String>())
    }

    /// True if nobody waits for the end of a command any more: its host died since.
    pub(crate) fn is_forgotten(&self, command: Command) -> bool {
        !self.hosts[self.executed[&command]].sent.contains(&command)
    }
}
