//! Was everything as it must be?

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use super::{
    Options, PATIENCE, Store,
    clients::{Fate, Record},
    fleet::Fleet,
    lock,
    member::Reply,
    protocol::{Answer, Ask},
};
use crate::{
    linearize::{Bounds, Complaint, Effort, Register, check},
    verdict::Failure,
};

/// What was looked at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Judged {
    /// What the histories cost.
    pub effort: Effort,
    /// How long they took.
    pub took: Duration,
    /// Commands that are in force in the end.
    pub applied: u64,
}

/// Judges a run. The first failure stays, unless a worse one is found.
pub(super) fn judge(
    options: &Options,
    fleet: &Fleet<'_>,
    record: &Record,
    failure: &mut Option<Failure>,
) -> Judged {
    let mut judged = Judged::default();
    // Who failed already is not waited for.
    let settle = if failure.is_some() { PATIENCE.min(options.settle) } else { options.settle };
    let members: Vec<_> = (0..fleet.len()).filter(|at| fleet.line(*at).is_some()).collect();
    let held = final_reads(options, fleet, record, &members, settle)
        .and_then(|()| agree(fleet, &members, settle));
    let lost = match &held {
        Ok(store) => {
            judged.applied = store.commands();
            fates(record, store)
        }
        Err(_) => Ok(()),
    };
    let begin = Instant::now();
    let histories = histories(record, &mut judged.effort);
    judged.took = begin.elapsed();
    // What must never happen is said first.
    let worst = [lost, histories, held.map(drop)].into_iter().find_map(Result::err);
    let is_safety = |failure: &Option<Failure>| matches!(failure, Some(Failure::Safety(_)));
    if failure.is_none() || is_safety(&worst) {
        *failure = worst.or_else(|| failure.take());
    }
    judged
}

/// Reads every key once through every member: what was acknowledged must be there.
fn final_reads(
    options: &Options,
    fleet: &Fleet<'_>,
    record: &Record,
    members: &[usize],
    settle: Duration,
) -> Result<(), Failure> {
    let reader = options.clients as u64;
    for member in members {
        for key in 0..options.keys {
            let until = Instant::now() + settle;
            while record.read(fleet, reader, *member, key).is_none() {
                fleet.check(*member).map_err(Failure::Crash)?;
                if Instant::now() > until {
                    let what = format!("member {member} serves no read{}", fleet.describe());
                    return Err(Failure::Liveness(what));
                }
                thread::sleep(Duration::from_millis(50));
            }
        }
    }
    Ok(())
}

/// What all members hold once they agree; commands that nobody waits for may still end.
fn agree(fleet: &Fleet<'_>, members: &[usize], settle: Duration) -> Result<Store, Failure> {
    let until = Instant::now() + settle;
    let dump = |member: &usize| match fleet.line(*member)?.ask(Ask::Dump, PATIENCE) {
        Reply::Answer(Answer::Dump(_, store)) => Some(*store),
        _ => None,
    };
    loop {
        let stores: Option<Vec<_>> = members.iter().map(dump).collect();
        if let Some(stores) = &stores
            && let Some(first) = stores.first()
            && stores.iter().all(|store| store == first)
        {
            return Ok(first.clone());
        }
        if Instant::now() > until {
            return Err(match stores {
                Some(stores) => Failure::Safety(differ(&stores)),
                None => Failure::Liveness(format!("no dump{}", fleet.describe())),
            });
        }
        thread::sleep(Duration::from_millis(100));
    }
}

fn differ(stores: &[Store]) -> String {
    let counts: Vec<_> = stores.iter().map(Store::commands).collect();
    format!("members do not hold the same: {counts:?} commands")
}

/// Acknowledged: there. Refused: not there. Nothing twice.
fn fates(record: &Record, store: &Store) -> Result<(), Failure> {
    let wrong = |client: usize, number: usize, fate: Fate| {
        let is_applied = store.is_applied(client as u64, number as u64);
        match (fate, is_applied) {
            (Fate::Acknowledged, false) => Some("was acknowledged and is lost"),
            (Fate::Refused, true) => Some("was refused for certain and is in force"),
            _ => None,
        }
    };
    let mut found: Vec<String> = Vec::new();
    for (client, fates) in record.fates.iter().enumerate() {
        for (number, fate) in lock(fates).iter().enumerate() {
            if let Some(what) = wrong(client, number, *fate) {
                found.push(format!("command {number} of client {client} {what}"));
            }
        }
    }
    let twice = store.twice().iter();
    found.extend(
        twice.map(|(client, number)| {
            format!("command {number} of client {client} was applied twice")
        }),
    );
    match found.len() {
        0 => Ok(()),
        count => {
            found.truncate(8);
            Err(Failure::Safety(format!("{count} commands went wrong: {}", found.join("; "))))
        }
    }
}

/// Every key on all processors.
fn histories(record: &Record, effort: &mut Effort) -> Result<(), Failure> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(history) = record.histories.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.push(check(&Register, &lock(history), &Bounds::default()));
        }
        done
    };
    let workers = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let checked: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).flatten().collect()
    });
    let mut complaint = None;
    let count = checked.len();
    for one in checked {
        match one {
            Ok(one) => effort.add(one),
            Err(Complaint::Violation(violation)) => {
                complaint = Some(Failure::Safety(violation.to_string()));
            }
            // Not a proof of anything, and no reason to call it well.
            Err(undecided) if complaint.is_none() => {
                complaint = Some(Failure::Liveness(undecided.to_string()));
            }
            Err(Complaint::Undecided(_)) => {}
        }
    }
    if count < record.histories.len() {
        return Err(Failure::Crash("the judge did not look at every key".to_owned()));
    }
    complaint.map_or(Ok(()), Err)
}
