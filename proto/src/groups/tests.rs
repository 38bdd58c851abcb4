//! The registry: which group, whose channel, joining and leaving.

use alloc::vec::Vec;
use core::time::Duration;

use super::*;
use crate::{
    Digest,
    crypto::SecretKey,
    discovery::{Catalog, LocalEntry},
    ids::{LinkId, Side},
    links::{DownReason, Path, Paths},
    raft::{Lineage, SeatId},
    time::{Now, UnixMillis},
    wire::{self, header},
};

/// A node and one peer, which is played by the test.
struct Bench {
    groups: Groups,
    catalog: Catalog,
    paths: Paths,
    now: Now,
    peer: LocalEntry,
    out: Outbox<Action>,
}

fn config(name: &str) -> GroupConfig {
    GroupConfig::new(GroupId::from(name), Digest::from("secret"))
}

impl Bench {
    /// A node that is linked to a peer; `smaller` says which of them has the smaller id.
    fn new(smaller: bool) -> Self {
        let network = Digest::from("net");
        let entry = |key: u8| {
            LocalEntry::new(network, SecretKey::from_bytes(&[key; 32]), UnixMillis(1_000))
        };
        let (mut me, mut peer) = (entry(1), entry(2));
        if (me.id() < peer.id()) != smaller {
            (me, peer) = (peer, me);
        }
        peer.edit(UnixMillis(1_000), |draft| {
            draft.groups().extend(["a", "b"].map(GroupId::from));
        })
        .expect("small");
        let mut bench = Self {
            groups: Groups::new(me.id(), Rng::new([1; 32])),
            catalog: Catalog::new(network, me.id()),
            paths: Paths::default(),
            now: Now { mono: Instant::from_millis(1), wall: UnixMillis(1_000) },
            peer,
            out: Outbox::new(),
        };
        bench.catalog.set(bench.peer.signed().clone());
        bench
    }

    fn link(&mut self, link: u64) -> Vec<Action> {
        let peer = self.peer.id();
        let path = Path { link: LinkId(link), rtt: Duration::ZERO, side: Side::Dialer };
        self.paths.set(peer, Some(path));
        self.step(Event::Connected { peer, link: LinkId(link), binding: [link as u8; 32] })
    }

    fn step(&mut self, event: Event) -> Vec<Action> {
        let env = Env { now: self.now, catalog: &self.catalog, paths: &self.paths };
        self.groups.handle(env, event, &mut self.out);
        self.out.drain().collect()
    }

    fn join(&mut self, name: &str) -> Vec<Action> {
        let input = Input::Join(Box::new(config(name)));
        self.step(Event::Input { group: config(name).id, input })
    }

    fn leave(&mut self, name: &str) -> Vec<Action> {
        self.step(Event::Input { group: config(name).id, input: Input::Leave })
    }

    fn advance(&mut self, millis: u64) -> Vec<Action> {
        self.now.mono = self.now.mono + Duration::from_millis(millis);
        self.step(Event::Timeout)
    }

    /// What becomes of a channel of the peer on which these bytes come.
    fn say(&mut self, channel: u64, bytes: &[u8]) -> Option<CloseCode> {
        let channel = ChannelId::driver(channel);
        self.step(Event::Accepted { peer: self.peer.id(), channel });
        let chunk = Bytes::copy_from_slice(bytes);
        closed(&self.step(Event::Data { channel, chunk }), channel)
    }
}

fn closed(actions: &[Action], of: ChannelId) -> Option<CloseCode> {
    actions.iter().find_map(|action| match action {
        Action::Close { channel, code } if *channel == of => Some(*code),
        _ => None,
    })
}

fn opened(actions: &[Action]) -> Vec<ChannelId> {
    let channel = |action: &Action| match action {
        Action::Open { channel, .. } => Some(*channel),
        _ => None,
    };
    actions.iter().filter_map(channel).collect()
}

fn is_closed(actions: &[Action], name: &str) -> bool {
    actions.iter().any(|action| {
        matches!(action, Action::Output { group, output: Output::Closed } if *group == config(name).id)
    })
}

/// An `OPEN` with a proof of nothing.
fn open(name: &str, class: u8) -> Vec<u8> {
    let mut payload = wire::encode(&(config(name).id, class, 1u64)).to_vec();
    if class == 0 {
        payload.extend([7; 32 + 60]);
    }
    [&header(frames::OPEN, payload.len() as u32)[..], &payload].concat()
}

#[test]
fn grp_02_a_group_that_is_not_here_looks_like_a_wrong_proof() {
    let mut bench = Bench::new(false);
    bench.link(1);
    bench.join("a");
    for class in [0, 1, 2] {
        for (at, name) in [(0, "a"), (100, "b"), (200, "never heard of")] {
            let code = bench.say(u64::from(class) + at, &open(name, class));
            assert_eq!(code, Some(CloseCode::GROUP_NOT_FOUND), "{name} {class}");
        }
    }
    assert!(bench.groups.shared.routes.is_empty() && bench.groups.pending.is_empty());
}

