use alloc::vec;

use proptest::prelude::*;

use super::{
    raft::{AppendHead, RunHead},
    *,
};
use crate::{
    ids::PeerId,
    raft::{Ack, Append, Kind, Origin, Outcome, Run, Seat, Voters},
    wire::{Frame as Cut, FrameReader},
};

/// What a frame's writes are: each with its head and body.
fn writes(frame: &Frame, heard: u32) -> Vec<(Head, Bytes)> {
    let mut writes = Vec::new();
    put_frame(frame, heard, &mut Vec::new(), &mut |head, body| writes.push((head, body)));
    writes
}

fn bytes(writes: &[(Head, Bytes)]) -> Bytes {
    writes.iter().flat_map(|(head, body)| [head.as_slice(), body].concat()).collect()
}

fn cut(frame: &Frame, heard: u32) -> Cut {
    let limit = |kind| limit(frame.class(), !frame.is_answer(), kind);
    let mut chunk = bytes(&writes(frame, heard));
    let cut = FrameReader::new().read(&mut chunk, limit).expect("within its limit");
    assert!(chunk.is_empty(), "one frame and nothing else");
    cut.expect("a whole frame")
}

/// What comes out at the other end.
fn travelled(frame: &Frame, heard: u32) -> Heard {
    let Cut { kind, payload } = cut(frame, heard);
    read(kind, &payload).expect("what was written can be read")
}

fn said(message: Message) -> Frame {
    Frame::Raft { lineage: Lineage([0; 16]), seat: SeatId([0; 16]), message }
}

fn seat(n: u8) -> Seat {
    Seat { peer: PeerId::from_bytes([n; 32]), id: SeatId([n; 16]) }
}

fn position() -> impl Strategy<Value = Position> {
    (any::<u64>(), 0..SENSIBLE)
        .prop_map(|(term, index)| Position { term: Term(term), index: LogIndex(index) })
}

fn index() -> impl Strategy<Value = LogIndex> {
    (0..SENSIBLE).prop_map(LogIndex)
}

fn term() -> impl Strategy<Value = Term> {
    any::<u64>().prop_map(Term)
}

fn body(most: usize) -> impl Strategy<Value = Bytes> {
    proptest::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from)
}

fn lineage() -> impl Strategy<Value = Lineage> {
    any::<[u8; 16]>().prop_map(Lineage)
}

fn digest() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn append() -> impl Strategy<Value = Append> {
    let kind = prop_oneof![
        Just(Kind::Noop),
        Just(Kind::Membership),
        Just(Kind::Commands),
        Just(Kind::Control)
    ];
    let origin = (0..SENSIBLE, 0..SENSIBLE);
    let run = (term(), 1..u32::MAX, kind, origin, body(200));
    let runs = proptest::collection::vec(run, 0..6);
    (term(), position(), runs, index(), any::<u64>()).prop_map(
        |(term, mut prev, runs, commit, round)| {
            prev.index.0 /= 2;
            let mut first = prev.index.0 + 1;
            let runs = runs.into_iter().map(|(term, count, kind, (session, number), data)| {
                let origin = Origin { session, number };
                let run = Run { term, first: LogIndex(first), count, kind, origin, data };
                first += u64::from(count);
                run
            });
            Append { term, prev, runs: runs.collect(), commit, round }
        },
    )
}

