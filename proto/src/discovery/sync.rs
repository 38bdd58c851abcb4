//! Sync: two catalogs become one in two round trips.

use alloc::{collections::BTreeSet, vec::Vec};

use super::{
    CommandError, Discovery, PeerEntryVersion, Step, Timer,
    frames::{Holding, Listed, Message, Range},
    outlet::Mark,
};
use crate::{
    ids::{LinkId, PeerId, RequestId},
    limits,
    wire::CloseCode,
};

/// A round that we began on a link.
#[derive(Debug)]
pub(super) struct Round {
    nonce: u64,
    /// Only the fingerprint was sent so far.
    probed: bool,
    /// Who waits for its end.
    pub(super) requests: BTreeSet<RequestId>,
}

/// What to do about one peer of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Same,
    Send,
    Need,
    /// We gave it up, they did not.
    Alive,
}

impl Discovery {
    /// Handles a frame of the peer at the other end of a link.
    pub(super) fn received(&mut self, link: LinkId, message: Message, step: &mut Step<'_>) {
        match message {
            Message::Have { range, holdings } => self.answer_have(link, range, &holdings, step),
            Message::Need { nonce, last, peers } => {
                self.answer_need(link, nonce, last, peers, step)
            }
            Message::Items(items) => {
                for item in items {
                    self.merge_item(item, link, step);
                }
            }
            Message::Probe { nonce, fingerprint } => {
                let equal = fingerprint == self.catalog.fingerprint();
                let mark = if equal { Mark::Synced(nonce) } else { Mark::List(nonce) };
                self.mark(link, mark, step);
            }
            Message::List(nonce) => self.answer_list(link, nonce),
            Message::Done(nonce) => self.mark(link, Mark::Synced(nonce), step),
            Message::Synced(nonce) => self.round_over(link, nonce, step),
            Message::Suspect { peer, version } => self.suspected(peer, version, step),
        }
    }

    /// Begins a round, unless one is under way: then the next begins at its end.
    pub(super) fn begin_round(&mut self, link: LinkId, step: &mut Step<'_>) {
        let Some(outlet) = self.outlets.get_mut(&link) else { return };
        if self.rounds.contains_key(&link) {
            return;
        }
        let nonce = self.rng.next_u64();
        let requests = self.requests.attach(outlet.peer);
        // Nobody waits, and the list is long: mostly the other end knows the same.
        let probe = requests.is_empty() && self.catalog.held_count() > limits::SYNC_PROBE;
        outlet.begin(nonce, probe);
        self.ready.insert(link);
        self.rounds.insert(link, Round { nonce, requests, probed: probe });
        self.timers.set(Timer::Round(link), Some(step.now.mono + limits::SYNC_TIMEOUT));
    }

    /// A round was not answered in time. Requests have deadlines of their own.
    pub(super) fn round_timed_out(&mut self, link: LinkId, step: &mut Step<'_>) {
        if self.rounds.remove(&link).is_some() {
            self.begin_round(link, step);
        }
    }

    /// News of a link was not taken: it is asked for all that it has, once there is room again.
    pub(super) fn repair_later(&mut self, link: LinkId, step: &mut Step<'_>) {
        if self.timers.at(&Timer::Repair(link)).is_none() {
            self.timers.set(Timer::Repair(link), Some(step.now.mono + limits::SYNC_TIMEOUT));
        }
    }

    /// A link ended: its round ends with it. Each request gets a second try (DISC-13).
    pub(super) fn abandon_round(&mut self, link: LinkId, step: &mut Step<'_>) {
        self.timers.cancel(&Timer::Round(link));
        self.timers.cancel(&Timer::Repair(link));
        let Some(round) = self.rounds.remove(&link) else { return };
        for request in round.requests {
            if !self.requests.try_again(request) {
                self.finish(request, Err(CommandError::LinkLost), step);
            }
        }
    }

    fn round_over(&mut self, link: LinkId, nonce: u64, step: &mut Step<'_>) {
        if self.rounds.get(&link).is_none_or(|round| round.nonce != nonce) {
            return;
        }
        self.timers.cancel(&Timer::Round(link));
        let Some(round) = self.rounds.remove(&link) else { return };
        for request in round.requests {
            self.finish(request, Ok(()), step);
        }
        let peer = self.outlets.get(&link).map(|outlet| outlet.peer);
        if peer.is_some_and(|peer| self.requests.waits(peer)) {
            self.begin_round(link, step);
        }
    }