/// GRP-08: the first frame is an `OPEN`, and short.
#[test]
fn grp_08_what_a_channel_begins_with() {
    let mut bench = Bench::new(false);
    bench.link(1);
    bench.join("a");
    let long = [frames::OPEN, 0xff, 0xff, 0xff, 0xff];
    let other = [frames::ANNOUNCE, 0, 0, 0, 0];
    let short = [frames::OPEN, 0, 0, 0, 1, 9];
    for (channel, bytes) in (1..).zip([&long[..], &other, &short]) {
        assert_eq!(bench.say(channel, bytes), Some(CloseCode::PROTOCOL_VIOLATION));
    }
}

/// GRP-03: a channel that says nothing is not kept.
#[test]
fn grp_03_who_says_nothing_is_closed_on() {
    let mut bench = Bench::new(false);
    bench.link(1);
    assert_eq!(bench.say(1, &open("a", 0)[..9]), None, "not all of it is here");
    let channel = ChannelId::driver(1);
    assert_eq!(closed(&bench.advance(1_999), channel), None);
    assert_eq!(closed(&bench.advance(1), channel), Some(CloseCode::GROUP_TIMEOUT));
    assert_eq!(bench.groups.deadline(), None);
    // Gone by itself, or with its link.
    bench.say(2, &[]);
    bench.step(Event::ChannelDown { channel: ChannelId::driver(2), reason: DownReason::Lost });
    bench.say(3, &[]);
    bench.step(Event::Disconnected { peer: bench.peer.id() });
    assert_eq!(bench.groups.deadline(), None);
    assert!(bench.groups.pending.is_empty() && bench.groups.shared.routes.is_empty());
}

/// Two groups of two nodes share a link, and each has a channel on it.
#[test]
fn grp_03_groups_share_a_link() {
    let mut bench = Bench::new(true);
    let joined = [bench.join("a"), bench.join("b")].concat();
    let wants = |actions: &[Action]| {
        let want = |action: &&Action| matches!(action, Action::Want(_));
        actions.iter().filter(want).count()
    };
    assert_eq!(wants(&joined), 1);
    let channels = opened(&bench.link(1));
    assert_eq!(channels.len(), 2);
    let unwants = |actions: &[Action]| {
        actions.iter().filter(|action| matches!(action, Action::Unwant(_))).count()
    };
    let left = bench.leave("a");
    assert!(is_closed(&left, "a"), "alone: at once");
    assert_eq!(unwants(&left), 0);
    let codes: Vec<_> = channels.iter().filter_map(|channel| closed(&left, *channel)).collect();
    assert_eq!(codes, [CloseCode::GRACEFUL_SHUTDOWN]);
    assert_eq!(unwants(&bench.leave("b")), 1);
    assert_eq!(bench.groups.deadline(), None, "nothing is left");
}

/// A link that takes the place of another, of which nobody was told that it is gone.
#[test]
fn grp_02_a_proof_does_not_outlive_its_link() {
    let mut bench = Bench::new(true);
    bench.join("a");
    let before = opened(&bench.link(1));
    let after = bench.link(2);
    assert_eq!(opened(&after).len(), 1);
    assert!(closed(&after, before[0]).is_some());
    assert_eq!(bench.groups.shared.routes.len(), 1);
}

#[test]
fn the_end_of_the_node_is_the_end_of_its_groups() {
    let mut bench = Bench::new(true);
    bench.join("a");
    bench.join("b");
    let actions = bench.step(Event::Shutdown);
    assert!(is_closed(&actions, "a") && is_closed(&actions, "b"));
    let left = |action: &&Action| matches!(action, Action::Left);
    assert_eq!(actions.iter().filter(left).count(), 1);
    assert!(matches!(actions.last(), Some(Action::Left)), "behind everything else");
}

/// NODE-02: while the farewell goes out nothing begins that it would have to wait for.
#[test]
fn node_02_nothing_is_joined_behind_the_end() {
    for joined in [false, true] {
        let mut bench = Bench::new(true);
        if joined {
            bench.join("a");
        }
        let actions = bench.step(Event::Shutdown);
        assert!(matches!(actions.last(), Some(Action::Left)), "there are none any more");
        let late = bench.join("a");
        assert!(is_closed(&late, "a") && late.len() == 1, "it ends at once: {late:?}");
        assert!(bench.groups.groups.is_empty());
    }
}