fn message() -> impl Strategy<Value = Message> {
    let outcome = prop_oneof![
        (index(), index()).prop_map(|(received, durable)| Outcome::Matched { received, durable }),
        (index(), position()).prop_map(|(at, hint)| Outcome::Conflict { at, hint }),
    ];
    prop_oneof![
        (term(), position()).prop_map(|(term, last)| Message::PreVote { term, last }),
        (term(), any::<bool>()).prop_map(|(term, granted)| Message::PreVoteReply { term, granted }),
        (term(), position(), any::<bool>()).prop_map(|(term, last, transfer)| Message::Vote {
            term,
            last,
            transfer
        }),
        (term(), any::<bool>()).prop_map(|(term, granted)| Message::VoteReply { term, granted }),
        append().prop_map(Message::Append),
        (term(), any::<u64>(), outcome).prop_map(|(term, round, outcome)| Message::Ack(Ack {
            term,
            round,
            outcome
        })),
        (term(), index()).prop_map(|(term, commit)| Message::Commit { term, commit }),
        (term(), any::<u64>(), position()).prop_map(|(term, round, base)| Message::Behind {
            term,
            round,
            base
        }),
        term().prop_map(|term| Message::Campaign { term }),
        (term(), any::<u64>()).prop_map(|(term, id)| Message::Read { term, id }),
        (term(), any::<u64>(), index()).prop_map(|(term, id, index)| Message::ReadReply {
            term,
            id,
            index
        }),
    ]
}

fn why() -> impl Strategy<Value = Why> {
    proptest::sample::select(vec![
        Why::NotLeader,
        Why::Gap,
        Why::NoSession,
        Why::Founders,
        Why::LogFull,
        Why::ReadOnly,
    ])
}

fn plain() -> impl Strategy<Value = Frame> {
    let number = || 0..SENSIBLE;
    prop_oneof![
        (lineage(), index(), digest()).prop_map(|(lineage, at, digest)| Frame::Digest {
            lineage,
            at,
            digest
        }),
        Just(Frame::Told(Told::RolledBack)),
        (lineage(), number(), number(), any::<(u32, u64)>(), body(300)).prop_map(
            |(lineage, session, number, (count, attempt), data)| {
                Frame::Commands { lineage, session, number, count, attempt, data }
            }
        ),
        (lineage(), any::<u64>(), any::<u64>())
            .prop_map(|(lineage, nonce, attempt)| Frame::OpenSession { lineage, nonce, attempt }),
        (lineage(), number(), any::<u64>(), proptest::option::of(number())).prop_map(
            |(lineage, number, attempt, index)| {
                Frame::Taken { lineage, number, attempt, index: index.map(Index) }
            }
        ),
        (lineage(), number(), any::<u64>(), why()).prop_map(|(lineage, number, attempt, why)| {
            Frame::Refused { lineage, number, attempt, why }
        }),
        Just(Frame::FetchManifest),
        Just(Frame::Manifest(None)),
        (index(), digest(), number()).prop_map(|(last, digest, chunk)| Frame::FetchChunk {
            last,
            digest,
            chunk
        }),
        (number(), body(300)).prop_map(|(chunk, data)| Frame::Chunk { chunk, data }),
        number().prop_map(|chunk| Frame::NoChunk { chunk }),
    ]
}

proptest! {
    #[test]
    fn grp_08_what_raft_says_survives_the_wire(message in message(), heard in any::<u32>()) {
        let there = travelled(&said(message.clone()), heard);
        prop_assert_eq!(there, Heard::Raft { heard, message });
    }

    #[test]
    fn grp_08_what_members_say_survives_the_wire(frame in plain()) {
        prop_assert_eq!(travelled(&frame, 0), Heard::Frame(frame));
    }

    /// Frames of peers never make us panic, whatever is in them.
    #[test]
    fn grp_08_noise_is_refused(kind in any::<u8>(), noise in body(400)) {
        let _ = read(kind, &noise);
        let _ = read_open(&noise);
    }

    /// The same of frames that were right but for one byte.
    #[test]
    fn grp_08_a_changed_byte_is_no_panic(
        message in message(),
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
    ) {
        let Cut { kind, payload } = cut(&said(message), 1);
        let mut payload = payload.to_vec();
        let at = at.index(payload.len());
        payload[at] = to;
        let _ = read(kind, &payload.into());
    }
}

fn run(first: u64, data: Bytes) -> Run {
    let origin = Origin { session: 1_000, number: 1_000_000 };
    Run { term: Term(3), first: LogIndex(first), count: 900, kind: Kind::Commands, origin, data }
}

fn append_of(runs: Vec<Run>) -> Append {
    let index = LogIndex(runs.first().map_or(7_000_000, |run| run.first.0 - 1));
    let prev = Position { term: Term(3), index };
    Append { term: Term(3), prev, runs, commit: LogIndex(7_000_000), round: 1 << 30 }
}

