//! Random schedules. After each: the faults end, and the group must serve with everything that was
//! acknowledged.

use std::{collections::BTreeSet, ops::Range, time::Duration};

use mosaik_proto::{
    groups::{GroupConfig, Input, Notice, Outcome},
    ids::RequestId,
};

use crate::cluster::{Cluster, Host, config};

const SECOND: Duration = Duration::from_secs(1);

/// What a walk may do.
#[derive(Clone, Copy, Debug)]
struct Plan {
    hosts: usize,
    durable: bool,
    /// Everybody votes and something is committed before the first fault.
    formed: bool,
    /// Any host may die at any time; else only one that nobody needs.
    crashes: bool,
    /// Stores are lost, one at a time.
    wipes: bool,
    /// Members leave and come back, and change their role.
    churn: bool,
}

const PLAN: Plan =
    Plan { hosts: 3, durable: false, formed: true, crashes: false, wipes: false, churn: false };

fn walk(seed: u64, plan: Plan, steps: usize) {
    if std::env::var("VERBOSE").is_ok() {
        eprintln!("seed {seed}");
    }
    let member = |_| GroupConfig {
        durable: plan.durable,
        max_voters: 7,
        snapshots: seed % 2 == 1,
        snapshot_after: 1_200,
        log_tail: 300,
        digests: seed % 4 == 1,
        ..config()
    };
    let mut cluster = if plan.formed {
        let mut cluster = Cluster::new(seed, plan.hosts, member);
        cluster.until("a leader", SECOND, Cluster::is_formed);
        cluster.execute(0);
        cluster.until("everybody votes", 10 * SECOND, Cluster::is_settled);
        cluster.run(Duration::from_millis(100));
        cluster
    } else {
        Cluster::apart(seed, plan.hosts, member)
    };
    for _ in 0..steps {
        act(&mut cluster, plan);
        let pause = cluster.rng.below(300);
        cluster.run(Duration::from_millis(pause));
    }
    calm(&mut cluster, plan, seed);
}

fn act(cluster: &mut Cluster, plan: Plan) {
    let mut pick = || cluster.rng.below(plan.hosts as u64) as usize;
    let (at, other) = (pick(), pick());
    match cluster.rng.below(100) {
        0..45 if cluster.is_open(at) => {
            let count = 1 + cluster.rng.below(8) as u32;
            cluster.execute_many(at, count);
        }
        45..53 => cluster.unlink(at, other),
        53..64 => cluster.link(at, other),
        64..69 => cluster.partition(&[at, other]),
        69..76 => cluster.heal(),
        76..82 if may_crash(cluster, plan, at) => {
            cluster.crash(at);
            let alone = (0..plan.hosts).all(|host| host == at || cluster.hosts[host].is_up());
            if plan.wipes && alone && cluster.rng.chance(500_000) {
                cluster.wipe(at);
            }
        }
        82..92 if !cluster.hosts[at].is_up() => cluster.start(at),
        92..95 => {
            let to = cluster.rng.chance(500_000).then(|| crate::cluster::peer(other));
            cluster.input(at, Input::Transfer { request: RequestId(1), to });
        }
        95..97 if plan.churn && quiet(cluster) => {
            cluster.input(at, Input::Leave);
        }
        97..98 if plan.churn && quiet(cluster) => {
            let may = !cluster.hosts[at].config.can_vote;
            cluster.hosts[at].config.can_vote = may;
            cluster.input(at, Input::CanVote(may));
        }
        98..100 if cluster.hosts[at].closed => cluster.again(at),
        _ => {}
    }
}

/// Nobody is away, and everybody has everything.
fn quiet(cluster: &Cluster) -> bool {
    let here = |host: &Host| host.is_up() && !host.closed && host.config.can_vote;
    cluster.hosts.iter().all(here) && cluster.is_settled()
}

fn may_crash(cluster: &Cluster, plan: Plan, at: usize) -> bool {
    let spare = quiet(cluster) && plan.hosts > 2;
    cluster.hosts[at].is_up() && if plan.crashes { true } else { spare }
}