    /// The responder: promises what is missing or older in the list, and asks for what is newer.
    fn answer_have(
        &mut self,
        link: LinkId,
        range: Range,
        holdings: &[Holding],
        step: &mut Step<'_>,
    ) {
        let mut send = Vec::new();
        let mut need = Vec::new();
        let mut alive = Vec::new();
        let mut theirs = holdings.iter().peekable();
        let mut walked = holdings.len() as u64;
        for peer in self.catalog.range(range.after, range.upto) {
            walked += 1;
            while let Some(unknown) = theirs.next_if(|(other, ..)| *other < peer) {
                need.extend(wanted(unknown));
            }
            let listed = theirs.next_if(|(other, ..)| *other == peer);
            match self.compare(&peer, listed.map(|(_, version, listed)| (*version, *listed)), step)
            {
                Verdict::Same => {}
                Verdict::Send => send.push(peer),
                Verdict::Need => need.push(peer),
                Verdict::Alive => alive.push(peer),
            }
        }
        need.extend(theirs.filter_map(wanted));
        let Some(outlet) = self.outlets.get_mut(&link) else { return };
        if !outlet.charge(step.now.mono, walked) {
            return self.close(link, CloseCode::BUSY, step);
        }
        send.into_iter().for_each(|peer| outlet.promise(peer));
        self.ready.insert(link);
        if range.last || !need.is_empty() {
            let mark = Mark::Need { nonce: range.nonce, last: range.last, peers: need };
            self.mark(link, mark, step);
        }
        alive.into_iter().for_each(|peer| self.rumoured_alive(peer, step));
    }

    fn compare(
        &self,
        peer: &PeerId,
        theirs: Option<(PeerEntryVersion, Listed)>,
        step: &Step<'_>,
    ) -> Verdict {
        let mine = self.catalog.listed(step.now, peer).map(|(_, listed)| listed);
        let Some((version, theirs)) = theirs else {
            let known = matches!(mine, Some(Listed::Entry | Listed::Tombstone));
            return if known { Verdict::Send } else { Verdict::Same };
        };
        let ended = matches!(theirs, Listed::Tombstone | Listed::Floor);
        let rank = Some((version, ended));
        let ours = self.catalog.rank(peer);
        if ours > rank {
            Verdict::Send
        } else if ours < rank {
            let given = matches!(theirs, Listed::Entry | Listed::Tombstone);
            if given { Verdict::Need } else { Verdict::Same }
        } else {
            match (theirs, mine) {
                (Listed::Down, Some(Listed::Entry)) => Verdict::Send,
                (Listed::Entry, Some(Listed::Down)) => Verdict::Alive,
                _ => Verdict::Same,
            }
        }
    }

    /// The initiator: the fingerprints differ, so the list goes out after all.
    fn answer_list(&mut self, link: LinkId, nonce: u64) {
        let round = self.rounds.get_mut(&link).filter(|round| round.nonce == nonce);
        let asked = round.is_some_and(|round| core::mem::replace(&mut round.probed, false));
        if let (true, Some(outlet)) = (asked, self.outlets.get_mut(&link)) {
            outlet.begin(nonce, false);
            self.ready.insert(link);
        }
    }

    /// The initiator: promises what the responder wants, and says when that was all.
    fn answer_need(
        &mut self,
        link: LinkId,
        nonce: u64,
        last: bool,
        peers: Vec<PeerId>,
        step: &mut Step<'_>,
    ) {
        if self.rounds.get(&link).is_none_or(|round| round.nonce != nonce) {
            return;
        }
        let Some(outlet) = self.outlets.get_mut(&link) else { return };
        if !outlet.charge(step.now.mono, peers.len() as u64) {
            return self.close(link, CloseCode::BUSY, step);
        }
        for peer in peers {
            if self.catalog.rank(&peer).is_some() {
                outlet.promise(peer);
            }
        }
        self.ready.insert(link);
        if last {
            self.mark(link, Mark::Done(nonce), step);
        }
    }

    fn mark(&mut self, link: LinkId, mark: Mark, step: &mut Step<'_>) {
        let Some(outlet) = self.outlets.get_mut(&link) else { return };
        if outlet.mark(mark) {
            self.ready.insert(link);
        } else {
            self.close(link, CloseCode::BUSY, step);
        }
    }
}

/// A listed peer of whom we know nothing: wanted, if the list's sender gives it.
const fn wanted((peer, _, listed): &Holding) -> Option<PeerId> {
    match listed {
        Listed::Entry | Listed::Tombstone => Some(*peer),
        Listed::Down | Listed::Floor => None,
    }
}