/// What is sent most: a heartbeat in one write, a run in two, without any memory of their own.
#[test]
fn grp_08_entries_are_sent_without_a_copy() {
    let data = Bytes::from(vec![7; 64 * 1024]);
    let one = said(Message::Append(append_of(vec![run(7_000_001, data.clone())])));
    let sent = writes(&one, 3);
    assert_eq!(sent.len(), 2);
    assert!(sent[0].1.is_empty(), "the heads are inline");
    assert_eq!(sent[1].1.as_ptr(), data.as_ptr(), "the run is shared");
    let heartbeat = said(Message::Append(append_of(Vec::new())));
    assert!(matches!(&writes(&heartbeat, 3)[..], [(_, body)] if body.is_empty()));
    let ack = Outcome::Matched { received: LogIndex(1 << 27), durable: LogIndex(1 << 27) };
    let ack = said(Message::Ack(Ack { term: Term(9), round: 1 << 30, outcome: ack }));
    assert!(matches!(&writes(&ack, 3)[..], [(_, body)] if body.is_empty()));
}

/// One allocation for all heads; each run is a write of its own.
#[test]
fn grp_08_many_runs_share_one_head() {
    let data = Bytes::from(vec![7; 1024]);
    let runs: Vec<_> = (0..20u64).map(|n| run(1 + n * 900, data.slice(n as usize..1000))).collect();
    let sent = writes(&said(Message::Append(append_of(runs.clone()))), 3);
    assert_eq!(sent.len(), 1 + runs.len());
    for (write, run) in sent[1..].iter().zip(&runs) {
        assert_eq!(write.1.as_ptr(), run.data.as_ptr());
    }
}

#[test]
fn grp_08_entries_arrive_without_a_copy() {
    let data = Bytes::from(vec![7; 5_000]);
    let runs = vec![run(1, data.clone()), run(901, data)];
    let Cut { kind, payload } = cut(&said(Message::Append(append_of(runs))), 3);
    let Ok(Heard::Raft { message: Message::Append(append), .. }) = read(kind, &payload) else {
        panic!("an append")
    };
    let within = payload.as_ptr_range();
    assert!(append.runs.iter().all(|run| within.contains(&run.data.as_ptr())));
}

/// A member is caught up on single commands by the tens of thousands in one step, which has
/// `limits::HOPS`.
#[test]
fn grp_08_small_runs_share_writes() {
    let small = |n: u64| run(1 + n * 900, Bytes::from(vec![n as u8; 20]));
    let large = run(5_000_000, Bytes::from(vec![9; 64 * 1024]));
    let mut runs: Vec<_> = (0..1_000).map(small).collect();
    runs.push(large.clone());
    runs.extend((0..1_000).map(small));
    let append = said(Message::Append(append_of(runs.clone())));
    let sent = writes(&append, 3);
    assert_eq!(sent.len(), 4, "heads, small ones, the large one, small ones");
    assert_eq!(sent[2].1.as_ptr(), large.data.as_ptr());
    let Cut { kind, payload } = cut(&append, 3);
    let Ok(Heard::Raft { message: Message::Append(read), .. }) = read(kind, &payload) else {
        panic!("an append")
    };
    assert!(read.runs.iter().map(|run| &run.data).eq(runs.iter().map(|run| &run.data)));
}

