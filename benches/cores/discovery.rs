//! Steps of discovery alone.

use bytes::Bytes;
use mosaik_proto::{
    Core as _, Outbox,
    discovery::{Action, Config, Discovery, Env, Event, LocalEntry, frames},
    ids::{LinkId, PeerId, Side},
    links::Paths,
    rng::Rng,
    wire,
};

use crate::{
    Case, Make,
    net::{NOW, entry, network},
};

pub(crate) const CASES: &[(&str, Make)] = &[
    ("discovery/idle", || Step::case(8, What::Idle)),
    ("discovery/merge-new", || Step::case(1, What::New)),
    ("discovery/merge-update", || Step::case(1, What::Update)),
    ("discovery/merge-known", || Step::case(1, What::Known)),
    ("discovery/relay-8", || Step::case(9, What::Update)),
];

/// Peers known besides those with links.
const KNOWN: u64 = 300;

#[derive(Clone, Copy)]
enum What {
    /// A timeout when nothing is due.
    Idle,
    /// An entry of a peer that was not known. It goes to all links but one.
    New,
    /// A newer entry of a peer that was known. It goes to all links but one.
    Update,
    /// An entry that is known already.
    Known,
}

struct Step {
    core: Discovery,
    out: Outbox<Action>,
    paths: Paths,
    peer: PeerId,
    what: What,
    /// The next new peer, and the one that changes.
    next: u64,
    changing: LocalEntry,
    event: Option<Event>,
}

/// The link on which entries arrive.
const FROM: LinkId = LinkId(1);

impl Step {
    fn case(links: u64, what: What) -> Box<dyn Case> {
        let me = entry(0, None);
        let config = Config { no_automatic_bootstrap: true, ..Config::default() };
        let core = Discovery::new(config, network(), me.id(), Rng::new([1; 32]), NOW);
        let changing = entry(100, None);
        let mut step = Self {
            core,
            out: Outbox::new(),
            paths: Paths::default(),
            peer: entry(1, None).id(),
            what,
            next: 101,
            changing,
            event: None,
        };
        step.tell(Event::Local(me.signed().clone()));
        for n in 1..=links {
            let entry = entry(n, None).signed().clone();
            let (peer, link, side) = (entry.id(), LinkId(n), Side::Listener);
            step.tell(Event::Connected { peer, link, side, entry });
        }
        let event = step.frame(&step.changing);
        step.tell(event);
        for _ in 0..KNOWN {
            let event = step.newcomer();
            step.tell(event);
        }
        assert_eq!(step.core.catalog().peers().count() as u64, KNOWN + 1 + links);
        Box::new(step)
    }

    fn newcomer(&mut self) -> Event {
        let entry = entry(self.next, None);
        self.next += 1;
        self.frame(&entry)
    }

    /// A frame of one item. An entry is the item of number 0.
    fn frame(&self, entry: &LocalEntry) -> Event {
        let payload: Bytes = wire::encode(&(0_u8, entry.signed()));
        Event::Frame { peer: self.peer, link: FROM, kind: frames::ITEMS, payload }
    }

    fn tell(&mut self, event: Event) {
        self.core.handle(Env { now: NOW, paths: &self.paths }, event, &mut self.out);
        self.carry();
    }

    /// The transport takes everything at once.
    fn carry(&mut self) {
        while !self.out.is_empty() {
            for action in self.out.drain().collect::<Vec<_>>() {
                assert!(!matches!(action, Action::Close { .. }), "a violation");
                if let Action::Send { link, payload, .. } = action {
                    let bytes = (payload.len() + wire::HEADER_LEN) as u32;
                    let event = Event::Drained { link, bytes };
                    self.core.handle(Env { now: NOW, paths: &self.paths }, event, &mut self.out);
                }
            }
        }
        if self.core.deadline().is_some_and(|at| at <= NOW.mono) {
            self.tell(Event::Timeout);
        }
    }
}

impl Case for Step {
    fn per_step(&self) -> u32 {
        if matches!(self.what, What::Idle) { 64 } else { 1 }
    }

    fn prepare(&mut self) {
        self.carry();
        self.event = match self.what {
            What::Idle => None,
            What::New => Some(self.newcomer()),
            What::Update => {
                self.changing.raise(NOW.wall, self.changing.signed().update_version());
                Some(self.frame(&self.changing))
            }
            What::Known => Some(self.frame(&self.changing)),
        };
    }

    fn step(&mut self) {
        let env = Env { now: NOW, paths: &self.paths };
        match self.event.take() {
            Some(event) => self.core.handle(env, event, &mut self.out),
            None => {
                for _ in 0..64 {
                    self.core.handle(env, Event::Timeout, &mut self.out);
                }
            }
        }
    }
}
