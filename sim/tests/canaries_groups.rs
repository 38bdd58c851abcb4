//! Every checker of groups can fail: each is fed what it must refuse, next to what it must accept; and
//! worlds are broken on purpose.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::time::Duration;

use bytes::Bytes;
use mosaik_proto::{
    Digest, PeerId,
    groups::{
        Applying, Cursor, GroupConfig, Index, Input, Loaded, Member, Notice, Outcome, Output,
        Rejection, Status,
    },
    ids::{ChannelId, LinkId},
    limits,
    node::{Action, Event},
    raft::{
        Kind, Lineage, LogIndex, Membership, Origin, Role, Run, Seat, SeatId, Snapshot, Stored,
        Term, Ticket, Voters, Write,
    },
    streams::item,
    time::Instant,
    wire::{Head, Protocol, encode},
};
use mosaik_sim::{
    Answer, DiskFault, Failure, Fault, GroupSpec, HostId, NodeSpec, Op, Options, World,
    checkers::{
        Checkers,
        groups::{Asked, History},
    },
    linearize::{RegisterOp, RegisterRet},
    net::Process,
    scenario::{
        self,
        groups::{group, judge},
    },
};

const L: Lineage = Lineage([1; 16]);
type Checked = Result<(), String>;

const fn process(host: usize) -> Process {
    Process { host: HostId(host), boot: 1 }
}

fn seat(host: usize) -> Seat {
    let name = host as u8 + 1;
    Seat { peer: PeerId::from_bytes([name; 32]), id: SeatId([name; 16]) }
}

fn voters(hosts: &[usize]) -> Voters {
    Voters::new(hosts.iter().map(|host| seat(*host)))
}

fn says(checkers: &mut Checkers, host: usize, output: Output) -> Checked {
    let action = Action::Group { group: group(), output };
    checkers.action(Instant::ZERO, process(host), &action)
}

/// A host takes part; with a store, it begins with an empty one.
fn joins(checkers: &mut Checkers, host: usize, durable: bool) {
    begins(checkers, host, durable, Stored::default());
}

fn begins(checkers: &mut Checkers, host: usize, durable: bool, stored: Stored) {
    let config = GroupConfig { durable, ..GroupConfig::new(group(), Digest::hash(b"a secret")) };
    hears(checkers, host, Input::Join(Box::new(config)));
    if durable {
        let boots = Vec::new();
        let loaded = Loaded { seat: seat(host).id, boot: 1, boots, stored, snapshot: None };
        hears(checkers, host, Input::Loaded(Box::new(loaded)));
    }
}

fn hears(checkers: &mut Checkers, host: usize, input: Input) {
    let event = Event::Group { group: group(), input };
    checkers.event(process(host), &event).unwrap();
}

fn status(host: usize, role: Role, term: u64, committed: u64) -> Output {
    let member = |host| Member { seat: seat(host), linked: true, lag: None };
    Output::Status(Box::new(Status {
        role,
        can_vote: true,
        term: Term(term),
        leader: None,
        seat: Some(seat(host)),
        lineage: Some(L),
        forked_from: None,
        voters: [0, 1, 2].map(member).to_vec(),
        learners: Vec::new(),
        bonds: std::collections::BTreeSet::default(),
        log: Cursor::default(),
        committed: Index(committed),
        durable: Index::ZERO,
        online: true,
        blocked: None,
        tolerates: 1,
    }))
}

/// Three members of one history.
fn group_of(durable: bool) -> Checkers {
    let mut checkers = Checkers::default();
    for host in 0..3 {
        joins(&mut checkers, host, durable);
        if durable {
            let base = Snapshot { lineage: L, ..Snapshot::default() };
            let write = Write { reset: Some(base), ..Write::default() };
            writes(&mut checkers, host, write).unwrap();
        }
        says(&mut checkers, host, status(host, Role::Follower, 1, 0)).unwrap();
    }
    checkers
}

/// A command, by its name, as the clients of simulated hosts encode them.
fn command(id: u64) -> Bytes {
    let mut data = Vec::new();
    item::append(&mut data, &encode(&(id, 0u8, None::<Option<u64>>, id)));
    data.into()
}

