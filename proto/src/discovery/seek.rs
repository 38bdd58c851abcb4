//! Looking for company by ourselves.

use alloc::vec::Vec;

use super::{Action, Discovery, EndpointAddr, Step, Timer, wants::Why};
use crate::{ids::PeerId, limits};

impl Discovery {
    /// The first step: named peers are wanted, and company is sought at once if so configured.
    pub(super) fn start(&mut self, step: &mut Step<'_>) {
        let bootstrap = core::mem::take(&mut self.config.bootstrap);
        // More than the limit cannot be refused to anybody here; the first ones count.
        let _ = self.dial(bootstrap, step);
        if self.config.local_discovery {
            self.seek(step);
        }
    }

    /// We got or lost company: being alone for long enough starts the search (DISC-51).
    pub(super) fn company_changed(&mut self, step: &mut Step<'_>) {
        let alone = self.links.is_empty() && self.catalog.signed_count() == 0;
        if self.sought || !alone {
            self.timers.cancel(&Timer::Seek);
        } else if self.timers.at(&Timer::Seek).is_none() {
            self.timers.set(Timer::Seek, Some(step.now.mono + limits::LONELY_AFTER));
        }
    }

    /// Looks for our network, once in a life: the host goes on by itself.
    pub(super) fn seek(&mut self, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Seek);
        if !self.sought && !self.config.no_automatic_bootstrap {
            step.out.push(Action::Seek);
        }
        self.sought = true;
    }

    /// Address books name peers: strangers among them are tried for a while (DISC-52).
    pub(super) fn found(&mut self, peers: Vec<EndpointAddr>, step: &mut Step<'_>) {
        for EndpointAddr { id, addrs } in peers {
            let known = id == self.me || self.is_linked(&id) || self.catalog.signed(&id).is_some();
            if known {
                continue;
            }
            if !self.wants.has(&id, Why::Hint) {
                if self.hints >= limits::HINTS {
                    continue;
                }
                self.hints += 1;
                self.timers.set(Timer::Hint(id), Some(step.now.mono + limits::ATTEMPT));
            }
            self.wants.add(id, Why::Hint, addrs.into_iter().collect(), step.out);
        }
    }

    /// A named stranger answered, or had its time.
    pub(super) fn end_hint(&mut self, peer: PeerId, step: &mut Step<'_>) {
        if self.wants.has(&peer, Why::Hint) {
            self.hints -= 1;
            self.timers.cancel(&Timer::Hint(peer));
            self.wants.release(peer, Why::Hint, step.out);
        }
    }
}
