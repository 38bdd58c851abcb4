//! What the application asked for and waits for.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use super::{
    Action, Change, Command, CommandError, Discovery, EndpointAddr, Step, Timer,
    admit::{Candidate, Refused},
    merge::Source,
    wants::Why,
};
use crate::{
    ids::{PeerId, RequestId},
    limits,
};

/// The `sync_with` calls that wait.
#[derive(Debug, Default)]
pub(super) struct Requests {
    waiting: BTreeMap<RequestId, Waiting>,
    by_peer: BTreeSet<(PeerId, RequestId)>,
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    peer: PeerId,
    /// A round that began after the call is under way.
    attached: bool,
    /// A link was lost during such a round.
    lost: bool,
}

impl Requests {
    fn insert(&mut self, request: RequestId, peer: PeerId) -> bool {
        let room = self.waiting.len() < limits::REQUESTS;
        if room {
            self.waiting.insert(request, Waiting { peer, attached: false, lost: false });
            self.by_peer.insert((peer, request));
        }
        room
    }

    fn remove(&mut self, request: RequestId) -> Option<Waiting> {
        let waiting = self.waiting.remove(&request)?;
        self.by_peer.remove(&(waiting.peer, request));
        Some(waiting)
    }

    pub(super) fn of(&self, peer: PeerId) -> impl Iterator<Item = RequestId> {
        let range = (peer, RequestId(0))..=(peer, RequestId(u64::MAX));
        self.by_peer.range(range).map(|(_, request)| *request)
    }

    /// True if a request waits for a round with this peer that did not begin yet.
    pub(super) fn waits(&self, peer: PeerId) -> bool {
        self.of(peer).any(|request| !self.waiting[&request].attached)
    }

    /// A round with this peer begins: who waits for one waits for this one.
    pub(super) fn attach(&mut self, peer: PeerId) -> BTreeSet<RequestId> {
        let mut attached: BTreeSet<RequestId> = self.of(peer).collect();
        attached.retain(|request| {
            self.waiting
                .get_mut(request)
                .is_some_and(|waiting| !core::mem::replace(&mut waiting.attached, true))
        });
        attached
    }

    /// The link was lost. False if that happens to the request for the second time.
    pub(super) fn try_again(&mut self, request: RequestId) -> bool {
        let Some(waiting) = self.waiting.get_mut(&request) else { return true };
        waiting.attached = false;
        !core::mem::replace(&mut waiting.lost, true)
    }
}

impl Discovery {
    /// The application asks for something.
    pub(super) fn command(&mut self, request: RequestId, command: Command, step: &mut Step<'_>) {
        let result = match command {
            _ if self.departing => Err(CommandError::ShuttingDown),
            Command::Dial(peers) => self.dial(peers, step),
            Command::SyncWith(peer) => return self.sync_with(request, peer, step),
            Command::Feed(entry) => {
                // The host shows a fed entry before we see it; if we do not take it, it is told what
                // to show instead. A known one is no error.
                let peer = entry.id();
                if self.merge_entry(Candidate::Signed(entry), Source::Feed, step).is_err() {
                    self.republish(peer, step);
                }
                Ok(())
            }
            Command::Insert(entry) => {
                let peer = entry.id();
                match self.catalog.insert_unsigned(entry.clone()) {
                    Ok(true) => {
                        step.out.push(Action::Publish(Change::Unsigned(entry)));
                        step.out.push(Action::Changed(peer));
                        Ok(())
                    }
                    Err(Refused::Full) => Err(CommandError::Busy),
                    Ok(false) | Err(_) => Ok(()),
                }
            }
            Command::Remove(peer) => {
                if self.catalog.remove_unsigned(&peer) {
                    unsigned_gone(peer, step);
                }
                Ok(())
            }
            Command::ClearUnsigned => {
                self.catalog
                    .clear_unsigned()
                    .into_keys()
                    .for_each(|peer| unsigned_gone(peer, step));
                Ok(())
            }
        };
        step.out.push(Action::Reply { request, result });
    }

    /// Peers that the application names are wanted from now on.
    pub(super) fn dial(
        &mut self,
        peers: Vec<EndpointAddr>,
        step: &mut Step<'_>,
    ) -> Result<(), CommandError> {
        for peer in peers {
            if peer.id == self.me {
                continue;
            }
            if !self.wants.has(&peer.id, Why::Named) {
                if self.named >= limits::DIALED_PEERS {
                    return Err(CommandError::Busy);
                }
                self.named += 1;
            }
            self.wants.add(peer.id, Why::Named, peer.addrs.into_iter().collect(), step.out);
        }
        Ok(())
    }

    fn sync_with(&mut self, request: RequestId, peer: EndpointAddr, step: &mut Step<'_>) {
        let EndpointAddr { id, addrs } = peer;
        if id == self.me {
            return step.out.push(Action::Reply { request, result: Ok(()) });
        }
        if !self.requests.insert(request, id) {
            let result = Err(CommandError::Busy);
            return step.out.push(Action::Reply { request, result });
        }
        self.timers.set(Timer::Request(request), Some(step.now.mono + limits::SYNC_TIMEOUT));
        self.wants.add(id, Why::Sync, addrs.into_iter().collect(), step.out);
        if let Some(link) = self.links.get(&id).copied() {
            self.begin_round(link, step);
        }
    }

    /// Answers a request.
    pub(super) fn finish(
        &mut self,
        request: RequestId,
        result: Result<(), CommandError>,
        step: &mut Step<'_>,
    ) {
        if self.drop_request(request, step).is_some() {
            step.out.push(Action::Reply { request, result });
        }
    }

    /// The application does not wait any more.
    pub(super) fn cancel(&mut self, request: RequestId, step: &mut Step<'_>) {
        self.drop_request(request, step);
    }

    /// A request was not answered in time.
    pub(super) fn request_timed_out(&mut self, request: RequestId, step: &mut Step<'_>) {
        if let Some(waiting) = self.drop_request(request, step) {
            let error =
                if waiting.lost { CommandError::LinkLost } else { CommandError::Unreachable };
            step.out.push(Action::Reply { request, result: Err(error) });
        }
    }

    /// A peer said that it is of another network: nothing is exchanged, and nothing is wrong.
    pub(super) fn is_foreign(&mut self, peer: PeerId, step: &mut Step<'_>) {
        let requests: Vec<RequestId> = self.requests.of(peer).collect();
        requests.into_iter().for_each(|request| self.finish(request, Ok(()), step));
        self.end_hint(peer, step);
    }

    /// The node shuts down.
    pub(super) fn refuse_requests(&mut self, step: &mut Step<'_>) {
        let requests: Vec<RequestId> = self.requests.waiting.keys().copied().collect();
        for request in requests {
            self.finish(request, Err(CommandError::ShuttingDown), step);
        }
    }

    fn drop_request(&mut self, request: RequestId, step: &mut Step<'_>) -> Option<Waiting> {
        let waiting = self.requests.remove(request)?;
        self.timers.cancel(&Timer::Request(request));
        if self.requests.of(waiting.peer).next().is_none() {
            self.wants.release(waiting.peer, Why::Sync, step.out);
        }
        Some(waiting)
    }
}

fn unsigned_gone(peer: PeerId, step: &mut Step<'_>) {
    step.out.push(Action::Publish(Change::UnsignedGone(peer)));
    step.out.push(Action::Changed(peer));
}