/// A command is handed to the machine of a host.
fn applies(checkers: &mut Checkers, host: usize, at: u64, id: u64) -> Checked {
    let (entry, first, data) = (LogIndex(at), Index(at), command(id));
    let applying = Applying { term: Term(1), entry, first, count: 1, data, void: false };
    says(checkers, host, Output::Apply(applying))
}

fn writes(checkers: &mut Checkers, host: usize, write: Write) -> Checked {
    persist(checkers, host, 1, write)
}

fn persist(checkers: &mut Checkers, host: usize, ticket: u64, write: Write) -> Checked {
    let (ticket, write) = (Ticket(ticket), Box::new(write));
    says(checkers, host, Output::Persist { ticket, write })
}

fn entry(term: u64, at: u64, id: u64) -> Run {
    let origin = Origin { session: 1, number: id };
    let run = Run::empty(Term(term), LogIndex(at), Kind::Commands);
    Run { origin, data: command(id), ..run }
}

fn appends(checkers: &mut Checkers, host: usize, run: Run) -> Checked {
    writes(checkers, host, Write { runs: vec![run], ..Write::default() })
}

#[test]
fn election_safety_refuses_two_leaders_of_one_term() {
    let mut checkers = group_of(false);
    assert!(says(&mut checkers, 0, status(0, Role::Leader, 2, 0)).is_ok());
    assert!(says(&mut checkers, 0, status(0, Role::Leader, 2, 0)).is_ok(), "said twice");
    assert!(says(&mut checkers, 1, status(1, Role::Leader, 3, 0)).is_ok(), "a later term");
    assert!(says(&mut checkers, 2, status(2, Role::Leader, 2, 0)).is_err());
}

#[test]
fn log_matching_refuses_two_entries_of_one_place_and_term() {
    let mut checkers = group_of(true);
    assert!(appends(&mut checkers, 0, entry(1, 1, 7)).is_ok());
    assert!(appends(&mut checkers, 1, entry(1, 1, 7)).is_ok());
    assert!(appends(&mut checkers, 2, entry(2, 1, 8)).is_ok(), "of another term");
    assert!(appends(&mut checkers, 0, entry(1, 3, 8)).is_err(), "a gap");
    assert!(appends(&mut checkers, 0, entry(1, 2, 8)).is_ok());
    assert!(appends(&mut checkers, 1, entry(1, 2, 9)).is_err(), "another command");
    let mut checkers = group_of(true);
    appends(&mut checkers, 0, entry(1, 1, 7)).unwrap();
    let of_another = Run { origin: Origin { session: 2, number: 7 }, ..entry(1, 1, 7) };
    assert!(appends(&mut checkers, 1, of_another).is_err(), "of another client");
    assert!(writes(&mut group_of(false), 0, Write::default()).is_err(), "it has no store");
}

#[test]
fn leader_completeness_refuses_a_leader_without_what_is_committed() {
    let committed = || {
        let mut checkers = group_of(true);
        appends(&mut checkers, 0, entry(1, 1, 7)).unwrap();
        appends(&mut checkers, 1, entry(1, 1, 7)).unwrap();
        applies(&mut checkers, 0, 1, 7).unwrap();
        checkers
    };
    assert!(says(&mut committed(), 1, status(1, Role::Leader, 2, 0)).is_ok());
    assert!(says(&mut committed(), 2, status(2, Role::Leader, 2, 0)).is_err());
    let mut checkers = committed();
    appends(&mut checkers, 2, entry(2, 1, 8)).unwrap();
    assert!(says(&mut checkers, 2, status(2, Role::Leader, 3, 0)).is_err(), "another in its place");
}

#[test]
fn nothing_that_is_committed_is_cut_off() {
    let cut = |from| {
        let mut checkers = group_of(true);
        appends(&mut checkers, 0, entry(1, 1, 7)).unwrap();
        appends(&mut checkers, 0, entry(1, 2, 8)).unwrap();
        applies(&mut checkers, 0, 1, 7).unwrap();
        let truncate = Some(LogIndex(from));
        writes(&mut checkers, 0, Write { truncate, ..Write::default() })
    };
    assert!(cut(2).is_ok());
    assert!(cut(1).is_err());
}