/// Heads that say more than there is, or less, or too much.
#[test]
fn grp_08_an_append_is_exactly_what_its_heads_say() {
    let whole = append_of(vec![run(1, Bytes::from_static(&[7; 10]))]);
    let payload = cut(&said(Message::Append(whole)), 3).payload;
    assert!(read(APPEND, &payload).is_ok());
    for length in 0..payload.len() {
        assert!(read(APPEND, &payload.slice(..length)).is_err(), "cut at {length}");
    }
    assert!(read(APPEND, &[&payload[..], &[0]].concat().into()).is_err(), "a byte too many");
    let mut long = payload.to_vec();
    long[..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert!(read(APPEND, &long.into()).is_err(), "heads beyond the frame");
}

#[test]
fn grp_08_no_more_runs_than_an_honest_leader_sends() {
    let small = Bytes::from_static(&[0, 0]);
    let runs = |many: usize| (0..many as u64).map(|n| run(1 + n * 900, small.clone())).collect();
    let most = append_of(runs(limits::APPEND_RUNS));
    assert!(read(APPEND, &cut(&said(Message::Append(most.clone())), 3).payload).is_ok());
    // One head more, by hand.
    let mut heads = Vec::new();
    let AppendHead { heard, term, prev, commit, round } =
        AppendHead { heard: 3, term: most.term, prev: most.prev, commit: most.commit, round: 0 };
    wire::encode_into(&AppendHead { heard, term, prev, commit, round }, &mut heads);
    for _ in 0..=limits::APPEND_RUNS {
        let origin = Origin::default();
        let head = RunHead { term, count: 1, kind: Kind::Noop, origin, length: 0 };
        wire::encode_into(&head, &mut heads);
    }
    let payload = [&(heads.len() as u32).to_be_bytes()[..], &heads].concat();
    assert!(read(APPEND, &payload.into()).is_err());
}

/// Places that would overflow a sum are no places.
#[test]
fn grp_08_places_are_sensible() {
    let last = Position { term: Term(1), index: LogIndex(u64::MAX) };
    for message in [
        Message::Vote { term: Term(1), last, transfer: false },
        Message::PreVote { term: Term(1), last },
        Message::Commit { term: Term(1), commit: last.index },
        Message::Behind { term: Term(1), round: 1, base: last },
        Message::ReadReply { term: Term(1), id: 1, index: last.index },
        Message::Ack(Ack {
            term: Term(1),
            round: 1,
            outcome: Outcome::Matched { received: last.index, durable: LogIndex(0) },
        }),
        Message::Ack(Ack {
            term: Term(1),
            round: 1,
            outcome: Outcome::Conflict { at: LogIndex(0), hint: last },
        }),
        Message::Append(Append { prev: last, ..append_of(Vec::new()) }),
        Message::Append(Append { commit: last.index, ..append_of(Vec::new()) }),
    ] {
        let Cut { kind, payload } = cut(&said(message.clone()), 1);
        assert!(read(kind, &payload).is_err(), "{message:?}");
    }
    for origin in [(u64::MAX, 0), (0, u64::MAX)] {
        let (session, number) = origin;
        let run = Run { origin: Origin { session, number }, ..run(1, Bytes::new()) };
        let Cut { kind, payload } = cut(&said(Message::Append(append_of(vec![run]))), 1);
        assert!(read(kind, &payload).is_err(), "{origin:?}");
    }
    let (lineage, attempt, most) = (Lineage([1; 16]), 0, u64::MAX);
    for frame in [
        Frame::Taken { lineage, number: most, attempt, index: None },
        Frame::Taken { lineage, number: 0, attempt, index: Some(Index(most)) },
        Frame::Refused { lineage, number: most, attempt, why: Why::Gap },
        Frame::Commands {
            lineage,
            session: most,
            number: 0,
            count: 1,
            attempt,
            data: Bytes::new(),
        },
        Frame::Commands {
            lineage,
            session: 0,
            number: most,
            count: 1,
            attempt,
            data: Bytes::new(),
        },
        Frame::FetchChunk { last: LogIndex(1), digest: Digest::zero(), chunk: most },
        Frame::Digest { lineage, at: LogIndex(most), digest: Digest::zero() },
    ] {
        let Cut { kind, payload } = cut(&frame, 1);
        assert!(read(kind, &payload).is_err(), "{frame:?}");
    }
}

/// The largest of each fits its limit; a manifest with two full sets of voters among them.
#[test]
fn grp_08_the_largest_frames_fit() {
    let voters = || Voters::new((0..limits::VOTERS as u8).map(seat));
    let membership = crate::raft::Membership { leaving: Some(voters()), voters: voters() };
    let last = Position { term: Term(u64::MAX), index: LogIndex(SENSIBLE - 1) };
    let snapshot =
        Snapshot { lineage: Lineage([255; 16]), last, membership, commands: SENSIBLE - 1 };
    let digest = Digest::from_bytes([255; 32]);
    let manifest =
        Manifest { snapshot, term: Term(u64::MAX), head: u32::MAX, bytes: u64::MAX, digest };
    travelled(&Frame::Manifest(Some(Box::new(manifest))), 0);
    let data = Bytes::from(vec![1; limits::SNAPSHOT_CHUNK]);
    travelled(&Frame::Chunk { chunk: SENSIBLE - 1, data }, 0);
    let entry = Bytes::from(vec![1; LARGEST_ENTRY]);
    let (session, number, count) = (SENSIBLE - 1, SENSIBLE - 1, u32::MAX);
    let (lineage, attempt) = (Lineage([255; 16]), u64::MAX);
    let data = entry.clone();
    travelled(&Frame::Commands { lineage, session, number, count, attempt, data }, 0);
    travelled(&Frame::OpenSession { lineage, nonce: u64::MAX, attempt }, 0);
    travelled(&Frame::Taken { lineage, number, attempt, index: Some(Index(SENSIBLE - 1)) }, 0);
    let origin = Origin { session: SENSIBLE - 1, number: SENSIBLE - 1 };
    let (term, first) = (Term(u64::MAX), LogIndex(SENSIBLE / 2 + 1));
    let run = Run { term, first, count: 1, kind: Kind::Commands, origin, data: entry };
    let prev = Position { term, index: LogIndex(SENSIBLE / 2) };
    let commit = LogIndex(SENSIBLE - 1);
    let append = Append { term, prev, runs: vec![run], commit, round: u64::MAX };
    travelled(&said(Message::Append(append)), u32::MAX);
    let outcome = Outcome::Conflict { at: LogIndex(SENSIBLE - 1), hint: last };
    travelled(&said(Message::Ack(Ack { term, round: u64::MAX, outcome })), u32::MAX);
    let sealed = [&[1; PROOF][..], &wire::encode(&largest_announcement())].concat();
    assert!(sealed.len() <= limit(Class::Bond, true, ANNOUNCE).unwrap_or(0) as usize);
    let open = Open { group: digest, class: Class::Snapshot, serial: u64::MAX };
    let mut length = 0;
    put_open(&open, &sealed, &mut Vec::new(), &mut |head: Head, body: Bytes| {
        length += head.len() + body.len();
    });
    assert!(length - HEADER_LEN <= opening_limit(OPEN).unwrap_or(0) as usize);
}

fn largest_announcement() -> Announcement {
    Announcement {
        lineage: Some(Lineage([255; 16])),
        seat: SeatId([255; 16]),
        boot: u64::MAX,
        start: u64::MAX,
        can_vote: true,
        holds: true,
        leads: true,
        follows: Some(PeerId::from_bytes([255; 32])),
        established: true,
        commands: u64::MAX,
        end: Position { term: Term(u64::MAX), index: LogIndex(u64::MAX) },
        parent: Some(Lineage([255; 16])),
        left: true,
    }
}

/// A channel takes the frames of its class and direction, and no others.
#[test]
fn grp_08_kinds_have_their_channels() {
    for class in [Class::Bond, Class::Commands, Class::Snapshot] {
        assert!(limit(class, true, OPEN).is_none(), "a channel begins once");
        let kinds = |accepted| (0..=u8::MAX).filter(move |k| limit(class, accepted, *k).is_some());
        let both = kinds(true).filter(|kind| limit(class, false, *kind).is_some()).count();
        assert_eq!(both > 0, class == Class::Bond, "only bonds have frames for both ends");
    }
    assert_eq!(limit(Class::Bond, true, COMMANDS), None);
    assert_eq!(limit(Class::Commands, false, COMMANDS), None);
    assert_eq!(limit(Class::Snapshot, true, CHUNK), None);
    assert_eq!(limit(Class::Bond, false, READY), None);
}
