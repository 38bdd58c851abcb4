//! What a group can do without. A fault that takes more loses commands by the rules (decisions §4), and
//! shows nothing.

use mosaik_proto::{
    groups::Blocked,
    ids::GroupId,
    raft::{Lineage, Role, Seat},
};

use crate::{net::HostId, world::World};

/// True if a group can do without what a host holds, if that is to come back: somebody leads, and each
/// history keeps a majority besides it.
pub(super) fn may_lose(world: &World, group: GroupId, host: HostId) -> bool {
    let mut all = world.hosts().filter_map(|host| world.group_status(host, group));
    all.any(|status| status.role == Role::Leader)
        && world.checkers().groups.histories().all(|history| keeps(world, group, host, history))
}

/// A history stays: of its voters a majority is well besides a host, or exactly half of an even set.
fn keeps(
    world: &World,
    group: GroupId,
    host: HostId,
    (lineage, voters): (Lineage, &[Seat]),
) -> bool {
    let has = |seat: &&Seat| holds(world, group, **seat, lineage);
    let well: Vec<&Seat> = voters.iter().filter(has).collect();
    // It is over, or it is one that may be lost: it never listed a second voter and has no disk.
    let checkers = &world.checkers().groups;
    let counts = checkers.had_second_voter(lineage) || checkers.has_disk(lineage);
    if well.is_empty() || !counts {
        return true;
    }
    let peer = world.peer(host);
    let others = well.iter().filter(|seat| seat.peer != peer).count();
    others * 2 >= voters.len() + voters.len() % 2
}

/// True if a seat is there and stays: its process says so, or, where none does, its store. One in memory
/// that is leaving, or was asked to and is frozen, is as good as gone.
fn holds(world: &World, group: GroupId, seat: Seat, lineage: Lineage) -> bool {
    let there = Some((seat.id, lineage));
    world.hosts().filter(|host| world.peer(*host) == seat.peer).any(|host| {
        // What was rolled back is not what the others knew, though it says so.
        if world.is_rolled_back(host, group, seat.id) {
            return false;
        }
        match world.group_status(host, group) {
            Some(status) => {
                let asked = !world.is_member(host, group) || world.is_ending(host);
                let leaves = asked || status.blocked == Some(Blocked::Leaving);
                let goes = leaves && !world.has_store(host, group);
                !goes && status.seat.map(|seat| seat.id).zip(status.lineage) == there
            }
            None => world.group_stored(host, group) == there,
        }
    })
}

/// True if an older copy of a host's store may come back: the group can do without that store, and
/// everybody else has a start behind the one that the copy makes in its store. Then the copy counts as a lost
/// store, because whoever meets it tells it so before its vote counts (GRP-18). Where somebody does not
/// know it votes again, which is a loss by the rules (V8). So it is with a copy of the present start,
/// and with one of the start before it: who restarts since knows the number, but not the process.
pub(super) fn may_roll_back(world: &World, group: GroupId, host: HostId) -> bool {
    let seat = world.group_status(host, group).and_then(|status| status.seat);
    let (Some(seat), Some(copy)) = (seat, world.group_copy(host, group)) else { return false };
    let again = copy.boot() + 1;
    // What is only in memory may be forgotten before it is needed.
    let knows = |other: HostId| {
        let store = world.group_store(other, group);
        store.and_then(|store| store.seen(&seat)).is_some_and(|seen| seen > again)
    };
    // While a seat takes the place of another each of two sets decides, and the union says little.
    let is_changing = |(_, voters): (Lineage, &[Seat])| {
        voters.iter().any(|one| voters.iter().any(|two| one != two && one.peer == two.peer))
    };
    // Who votes alone asks nobody.
    copy.seat() == seat.id
        && !copy.votes_alone()
        && !world.checkers().groups.histories().any(is_changing)
        && world.hosts().filter(|other| *other != host).all(knows)
        && may_lose(world, group, host)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mosaik_proto::{Digest, groups::GroupConfig};

    use super::{super::group, *};
    use crate::{
        host::{GroupSpec, NodeSpec, Op},
        scenario::network,
        world::{Fault, Options},
    };

    const HOSTS: [HostId; 2] = [HostId(0), HostId(1)];

    /// Two voters in memory.
    fn pair() -> World {
        let mut world = World::new(1, Options::default());
        for host in HOSTS {
            let mut spec = NodeSpec::new(network());
            spec.bootstrap = HOSTS.into_iter().filter(|other| *other != host).collect();
            let host = world.add_node(spec);
            let mut part = GroupSpec::new(GroupConfig::new(group(), Digest::hash(b"a secret")));
            part.clients = 0;
            world.add_group(host, part);
        }
        let settled = |world: &World| {
            let status = world.group_status(HostId(0), group());
            let voters = status.map_or(0, |status| status.voters.len());
            if voters == 2 { Ok(()) } else { Err(format!("{voters} voters")) }
        };
        world.run_for(Duration::from_secs(10)).unwrap();
        world.execute_command(HostId(0), group(), 0, Op::Put(1)).unwrap();
        world.run_until_holds(world.now() + Duration::from_secs(10), settled).unwrap();
        world
    }

    /// Simulator, seed 22778: the leader stands still, is asked to leave and has not heard it yet.
    #[test]
    fn who_was_asked_to_leave_and_is_frozen_is_as_good_as_gone() {
        for fault in [Fault::Leave(HostId(0)), Fault::Shutdown(HostId(0))] {
            let mut world = pair();
            assert!(may_lose(&world, group(), HostId(1)), "the other stays");
            world.inject(Fault::Freeze(HostId(0), Duration::from_secs(1)));
            assert!(may_lose(&world, group(), HostId(1)), "it comes back");
            world.inject(fault);
            assert!(!may_lose(&world, group(), HostId(1)), "nobody would stay");
        }
    }
}