#[test]
fn state_machine_safety_refuses_two_commands_at_one_place() {
    let mut checkers = group_of(false);
    applies(&mut checkers, 0, 1, 7).unwrap();
    assert!(applies(&mut checkers, 1, 1, 7).is_ok());
    assert!(applies(&mut checkers, 2, 1, 8).is_err());
    let groups = &mut checkers.groups;
    assert!(groups.machine(L, Index(1), Digest::hash(b"a state")).is_ok());
    assert!(groups.machine(Lineage([2; 16]), Index(1), Digest::hash(b"of another")).is_ok());
    assert!(groups.machine(L, Index(1), Digest::hash(b"another")).is_err(), "machines differ");
    let diverged = Output::Notice(Notice::Diverged { at: LogIndex(1) });
    assert!(says(&mut checkers, 0, diverged).is_err(), "a member says so itself");
}

#[test]
fn monotonic_commit_refuses_what_goes_back() {
    let after = |term, committed| {
        let mut checkers = group_of(false);
        says(&mut checkers, 0, status(0, Role::Follower, 5, 3)).unwrap();
        says(&mut checkers, 0, status(0, Role::Follower, term, committed))
    };
    assert!(after(5, 3).is_ok() && after(6, 4).is_ok());
    assert!(after(6, 2).is_err(), "what is committed");
    assert!(after(4, 4).is_err(), "the term");
    let applied = |at: &[u64]| {
        let mut checkers = group_of(false);
        at.iter().try_for_each(|at| applies(&mut checkers, 0, *at, 10 + at))
    };
    assert!(applied(&[1, 2, 3]).is_ok());
    assert!(applied(&[1, 3]).is_err(), "one is left out");
    assert!(applied(&[1, 1]).is_err(), "one comes twice");
    assert!(applied(&[1, 2, 1]).is_err(), "backwards");
}

/// A new seat may follow the same history from the beginning; the same seat does not go back.
#[test]
fn monotonic_commit_is_that_of_a_seat() {
    let after = |of: Seat| {
        let mut checkers = group_of(false);
        says(&mut checkers, 0, status(0, Role::Follower, 5, 3)).unwrap();
        let Output::Status(mut next) = status(0, Role::Follower, 0, 0) else { unreachable!() };
        next.seat = Some(of);
        says(&mut checkers, 0, Output::Status(next))
    };
    assert!(after(Seat { id: SeatId([9; 16]), ..seat(0) }).is_ok());
    assert!(after(seat(0)).is_err());
}

/// What a sole voter in memory held may be lost; not if it was handed on, {0} to {1}.
#[test]
fn a_second_voter_counts_also_in_place_of_the_first() {
    let had = |hosts: &[usize]| {
        let mut checkers = group_of(false);
        let of = Lineage([2; 16]);
        for host in hosts {
            let Output::Status(mut said) = status(*host, Role::Follower, 1, 0) else {
                unreachable!()
            };
            said.lineage = Some(of);
            said.voters.retain(|voter| voter.seat == seat(*host));
            says(&mut checkers, *host, Output::Status(said)).unwrap();
        }
        checkers.groups.had_second_voter(of)
    };
    assert!(!had(&[0]) && !had(&[0, 0]));
    assert!(had(&[0, 1]));
}

#[test]
fn voter_sets_that_do_not_overlap_are_refused() {
    let set = |hosts: &[usize]| Membership::single(voters(hosts));
    let joint = |from: &[usize], to: &[usize]| Membership {
        leaving: Some(voters(from)),
        voters: voters(to),
    };
    let changes = |all: &[Membership]| {
        let mut checkers = group_of(true);
        (1..).zip(all).try_for_each(|(at, membership)| {
            let run = Run::empty(Term(1), LogIndex(at), Kind::Membership);
            appends(&mut checkers, 0, Run { data: encode(membership), ..run })
        })
    };
    let (one, two, three) = (&[0][..], &[0, 1][..], &[0, 1, 2][..]);
    assert!(changes(&[set(one), set(three), joint(three, two), set(two)]).is_ok());
    assert!(changes(&[set(one), set(&[1, 2])]).is_ok(), "the only voter may leave, too");
    assert!(changes(&[set(two), set(three)]).is_err(), "in one step");
    assert!(changes(&[set(three), joint(two, three)]).is_err(), "it leaves another set");
    let half_way = joint(three, two);
    assert!(changes(&[set(three), half_way.clone(), set(&[0])]).is_err(), "it enters another");
    assert!(changes(&[set(three), half_way, joint(two, one)]).is_err(), "two changes at once");
}

