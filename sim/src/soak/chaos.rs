//! What happens to the members.

use std::{
    thread,
    time::{Duration, Instant},
};

use mosaik_proto::rng::Rng;

use super::{Cut, Options, damage::damage, fleet::Fleet, lock, pulse::Incident, rng};
use crate::{netns::Hosts, verdict::Failure};

/// How often members and service are looked at.
const GLANCE: Duration = Duration::from_millis(50);

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) kills: u64,
    pub(super) cuts: u64,
    pub(super) damages: u64,
    /// A member did not do its part.
    pub(super) failure: Option<Failure>,
}

/// Lets things happen for as long as the options say, then repairs everything.
pub(super) fn run(options: &Options, fleet: &Fleet<'_>) -> Done {
    let rng = rng(options.seed).fork("chaos");
    let mut chaos = Chaos { options, fleet, rng, done: Done::default() };
    let until = Instant::now() + options.time;
    let outcome = chaos.until(until).and_then(|()| fleet.all_back().map_err(Failure::Liveness));
    chaos.done.failure = outcome.err();
    chaos.done
}

struct Chaos<'a, 'b> {
    options: &'a Options,
    fleet: &'a Fleet<'b>,
    rng: Rng,
    done: Done,
}

impl Chaos<'_, '_> {
    fn until(&mut self, until: Instant) -> Result<(), Failure> {
        loop {
            let pause = self.between(self.options.every);
            if Instant::now() + pause >= until {
                return self.watch(until.saturating_duration_since(Instant::now()));
            }
            self.watch(pause)?;
            // The first blow damages a store, if any may: a short run is to have one.
            let damages = self.done.damages == 0 || self.rng.chance(250_000);
            match (self.options.cut, self.fleet.hosts()) {
                _ if self.options.damage && damages => self.lose()?,
                (Some(cut), Some(hosts)) if self.rng.chance(600_000) => self.cut_off(cut, hosts)?,
                _ => self.strike()?,
            }
        }
    }

    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let span = most.saturating_sub(least).as_nanos() as u64;
        least + Duration::from_nanos(self.rng.below(span + 1))
    }

    /// Lets time pass; nobody may end by itself, nor the group stop to serve.
    fn watch(&self, time: Duration) -> Result<(), Failure> {
        let until = Instant::now() + time;
        loop {
            for member in 0..self.fleet.len() {
                self.fleet.check(member).map_err(Failure::Crash)?;
            }
            let stalled = lock(&self.fleet.pulse).stalled(self.fleet.clock.now());
            if stalled > self.options.stall {
                let what = format!("no service for {stalled:.2?}{}", self.fleet.describe());
                return Err(Failure::Liveness(what));
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(GLANCE));
        }
    }

    /// Kills one, or several at once, and starts them one by one.
    fn strike(&mut self) -> Result<(), Failure> {
        let all = self.fleet.len();
        let count = match self.rng.below(10) {
            0 => all,
            1 | 2 => 2.min(all),
            _ => 1,
        };
        let mut members: Vec<_> = (0..all).collect();
        self.rng.shuffle(&mut members);
        for member in &members[..count] {
            self.fleet.kill(*member).map_err(Failure::Crash)?;
            self.done.kills += 1;
        }
        for member in &members[..count] {
            let down = self.between(self.options.down);
            self.watch(down)?;
            self.fleet.start(*member).map_err(Failure::Crash)?;
        }
        Ok(())
    }

    /// Kills one and damages its store. It comes back empty, is filled again and gets its seat back;
    /// before that nobody else is touched, for two of three stores are not lost at once.
    fn lose(&mut self) -> Result<(), Failure> {
        let member = self.rng.below(self.fleet.len() as u64) as usize;
        self.fleet.kill(member).map_err(Failure::Crash)?;
        self.done.kills += 1;
        let down = self.between(self.options.down);
        self.watch(down)?;
        let what = damage(&self.fleet.dir_of(member), &mut self.rng);
        let what = what.map_err(|error| Failure::Crash(format!("a directory: {error}")))?;
        self.done.damages += 1;
        self.fleet.start(member).map_err(Failure::Crash)?;
        let until = Instant::now() + self.options.settle;
        while !self.fleet.votes(member) {
            self.watch(GLANCE)?;
            if Instant::now() > until {
                let all = self.fleet.describe();
                let what = format!("member {member} does not vote again since {what}{all}");
                return Err(Failure::Liveness(what));
            }
        }
        Ok(())
    }

    /// Cuts one member off from all others, and lets it come back.
    fn cut_off(&mut self, cut: Cut, hosts: &Hosts) -> Result<(), Failure> {
        let all = self.fleet.len() as u8;
        let victim = self.rng.below(u64::from(all)) as u8;
        let others = (0..all).filter(|other| *other != victim);
        let there: Vec<_> = others.clone().map(|other| (victim, other)).collect();
        let back: Vec<_> = others.map(|other| (other, victim)).collect();
        let ways = match cut {
            Cut::TwoWay => [there, back].concat(),
            Cut::OneWay if self.rng.chance(500_000) => there,
            Cut::OneWay => back,
        };
        let route = |result: Result<(), String>| result.map_err(Failure::Crash);
        self.incident(victim, Incident::Cut);
        for (from, to) in &ways {
            route(hosts.swallow(*from, *to))?;
        }
        self.done.cuts += 1;
        let time = self.between(self.options.cut_off);
        let watched = self.watch(time);
        for (from, to) in &ways {
            route(hosts.pass(*from, *to))?;
        }
        self.incident(victim, Incident::Healed);
        watched
    }

    fn incident(&self, member: u8, incident: Incident) {
        let now = self.fleet.clock.now();
        lock(&self.fleet.pulse).incident(usize::from(member), incident, now);
    }
}
