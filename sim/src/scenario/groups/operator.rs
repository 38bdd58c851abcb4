//! What groups leave to an operator (decisions §4): whose voters lost so many stores that nobody can be
//! elected, and which of two established histories stays.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use mosaik_proto::{
    groups::{Blocked, Input, Status},
    ids::{GroupId, PeerId},
    raft::{Lineage, Role},
};

use crate::{
    net::HostId,
    world::{Fault, World},
};

/// An operator, who looks at the status of all members from time to time and does what it calls for.
#[derive(Debug, Default)]
pub(super) struct Operator {
    /// So often a member was asked for something that can cost commands.
    pub(super) asked: u64,
    rounds: usize,
    /// The history that was named to stay.
    stays: Option<Lineage>,
    /// Those that were told to go.
    go: BTreeSet<Lineage>,
    /// Those of which a survivor was told to go on without the rest.
    recovered: BTreeSet<Lineage>,
}

impl Operator {
    /// True if it was this operator's word that what stood in a history may be lost.
    pub(super) fn gave_up(&self, lineage: Lineage) -> bool {
        self.go.contains(&lineage) || self.recovered.contains(&lineage)
    }

    /// Looks around once.
    pub(super) fn round(&mut self, world: &mut World, group: GroupId) {
        restart_storeless(world, group);
        self.recover(world, group);
        self.end_conflicts(world, group);
        self.rounds += 1;
    }

    /// Where a majority of the voters lost their stores nobody can be elected; somebody has to say that
    /// they are gone (GRP-17). One survivor is asked, the most advanced first.
    fn recover(&mut self, world: &mut World, group: GroupId) {
        let mut lost: BTreeMap<Lineage, Vec<(HostId, Status, Vec<PeerId>)>> = BTreeMap::new();
        for host in world.hosts() {
            let Some(status) = world.group_status(host, group) else { continue };
            let (Some(lineage), Some(Blocked::NeedsRecovery { lost: gone })) =
                (status.lineage, &status.blocked)
            else {
                continue;
            };
            lost.entry(lineage).or_default().push((host, status.clone(), gone.clone()));
        }
        for (lineage, mut survivors) in lost {
            if self.go.contains(&lineage) {
                // It was given up, but this voter was not there to hear it.
                continue;
            }
            survivors.sort_by_key(|(host, status, _)| (Reverse(status.log), *host));
            let at = self.rounds % survivors.len();
            let (host, _, gone) = survivors.swap_remove(at);
            let gone = gone.into_iter().collect();
            world.ask_group(host, group, |request| Input::Recover { request, gone });
            self.recovered.insert(lineage);
            self.asked += 1;
        }
    }

    /// Established histories never yield: somebody has to say which one stays (GRP-14). That is the one
    /// with the most commands in force.
    fn end_conflicts(&mut self, world: &mut World, group: GroupId) {
        if world.checkers().groups.conflicts().is_empty() {
            return;
        }
        let of = |world: &World, host| Some((host, world.group_status(host, group)?.lineage?));
        let members: Vec<_> = world.hosts().filter_map(|host| of(world, host)).collect();
        let leads = |host| world.group_status(host, group).is_some_and(|s| s.role == Role::Leader);
        let led = || members.iter().filter(|(host, _)| leads(*host)).map(|(_, lineage)| *lineage);
        let commands = |of: &Lineage| world.checkers().groups.in_force(*of).count();
        let named = self.stays.filter(|stays| led().any(|led| led == *stays));
        let Some(stays) = named.or_else(|| led().max_by_key(commands)) else { return };
        let others: Vec<_> = members.iter().filter(|(_, of)| *of != stays).copied().collect();
        for (host, lineage) in others {
            world.ask_group(host, group, |request| Input::Yield { request, to: stays });
            self.go.insert(lineage);
            self.asked += 1;
        }
        self.go.remove(&stays);
        self.stays = Some(stays);
    }
}

/// A store that failed twice is not tried again: an operator mends the disk and starts the process.
fn restart_storeless(world: &mut World, group: GroupId) {
    for host in world.hosts().collect::<Vec<_>>() {
        let blocked = world.group_status(host, group).and_then(|status| status.blocked.as_ref());
        if matches!(blocked, Some(Blocked::StoreFailed(_))) {
            world.inject(Fault::Crash(host));
            world.inject(Fault::Start(host));
        }
    }
}