/// Host 0 votes alone, and host 1 copies its log; what is said then of the change with which it ends that.
fn after_one(
    to: &[usize],
    durable: bool,
    steps: &dyn Fn(&mut Checkers, &Run) -> Checked,
) -> Checked {
    let mut checkers = Checkers::default();
    joins(&mut checkers, 0, durable);
    joins(&mut checkers, 1, true);
    for host in usize::from(!durable)..2 {
        persist(&mut checkers, host, 1, Write { reset: Some(of_one()), ..Write::default() })?;
        hears(&mut checkers, host, Input::Persisted(Ticket(1)));
    }
    let run = Run::empty(Term(1), LogIndex(1), Kind::Membership);
    steps(&mut checkers, &Run { data: encode(&Membership::single(voters(to))), ..run })
}

fn of_one() -> Snapshot {
    let membership = Membership::single(voters(&[0]));
    Snapshot { lineage: L, membership, ..Snapshot::default() }
}

fn write(checkers: &mut Checkers, host: usize, ticket: u64, run: &Run) -> Checked {
    persist(checkers, host, ticket, Write { runs: vec![run.clone()], ..Write::default() })
}

/// Simulator, seed 16002: {0} names four others and leaves. That is sound if 0 has the entry before any
/// other does (RAFT-11).
#[test]
fn who_votes_alone_may_leave_with_the_change() {
    for to in [&[0, 1][..], &[1, 2]] {
        let written = after_one(to, true, &|checkers, run| {
            write(checkers, 0, 2, run)?;
            hears(checkers, 0, Input::Persisted(Ticket(2)));
            write(checkers, 1, 2, run)
        });
        assert_eq!(written, Ok(()));
        let in_memory = after_one(to, false, &|checkers, run| write(checkers, 1, 2, run));
        assert_eq!(in_memory, Ok(()), "its seat ends with what it knows");
        let found = after_one(to, true, &|checkers, run| {
            write(checkers, 0, 2, run)?;
            checkers.ended(process(0));
            let (base, runs) = (of_one(), vec![run.clone()]);
            begins(checkers, 0, true, Stored { base, runs, ..Stored::default() });
            write(checkers, 1, 2, run)
        });
        assert_eq!(found, Ok(()), "it died between the write and the word of it");
    }
}

/// Otherwise it could crash, vote alone again, and lead without the entry (RAFT-11).
#[test]
fn who_votes_alone_has_the_change_before_others() {
    let refused = |steps: &dyn Fn(&mut Checkers, &Run) -> Checked, why: &str| {
        for to in [&[0, 1][..], &[1, 2]] {
            assert!(after_one(to, true, steps).is_err(), "{why}");
        }
    };
    refused(&|checkers, run| write(checkers, 1, 2, run), "0 knows nothing of it");
    let writing = |checkers: &mut Checkers, run: &Run| {
        write(checkers, 0, 2, run)?;
        write(checkers, 1, 2, run)
    };
    refused(&writing, "0 is writing it");
    let out_of_order = |checkers: &mut Checkers, run: &Run| {
        persist(checkers, 0, 2, Write::default())?;
        write(checkers, 0, 3, run)?;
        hears(checkers, 0, Input::Persisted(Ticket(3)));
        write(checkers, 1, 2, run)
    };
    refused(&out_of_order, "a write before it is under way (RAFT-06)");
    let cut = |checkers: &mut Checkers, run: &Run| {
        write(checkers, 0, 2, run)?;
        hears(checkers, 0, Input::Persisted(Ticket(2)));
        persist(checkers, 0, 3, Write { truncate: Some(LogIndex(1)), ..Write::default() })?;
        write(checkers, 1, 2, run)
    };
    refused(&cut, "0 has it no more");
}