fn calm(cluster: &mut Cluster, plan: Plan, seed: u64) {
    for at in 0..plan.hosts {
        if !cluster.hosts[at].is_up() {
            cluster.start(at);
        } else if cluster.hosts[at].closed {
            cluster.again(at);
        }
        if !cluster.hosts[at].config.can_vote {
            cluster.hosts[at].config.can_vote = true;
            cluster.input(at, Input::CanVote(true));
        }
    }
    cluster.heal();
    let all_told = |cluster: &Cluster| {
        cluster.executed.iter().all(|(command, at)| {
            cluster.hosts[*at].outcomes.contains_key(command) || cluster.is_forgotten(*command)
        })
    };
    let lost = |host: &Host| {
        let lost = |notice: &Notice| matches!(notice, Notice::Superseded { .. });
        host.notices.iter().any(lost)
    };
    cluster.run(5 * SECOND);
    // Who was leaving has left meanwhile.
    for at in 0..plan.hosts {
        if cluster.hosts[at].closed {
            cluster.again(at);
        }
    }
    // Who founds with a store, alone, has a history that never yields: an operator has to choose.
    let conflicts = |host: &Host| {
        let conflict = |notice: &Notice| matches!(notice, Notice::Conflict(_));
        host.notices.iter().any(conflict)
    };
    if (!plan.formed || plan.wipes) && cluster.hosts.iter().any(conflicts) {
        return;
    }
    cluster.until(&format!("seed {seed}: every command ends"), 40 * SECOND, all_told);
    let serves = |cluster: &Cluster| cluster.is_formed() && cluster.is_even();
    cluster.until(&format!("seed {seed}: one leader"), 40 * SECOND, serves);
    let leader = cluster.leader().unwrap();
    let last = cluster.execute(leader);
    let all_vote = |cluster: &Cluster| {
        let applied = cluster.hosts[0].machine.commands().contains(&last);
        cluster.committed(leader, last) && applied && cluster.is_full() && cluster.is_even()
    };
    cluster.until(&format!("seed {seed}: everybody serves"), 40 * SECOND, all_vote);
    let applied = cluster.hosts[0].machine.commands().to_vec();
    let once: BTreeSet<_> = applied.iter().copied().collect();
    assert_eq!(once.len(), applied.len(), "seed {seed}: no command twice");
    for (command, at) in &cluster.executed {
        match cluster.hosts[*at].outcomes.get(command) {
            Some(Outcome::Committed { .. }) => {
                // Who founded a history of its own, alone and in memory, may lose that (GRP-13).
                let excused = !plan.durable && lost(&cluster.hosts[*at]);
                assert!(excused || once.contains(command), "seed {seed}: {command} is lost");
            }
            Some(Outcome::Rejected(_)) => {
                assert!(!once.contains(command), "seed {seed}: {command} was rejected");
            }
            Some(Outcome::Unknown) | None => {}
        }
    }
}

/// A kind of walk.
pub(crate) struct Walk {
    pub(crate) name: &'static str,
    plan: Plan,
    steps: usize,
}

impl Walk {
    pub(crate) fn run(&self, seed: u64) {
        walk(seed, self.plan, self.steps);
    }
}

macro_rules! walks {
    ($($name:ident: $steps:literal, $plan:expr;)*) => {
        /// Every kind.
        #[allow(dead_code, reason = "only mutants need all of them")]
        pub(crate) const WALKS: &[Walk] =
            &[$(Walk { name: stringify!($name), plan: $plan, steps: $steps }),*];

        $(#[test]
        fn $name() {
            seeds().for_each(|seed| walk(seed, $plan, $steps));
        })*
    };
}

walks! {
    three_with_stores_crash_at_will: 60, Plan { durable: true, crashes: true, ..PLAN };
    five_with_stores_crash_at_will: 60, Plan { hosts: 5, durable: true, crashes: true, ..PLAN };
    three_with_stores_lose_one: 60, Plan { durable: true, wipes: true, ..PLAN };
    three_in_memory_one_at_a_time: 60, PLAN;
    six_in_memory_one_at_a_time: 60, Plan { hosts: 6, ..PLAN };
    three_in_memory_come_and_go: 80, Plan { churn: true, ..PLAN };
    three_in_memory_begin_apart: 60, Plan { formed: false, ..PLAN };
    four_in_memory_begin_apart: 60, Plan { hosts: 4, formed: false, ..PLAN };
    three_with_stores_begin_apart: 60,
        Plan { durable: true, crashes: true, formed: false, ..PLAN };
}

fn seeds() -> Range<u64> {
    let first = std::env::var("SEED").ok().and_then(|seed| seed.parse().ok());
    let count = std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(40);
    first.map_or(0..count, |first| first..first + 1)
}
