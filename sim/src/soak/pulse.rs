//! Does the group serve?

use std::{fmt, time::Duration};

/// Who is there, and when commands were acknowledged. Moments are nanoseconds.
#[derive(Debug)]
pub(super) struct Pulse {
    members: Vec<Life>,
    /// The last acknowledgement.
    last: u64,
    /// The last incident: from here on things should get better.
    since: u64,
    stalls: Stalls,
}

#[derive(Clone, Copy, Debug, Default)]
struct Life {
    runs: bool,
    cut: bool,
    /// It came back then, and has not acknowledged anything since.
    returned: Option<u64>,
}

/// How long a group did not serve although a majority was there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stalls {
    /// The longest time, from an incident or the last acknowledgement to the next.
    pub longest: Duration,
    /// When it ended.
    pub ended: Duration,
    /// The longest time from a return of a member to the first command that it acknowledged.
    pub slowest_return: Duration,
    /// How many returns ended so, rather than by another incident of the same member.
    pub returns: u64,
    /// Times over a second.
    pub over_a_second: u64,
}

impl fmt::Display for Stalls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { longest, ended, slowest_return, returns, over_a_second } = self;
        write!(
            f,
            "longest stall: {longest:.2?} (at {ended:.1?}), over a second: {over_a_second}; \
             members back: {returns}, the slowest after {slowest_return:.2?}"
        )
    }
}

/// What happens to a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Incident {
    Started,
    Killed,
    Cut,
    Healed,
}

impl Pulse {
    pub(super) fn new(members: usize) -> Self {
        Self {
            members: vec![Life::default(); members],
            last: 0,
            since: 0,
            stalls: Stalls::default(),
        }
    }

    fn has_majority(&self) -> bool {
        let there = self.members.iter().filter(|life| life.runs && !life.cut).count();
        there > self.members.len() / 2
    }

    /// Something happens to a member. Whoever waits for service waits anew.
    pub(super) fn incident(&mut self, member: usize, incident: Incident, now: u64) {
        self.end_stall(now);
        let life = &mut self.members[member];
        match incident {
            Incident::Started => *life = Life { runs: true, cut: false, returned: Some(now) },
            Incident::Killed => *life = Life { runs: false, returned: None, ..*life },
            Incident::Cut => (life.cut, life.returned) = (true, None),
            Incident::Healed => {
                (life.cut, life.returned) = (false, Some(now).filter(|_| life.runs));
            }
        }
        self.since = now;
        let waiting = self.members.iter_mut().filter_map(|life| life.returned.as_mut());
        waiting.for_each(|returned| *returned = now);
    }

    /// A command that was executed at this member is acknowledged.
    pub(super) fn acknowledged(&mut self, member: usize, now: u64) {
        self.end_stall(now);
        self.last = now;
        if let Some(returned) = self.members[member].returned.take() {
            let took = Duration::from_nanos(now - returned);
            self.stalls.slowest_return = self.stalls.slowest_return.max(took);
            self.stalls.returns += 1;
        }
    }

    /// From here on nobody expects anything.
    pub(super) fn end_stall(&mut self, now: u64) {
        let stall = self.stalled(now);
        self.stalls.over_a_second += u64::from(stall > Duration::from_secs(1));
        if stall > self.stalls.longest {
            (self.stalls.longest, self.stalls.ended) = (stall, Duration::from_nanos(now));
        }
    }

    /// For how long nothing was acknowledged although it should have been.
    pub(super) fn stalled(&self, now: u64) -> Duration {
        let since = self.last.max(self.since);
        Duration::from_nanos(if self.has_majority() { now.saturating_sub(since) } else { 0 })
    }

    /// Members that came back and have not acknowledged anything.
    pub(super) fn is_back(&self, member: usize) -> bool {
        self.members[member].returned.is_none()
    }

    pub(super) const fn stalls(&self) -> Stalls {
        self.stalls
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn pulse() -> Pulse {
        let mut pulse = Pulse::new(3);
        (0..3).for_each(|member| pulse.incident(member, Incident::Started, 0));
        (0..3).for_each(|member| pulse.acknowledged(member, SECOND));
        pulse
    }

    #[test]
    fn a_majority_that_does_not_serve_stalls() {
        let mut pulse = pulse();
        pulse.incident(0, Incident::Killed, 3 * SECOND);
        assert_eq!(pulse.stalls().longest, Duration::from_secs(2), "before the kill");
        assert_eq!(pulse.stalled(7 * SECOND), Duration::from_secs(4));
        pulse.acknowledged(1, 7 * SECOND);
        let Stalls { longest, ended, over_a_second, .. } = pulse.stalls();
        assert_eq!((longest.as_secs(), ended.as_secs(), over_a_second), (4, 7, 2));
    }

    #[test]
    fn a_minority_owes_nothing() {
        let mut pulse = pulse();
        pulse.incident(0, Incident::Killed, SECOND);
        pulse.incident(1, Incident::Cut, SECOND);
        assert_eq!(pulse.stalled(90 * SECOND), Duration::ZERO);
        pulse.incident(1, Incident::Healed, 90 * SECOND);
        assert_eq!(pulse.stalled(92 * SECOND), Duration::from_secs(2));
        pulse.acknowledged(2, 92 * SECOND);
        assert_eq!(pulse.stalls().longest, Duration::from_secs(2));
    }

    #[test]
    fn returns_are_measured_from_the_last_incident() {
        let mut pulse = pulse();
        pulse.incident(0, Incident::Killed, 2 * SECOND);
        pulse.incident(0, Incident::Started, 3 * SECOND);
        assert!(!pulse.is_back(0));
        pulse.incident(1, Incident::Killed, 5 * SECOND);
        pulse.acknowledged(2, 6 * SECOND);
        assert!(!pulse.is_back(0));
        pulse.acknowledged(0, 8 * SECOND);
        assert!(pulse.is_back(0));
        assert_eq!(pulse.stalls().slowest_return, Duration::from_secs(3));
        assert_eq!(pulse.stalls().returns, 4);
    }
}