/// A host may join again before it heard that it left.
#[test]
fn a_group_can_be_joined_again() {
    let mut bench = Bench::new(true);
    let durable = || Box::new(GroupConfig { durable: true, ..config("a") });
    let group = config("a").id;
    bench.step(Event::Input { group, input: Input::Join(durable()) });
    let (seat, stored) = (SeatId([1; 16]), crate::raft::Stored::default());
    let loaded = Loaded { seat, boot: 1, boots: Vec::new(), stored, snapshot: None };
    bench.step(Event::Input { group, input: Input::Loaded(Box::new(loaded)) });
    // It founds, and has a command that is not written yet: leaving takes a moment.
    bench.advance(10_000);
    let mut data = Vec::new();
    crate::streams::item::append(&mut data, b"command");
    let input = Input::Execute { first: 0, count: 1, data: data.into() };
    bench.step(Event::Input { group, input });
    assert!(!is_closed(&bench.leave("a"), "a"));
    bench.step(Event::Input { group, input: Input::Join(durable()) });
    assert!(bench.groups.groups[&group].seat.is_some(), "still the first");
    assert!(is_closed(&bench.advance(1_000), "a"));
    assert!(bench.groups.groups[&group].seat.is_none(), "it waits for its store again");
    // Another leave is for that one.
    assert!(is_closed(&bench.leave("a"), "a"));
    assert!(bench.groups.groups.is_empty() && bench.groups.again.is_empty());
}

/// A peer that proves the key, leads a lineage and is bonded with.
fn bonded(bench: &mut Bench) -> ChannelId {
    let announcement = frames::Announcement {
        lineage: Some(Lineage([7; 16])),
        seat: SeatId([9; 16]),
        boot: 0,
        start: 1,
        can_vote: true,
        holds: true,
        leads: true,
        follows: None,
        established: true,
        commands: 1,
        end: crate::raft::Position::default(),
        parent: None,
        left: false,
    };
    let (config, channel) = (config("a"), ChannelId::driver(1));
    let said = wire::encode(&announcement);
    let prover = key::Prover::new(config.id, &config.secret);
    let proof = prover.proof(&[1; 32], &bench.peer.id(), key::End::Opener, &said);
    let open = frames::Open { group: config.id, class: frames::Class::Bond, serial: 1 };
    let sealed = [&proof.as_bytes()[..], &said].concat();
    bench.step(Event::Accepted { peer: bench.peer.id(), channel });
    let mut bytes = Vec::new();
    let mut sink = |head: wire::Head, body: Bytes| bytes.extend([head.as_slice(), &body].concat());
    frames::put_open(&open, &sealed, &mut Vec::new(), &mut sink);
    frames::put_ready(&mut sink);
    bench.step(Event::Data { channel, chunk: bytes.into() });
    channel
}

/// GRP-08: the leader hears of a member that is receiving a large entry, whose heartbeats wait behind it.
#[test]
fn grp_08_who_receives_a_large_entry_says_so() {
    let mut bench = Bench::new(false);
    bench.join("a");
    bench.link(1);
    let channel = bonded(&mut bench);
    let append = |bytes: usize| {
        let (term, index) = (crate::raft::Term(1), crate::raft::LogIndex(0));
        let prev = crate::raft::Position::default();
        let (kind, data) = (crate::raft::Kind::Control, Bytes::from(alloc::vec![1; bytes]));
        let run = crate::raft::Run::empty(term, index.next(), kind);
        let run = crate::raft::Run { data, ..run };
        let runs = if bytes == 0 { Vec::new() } else { alloc::vec![run] };
        let append = crate::raft::Append { term, prev, runs, commit: index, round: 1 };
        let message = crate::raft::Message::Append(append);
        let frame =
            frames::Frame::Raft { lineage: Lineage([7; 16]), seat: SeatId([0; 16]), message };
        let mut bytes = Vec::new();
        let mut sink =
            |head: wire::Head, body: Bytes| bytes.extend([head.as_slice(), &body].concat());
        // It has heard of the node as an empty member, and as one of its lineage.
        frames::put_frame(&frame, 2, &mut Vec::new(), &mut sink);
        Bytes::from(bytes)
    };
    let answers = |actions: &[Action]| {
        // Messages of Raft, on a bond.
        let raft = |action: &&Action| matches!(action, Action::Write { head, .. } if head.as_slice()[0] == 4);
        actions.iter().filter(raft).count()
    };
    assert_eq!(answers(&bench.step(Event::Data { channel, chunk: append(0) })), 1, "it follows");
    let large = append(100_000);
    for step in 0..10 {
        bench.now.mono = bench.now.mono + Duration::from_millis(500);
        for part in 0..3 {
            let from = (step * 3 + part) * 1_000;
            let chunk = large.slice(from..from + 1_000);
            let said = answers(&bench.step(Event::Data { channel, chunk }));
            assert_eq!(said, usize::from(part == 0), "now and then");
        }
    }
}
