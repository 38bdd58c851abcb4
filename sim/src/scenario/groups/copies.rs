//! Older copies of stores (V8): somebody copies the directory of a member that is at rest, and restores
//! it later. What it draws is of a stream of its own: all else of a seed is as without it.

use mosaik_proto::{ids::GroupId, rng::Rng, time::Instant};

use super::{pick, spare::may_roll_back, swarm::FaultCounts};
use crate::{
    swarm::millis,
    verdict::Failure,
    world::{DiskFault, Fault, World},
};

/// Somebody who copies and restores.
#[derive(Debug)]
pub(super) struct Copies {
    rng: Rng,
}

impl Copies {
    pub(super) const fn new(rng: Rng) -> Self {
        Self { rng }
    }

    /// Does something, or nothing. What comes later comes before `calm`.
    pub(super) fn act(
        &mut self,
        world: &mut World,
        group: GroupId,
        calm: Instant,
        counts: &mut FaultCounts,
    ) {
        let hosts: Vec<_> = world.hosts().filter(|host| world.has_store(*host, group)).collect();
        let Some(host) = pick(&mut self.rng, &hosts) else { return };
        let start = world.now() + millis(&mut self.rng, 1, 4_000);
        let restores = may_roll_back(world, group, host);
        let fault = match self.rng.below(6) {
            _ if !world.is_running(host) || world.has_older_copy(host, group) => return,
            0 => {
                counts.count("store copied");
                Some(DiskFault::Copy)
            }
            1 => None,
            2..5 if restores => {
                counts.count("older copy restored");
                Some(DiskFault::Restore)
            }
            _ => return,
        };
        world.inject(Fault::Crash(host));
        fault.into_iter().for_each(|fault| world.inject(Fault::Disk(host, fault)));
        if start < calm {
            world.schedule(start, Fault::Start(host));
        }
    }

    /// Nobody uses an older copy any more: everybody who was met knew better.
    pub(super) fn check(world: &World, group: GroupId) -> Result<(), Failure> {
        for host in world.hosts() {
            let seat = world.group_status(host, group).and_then(|status| status.seat);
            if seat.is_some_and(|seat| world.is_rolled_back(host, group, seat.id)) {
                return Err(Failure::safety(format_args!("{host} goes on with an older copy")));
            }
        }
        Ok(())
    }
}