#[test]
fn exactly_once_refuses_commands_that_count_twice_or_not() {
    let two = || {
        let mut checkers = group_of(false);
        applies(&mut checkers, 0, 1, 7).unwrap();
        applies(&mut checkers, 0, 2, 8).unwrap();
        checkers
    };
    assert!(applies(&mut two(), 0, 3, 9).is_ok());
    assert!(applies(&mut two(), 0, 3, 7).is_err(), "at two places");
    let acknowledged = |of, id, at| two().groups.acknowledged(of, id, Index(at));
    assert!(acknowledged(Some(L), 7, 1).is_ok());
    assert!(acknowledged(Some(L), 8, 1).is_err(), "at a place that is another's");
    assert!(acknowledged(Some(L), 9, 3).is_err(), "that nobody applied");
    assert!(acknowledged(None, 7, 1).is_err(), "by who is in no history");
    let rejected = |of, id| two().groups.rejected(of, id, Rejection::Offline);
    assert!(rejected(Some(L), 9).is_ok());
    assert!(rejected(Some(L), 7).is_err(), "rejected, but applied");
    assert!(rejected(None, 7).is_err(), "wherever that is said");
    let mut checkers = two();
    checkers.groups.rejected(Some(L), 9, Rejection::Offline).unwrap();
    assert!(applies(&mut checkers, 0, 3, 9).is_err(), "applied, but rejected");
}

#[test]
fn bounded_memory_refuses_debts_of_bonds() {
    let (link, channel) = (LinkId(1), ChannelId::core(1));
    let frame = Bytes::from(vec![0; 1 << 20]);
    let after = |frames: u64| {
        let mut checkers = Checkers::default();
        let open = Action::OpenChannel { link, channel, protocol: Protocol::Group };
        checkers.bounds.action(process(0), &open)?;
        (0..frames).try_for_each(|_| {
            let write = Action::Write { channel, head: Head::new(), body: frame.clone() };
            checkers.bounds.action(process(0), &write)
        })
    };
    let bound = limits::BOND_DEBT >> 20;
    assert!(after(bound).is_ok());
    assert!(after(bound + 2 * (limits::APPEND_BYTES as u64 >> 20) + 3).is_err());
}

/// Questions about one register, each with its moments and its answer.
fn history(all: &[(RegisterOp, u64, u64, RegisterRet)]) -> Result<(), String> {
    let mut history = History::default();
    for (op, begun, ended, answer) in all {
        let client = history.client();
        let id: Asked = history.asked((group(), 0), client, *op, Instant::from_millis(*begun));
        history.answered(id, Instant::from_millis(*ended), *answer, L);
    }
    history.judge(group(), L).map(drop)
}

#[test]
fn linearizability_refuses_stale_reads_and_lost_writes() {
    let (write, read) = (RegisterOp::Put, RegisterOp::Get);
    let (done, value) = (RegisterRet::Done, |value| RegisterRet::Value(Some(value)));
    let first = (write(1), 0, 10, done);
    let second = (write(2), 20, 30, done);
    assert!(history(&[first, second, (read, 25, 40, value(1))]).is_ok(), "at the same time");
    assert!(history(&[first, second, (read, 31, 40, value(2))]).is_ok());
    assert!(history(&[first, second, (read, 31, 40, value(1))]).is_err(), "stale");
    assert!(history(&[first, (read, 11, 12, RegisterRet::Value(None))]).is_err(), "lost");
    assert!(history(&[(read, 0, 5, value(1)), (write(1), 6, 9, done)]).is_err(), "too early");
    let swap = (RegisterOp::Cas(Some(1), 3), 40, 50, RegisterRet::Swapped(true));
    assert!(history(&[first, second, swap]).is_err(), "it held another value");
}

// --- broken worlds -------------------------------------------------------------------------

const SECOND: Duration = Duration::from_secs(1);

/// A group of three, and a command that is in force.
fn world(durable: bool) -> (World, u64) {
    let mut world = World::new(77, Options::default());
    for node in 0..3 {
        let mut spec = NodeSpec::new(scenario::network());
        spec.bootstrap = (0..3).filter(|at| *at != node).map(HostId).collect();
        let host = world.add_node(spec);
        let mut config = GroupConfig::new(group(), Digest::hash(b"a secret"));
        (config.durable, config.restartable) = (durable, true);
        config.timing.command_timeout = 5 * SECOND;
        let mut part = GroupSpec::new(config);
        part.clients = 0;
        world.add_group(host, part);
    }
    world.run_for(10 * SECOND).unwrap();
    let command = commit(&mut world, 1).unwrap();
    world.run_for(3 * SECOND).unwrap();
    (world, command)
}

