//! Behind the faults: the group serves again, and nothing is lost.

use mosaik_proto::{ids::GroupId, raft::Lineage, time::Instant};

use super::{FRESH, Losses, SERVES, operator::Operator, writers};
use crate::{checkers::groups::Judged, host::Op, verdict::Failure, world::World};

/// What came out.
#[derive(Debug)]
pub(super) struct End {
    pub(super) served: Instant,
    pub(super) judged: Judged,
    pub(super) losses: Losses,
    pub(super) operator: bool,
}

pub(super) fn end(world: &mut World, group: GroupId, strict: bool) -> Result<End, Failure> {
    let (served, operator) = serve(world, group)?;
    fresh(world, group)?;
    world.stop_clients();
    let limit = world.now() + FRESH;
    world.run_until_holds(limit, |world| {
        world.group_serves(group)?;
        match world.clients_waiting(group) {
            0 => Ok(()),
            waiting => Err(format!("{waiting} clients have no answer")),
        }
    })?;
    // It stops at the first.
    world.nothing_is_lost(group).map_err(|what| Failure::Lost { commands: 1, what })?;
    let lineage = lineage(world, group).ok_or_else(|| Failure::safety("no history is left"))?;
    let losses = losses(world, group, &operator)?;
    let operator = operator.asked > 0;
    if strict && (losses != Losses::default() || operator) {
        let what = format!("commands are lost, with an excuse: {losses:?}; operator: {operator}");
        return Err(Failure::Safety(what));
    }
    let checkers = &world.checkers().groups;
    let judged = if checkers.is_fork(lineage) {
        Judged::default()
    } else {
        checkers.history.judge(group, lineage).map_err(Failure::Safety)?
    };
    Ok(End { served, judged, losses, operator })
}

/// Everybody is there and online; machines may still be on their way, since clients go on.
fn online(world: &World, group: GroupId) -> Result<(), String> {
    let mut lineage = None;
    for host in world.hosts() {
        if world.is_ending(host) || !world.is_running(host) {
            // It starts again. What it is asked for before ends with it, and what it holds is missing.
            return Err(format!("{host} is about to start"));
        }
        let status = world.group_status(host, group);
        let status = status.ok_or_else(|| format!("{host} takes no part"))?;
        if !status.online {
            return Err(format!("{host} is not online: {:?}", status.blocked));
        }
        if *lineage.get_or_insert(status.lineage) != status.lineage {
            return Err(format!("{host} has another history"));
        }
    }
    Ok(())
}

/// Every member executes a command, which comes into force.
fn fresh(world: &mut World, group: GroupId) -> Result<(), Failure> {
    let limit = world.now() + FRESH;
    let mut commands = Vec::new();
    for host in writers(world, group) {
        let command = world.execute_command(host, group, 0, Op::Put(u64::MAX - host.0 as u64));
        let command = command.ok_or_else(|| Failure::Liveness(format!("{host} takes nothing")))?;
        commands.push(command);
    }
    world.run_until_holds(limit, |world| {
        for host in world.hosts().filter(|host| world.is_running(*host)) {
            if let Some(missing) = commands.iter().find(|one| !world.group_has(host, group, **one))
            {
                return Err(format!("{host} has not applied the fresh command {missing}"));
            }
        }
        Ok(())
    })?;
    Ok(())
}

fn lineage(world: &World, group: GroupId) -> Option<Lineage> {
    world.hosts().find_map(|host| world.group_status(host, group)?.lineage)
}

/// Commands that clients were told are in force in histories that are not there any more, and that no
/// other history took over. That is excused if such a history never had a second voter, nor a disk
/// (decisions §4, Rivals), or if an operator gave up that very one (Rivals, Restart).
fn losses(world: &World, group: GroupId, operator: &Operator) -> Result<Losses, Failure> {
    let checkers = &world.checkers().groups;
    let member = world.hosts().find(|host| world.group_status(*host, group).is_some());
    let member = member.ok_or_else(|| Failure::safety("no history is left"))?;
    let lineage = world.group_status(member, group).and_then(|status| status.lineage);
    let mut losses = Losses::default();
    let mut unexcused = (0, String::new());
    for other in checkers.lineages().into_iter().filter(|other| Some(*other) != lineage) {
        let has = |command| world.group_has(member, group, command);
        let lost = checkers.in_force(other).filter(|(command, _)| !has(*command)).count() as u64;
        if !checkers.had_second_voter(other) && !checkers.has_disk(other) {
            losses.superseded += lost;
        } else if operator.gave_up(other) {
            losses.given_up += lost;
        } else if lost > 0 {
            let what = format!("{other:?} had more than one voter, or a disk");
            unexcused = (unexcused.0 + lost, what);
        }
    }
    match unexcused {
        (0, _) => Ok(losses),
        (commands, what) => Err(Failure::Lost { commands, what }),
    }
}

/// Waits until everybody is online in one history. What the group cannot do by itself an operator does,
/// in rounds: what one round mends shows what the next has to.
fn serve(world: &mut World, group: GroupId) -> Result<(Instant, Operator), Failure> {
    let limit = world.now() + SERVES;
    let mut operator = Operator::default();
    let mut patience = SERVES / 4;
    loop {
        let until = limit.min(world.now() + patience);
        match world.run_until_holds(until, |world| online(world, group)) {
            Ok(served) => return Ok((served, operator)),
            Err(Failure::Liveness(_)) if world.now() < limit => operator.round(world, group),
            Err(other) => return Err(other),
        }
        patience = SERVES / 8;
    }
}