fn commit(world: &mut World, value: u64) -> Result<u64, Failure> {
    let command = world.execute_command(HostId(0), group(), 0, Op::Put(value)).unwrap();
    let limit = world.now() + 10 * SECOND;
    world.run_until_holds(limit, |world| match world.answer(command) {
        Some(Answer::Command(Outcome::Committed { .. })) => Ok(()),
        other => Err(format!("{other:?}")),
    })?;
    Ok(command)
}

#[test]
fn a_sound_world_passes() {
    for durable in [true, false] {
        let (mut world, _) = world(durable);
        assert!(world.nothing_is_lost(group()).unwrap() > 0);
        let judged = judge(&mut world, group(), true);
        assert!(judged.is_ok_and(|judged| judged.answered > 0));
    }
}

/// What clients were told is in force, and no machine has.
#[test]
fn a_command_that_no_machine_has_is_missed() {
    let (mut world, _) = world(false);
    let of = world.group_status(HostId(0), group()).unwrap().lineage.unwrap();
    // Somebody who is none of the hosts applies a command and is told that it is in force.
    let checkers = world.checkers_mut();
    *checkers = Checkers::default();
    joins(checkers, 9, false);
    let Output::Status(mut invented) = status(9, Role::Follower, 1, 0) else { unreachable!() };
    invented.lineage = Some(of);
    says(checkers, 9, Output::Status(invented)).unwrap();
    applies(checkers, 9, 1, 999).unwrap();
    assert!(world.nothing_is_lost(group()).is_ok(), "nobody was told of it");
    world.checkers_mut().groups.acknowledged(Some(of), 999, Index(1)).unwrap();
    assert!(world.nothing_is_lost(group()).is_err());
}

/// Three in memory die at once: what they held is lost, and the group that follows does not hide it.
#[test]
fn a_history_that_is_gone_is_missed() {
    let (mut world, _) = world(false);
    (0..3).for_each(|host| world.inject(Fault::Crash(HostId(host))));
    world.run_for(SECOND).unwrap();
    (0..3).for_each(|host| world.inject(Fault::Start(HostId(host))));
    world.run_for(20 * SECOND).unwrap();
    let ended = judge(&mut world, group(), false);
    assert!(matches!(ended, Err(Failure::Lost { commands: 1, .. })), "{ended:?}");
}

/// All stores go back to what they held before the last command.
#[test]
fn commands_that_older_copies_do_not_hold_are_missed() {
    let (mut world, _) = world(true);
    let all = |world: &mut World, fault: fn(HostId) -> Fault| {
        (0..3).for_each(|host| world.inject(fault(HostId(host))));
    };
    all(&mut world, |host| Fault::Disk(host, DiskFault::Copy));
    commit(&mut world, 2).unwrap();
    world.run_for(SECOND).unwrap();
    all(&mut world, Fault::Crash);
    all(&mut world, |host| Fault::Disk(host, DiskFault::Restore));
    all(&mut world, Fault::Start);
    let ended = world.run_for(20 * SECOND).and_then(|()| judge(&mut world, group(), false));
    let missed = matches!(ended, Err(Failure::Safety(_) | Failure::Lost { .. }));
    assert!(missed, "{ended:?}");
}

/// Two of three are away: nobody serves, and that is not taken for patience.
#[test]
fn a_group_that_does_not_serve_is_a_failure() {
    let (mut world, _) = world(true);
    let everybody = [0, 1, 2].map(HostId);
    let pairs = everybody.iter().flat_map(|a| everybody.iter().map(|b| (*a, *b)));
    world.inject(Fault::Cut(pairs.filter(|(a, b)| a != b).collect()));
    let ended = judge(&mut world, group(), false);
    assert!(matches!(ended, Err(Failure::Liveness(_))), "{ended:?}");
}
