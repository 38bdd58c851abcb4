//! Commands under random schedules: three members with real logs and a few lines of Raft's rules,
//! leaders that come, go and do not know it, ways that are cut, snapshots, sessions that end.

use alloc::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    vec::Vec,
};
use core::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;

use super::{
    Index, Outcome, Output, Rejection,
    calls::{Calls, Verdict},
    client::Ask,
    config::ConsensusConfig,
    control::Control,
    intake::{Asked, Why},
};
use crate::{
    ids::PeerId,
    limits,
    raft::{Kind, Log, LogIndex, Origin, Position, Run, Term},
    rng::Rng,
    streams::item,
    time::Instant,
};

const NODES: usize = 3;

/// An answer of a leader.
#[derive(Debug)]
enum Answer {
    Taken { attempt: u64, number: u64, index: Option<Index> },
    Refused { attempt: u64, number: u64, why: Why },
}

struct Node {
    calls: Calls,
    log: Log,
    term: Term,
    leads: bool,
    /// Whom it follows.
    leader: Option<usize>,
    handed: LogIndex,
    commands: Index,
    /// The machine: who executed what, in order; nobody for void commands.
    applied: Vec<Option<(usize, u64)>>,
    executed: u64,
    outcomes: BTreeMap<u64, Outcome>,
    taken: BTreeSet<u64>,
}

pub(super) struct World {
    nodes: Vec<Node>,
    rng: Rng,
    now: Instant,
    commit: LogIndex,
    questions: BTreeMap<(usize, usize), VecDeque<Ask>>,
    answers: BTreeMap<(usize, usize), VecDeque<Answer>>,
    refuse: Option<Why>,
    strangers: u64,
}

fn peer(n: usize) -> PeerId {
    PeerId::from_bytes([n as u8 + 1; 32])
}

fn commands(who: usize, first: u64, count: u32) -> Bytes {
    let mut data = Vec::new();
    for number in first..first + u64::from(count) {
        item::append(&mut data, &[&[who as u8][..], &number.to_be_bytes()].concat());
    }
    data.into()
}

fn read(command: &[u8]) -> (usize, u64) {
    (usize::from(command[0]), u64::from_be_bytes(command[1..].try_into().unwrap()))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let timing = ConsensusConfig {
            command_timeout: Duration::from_secs(5),
            ..ConsensusConfig::default()
        };
        let node = |n| Node {
            calls: Calls::new(peer(n), n as u64 * 1_000, &timing),
            log: Log::default(),
            term: Term(0),
            leads: false,
            leader: None,
            handed: LogIndex(0),
            commands: Index(0),
            applied: Vec::new(),
            executed: 0,
            outcomes: BTreeMap::new(),
            taken: BTreeSet::new(),
        };
        Self {
            nodes: (0..NODES).map(node).collect(),
            rng: Rng::new(bytes),
            now: Instant::ZERO,
            commit: LogIndex(0),
            questions: BTreeMap::new(),
            answers: BTreeMap::new(),
            refuse: None,
            strangers: 0,
        }
    }

    fn pick(&mut self) -> usize {
        self.rng.below(NODES as u64) as usize
    }

    // --- Raft, in short --------------------------------------------------------------------

    /// Who leads in which term, as `n` knows it.
    fn lead(&mut self, n: usize, leader: Option<usize>) {
        let node = &mut self.nodes[n];
        node.leader = leader;
        node.leads = leader == Some(n);
        let known = leader.map(|leader| (peer(leader), node.term));
        node.calls.on_leader(known, node.leads, &node.log, node.handed, node.commands);
        if leader.is_none() {
            self.cut(n);
        }
    }

    fn elect(&mut self, n: usize) -> bool {
        let last = self.nodes[n].log.last();
        let term = self.nodes.iter().map(|node| node.term).max().unwrap().next();
        let voters: Vec<usize> =
            (0..NODES).filter(|v| *v == n || self.nodes[*v].log.last() <= last).collect();
        if voters.len() <= NODES / 2 {
            return false;
        }
        let helper = voters[self.rng.below(voters.len() as u64) as usize];
        for v in [n, if helper == n { *voters.iter().find(|v| **v != n).unwrap() } else { helper }]
        {
            self.nodes[v].term = term;
            self.lead(v, (v == n).then_some(n));
        }
        let node = &mut self.nodes[n];
        node.log.append(Run::empty(term, node.log.last().index.next(), Kind::Noop));
        true
    }

    /// The log of `to` becomes a prefix of that of `from`, at least as long as before if it agreed.
    fn replicate(&mut self, from: usize, to: usize, all: bool) {
        let term = self.nodes[from].term;
        if from == to || !self.nodes[from].leads {
            return;
        }
        if self.nodes[to].term > term {
            self.nodes[from].term = self.nodes[to].term;
            return self.lead(from, None);
        }
        let before = (self.nodes[to].term, self.nodes[to].leader);
        self.nodes[to].term = term;
        if before != (term, Some(from)) {
            self.lead(to, Some(from));
        }
        let mine = self.nodes[from].log.clone();
        let theirs = &mut self.nodes[to].log;
        if mine.base().index > theirs.last().index {
            return self.install(from, to);
        }
        let mut agree = theirs.last().index.min(mine.last().index);
        while agree > mine.base().index
            && agree > theirs.base().index
            && mine.term_at(agree) != theirs.term_at(agree)
        {
            agree = agree.prev();
        }
        if mine.term_at(agree) != theirs.term_at(agree) {
            return self.install(from, to);
        }
        if agree < theirs.last().index && mine.last().index > agree {
            theirs.truncate(agree.next());
        }
        let lacks = mine.last().index.0.saturating_sub(theirs.last().index.0);
        let sent = if all { lacks } else { self.rng.below(lacks + 1) };
        let from_index = theirs.last().index.next();
        if sent > 0 {
            let to_index = LogIndex(from_index.0 + sent - 1);
            mine.visit(from_index, to_index, usize::MAX, |run| theirs.append(run));
        }
        self.commit_by(from);
    }

    fn commit_by(&mut self, leader: usize) {
        let (mine, term) = (&self.nodes[leader].log, self.nodes[leader].term);
        let mut index = mine.last().index;
        while index > self.commit && mine.term_at(index) == Some(term) {
            let has = |node: &&Node| node.log.term_at(index) == Some(term);
            if self.nodes.iter().filter(has).count() > NODES / 2 {
                self.commit = index;
                return;
            }
            index = index.prev();
        }
    }

    /// Hands some committed entries over.
    fn hand(&mut self, n: usize, all: bool) {
        let node = &mut self.nodes[n];
        // What a member knows to be committed agrees with its log by the rules of Raft; here it is
        // found by looking: a follower that was not told yet knows nothing.
        let known = if node.leads || node.leader.is_some() { self.commit } else { node.handed };
        let holder = self.nodes.iter().position(|node| {
            node.log.last().index >= self.commit && node.log.base().index <= self.commit
        });
        let Some(holder) = holder else { return };
        let mut to = known.min(self.nodes[n].log.last().index);
        while to > self.nodes[n].handed
            && self.nodes[n].log.term_at(to) != self.nodes[holder].log.term_at(to)
        {
            to = to.prev();
        }
        if self.nodes[n].log.term_at(to) != self.committed_term(to) {
            return;
        }
        let node = &mut self.nodes[n];
        let lacks = to.0.saturating_sub(node.handed.0);
        let to = LogIndex(node.handed.0 + if all { lacks } else { self.rng.below(lacks + 1) });
        let mut runs = Vec::new();
        node.log.visit(node.handed.next(), to, usize::MAX, |run| runs.push(run));
        for run in runs {
            self.hand_run(n, &run);
        }
    }

    /// The term of a committed entry.
    fn committed_term(&self, index: LogIndex) -> Option<Term> {
        let has = |term: &Term| {
            self.nodes.iter().filter(|node| node.log.term_at(index) == Some(*term)).count()
                > NODES / 2
        };
        self.nodes.iter().filter_map(|node| node.log.term_at(index)).find(has)
    }

    fn hand_run(&mut self, n: usize, run: &Run) {
        let node = &mut self.nodes[n];
        match run.kind {
            Kind::Commands => {
                let first = node.commands.next();
                let applies = node.calls.hand(run, first);
                let mut at = 0;
                while let Ok((start, length)) = item::locate(&run.data, at) {
                    at = start + length;
                    node.applied.push(applies.then(|| read(&run.data[start..at])));
                }
                node.commands.0 += u64::from(run.count);
            }
            Kind::Control => {
                let control = Control::decode(&run.data).unwrap();
                node.calls.hand_control(run, &control);
            }
            Kind::Noop | Kind::Membership => {}
        }
        node.handed = run.end().index;
        self.listen(n);
    }

    /// `to` gets a snapshot of what `from` applied.
    fn install(&mut self, from: usize, to: usize) {
        let (source, at) = (&self.nodes[from], self.nodes[from].handed);
        if at <= self.nodes[to].handed {
            return;
        }
        let Some(term) = source.log.term_at(at) else { return };
        let table = source.calls.sessions.encode(at);
        let (applied, commands) = (source.applied.clone(), source.commands);
        // A leader of an earlier term has been replaced, and learns that with the snapshot (GRP-47).
        if self.nodes[to].term < term {
            self.nodes[to].term = term;
            self.lead(to, None);
        }
        let node = &mut self.nodes[to];
        let keeps = node.log.term_at(at) == Some(term);
        if keeps {
            node.log.compact(at);
        } else {
            node.log = Log::behind(Position { term, index: at }, commands.0);
        }
        (node.applied, node.commands, node.handed) = (applied, commands, at);
        assert!(node.calls.install(&table, at));
        self.listen(to);
    }

    // --- commands --------------------------------------------------------------------------

    fn execute(&mut self, n: usize) {
        let count = 1 + self.rng.below(6) as u32;
        let now = self.now;
        let node = &mut self.nodes[n];
        let first = node.executed;
        node.executed += u64::from(count);
        let data = commands(n, first, count);
        node.calls.client.execute(first, count, data, now, &mut node.calls.out);
        self.listen(n);
    }

    fn pump(&mut self, n: usize) {
        let now = self.now;
        let Some(leader) = self.nodes[n].leader else { return };
        while let Some(ask) = self.nodes[n].calls.client.next(now) {
            if leader == n {
                let answer = self.answer(n, n, ask);
                self.hear(n, answer);
            } else {
                self.questions.entry((n, leader)).or_default().push_back(ask);
            }
        }
    }

    /// A leader, or who is taken for it, answers.
    fn answer(&mut self, n: usize, from: usize, ask: Ask) -> Option<Answer> {
        let full = self.refuse;
        let node = &mut self.nodes[n];
        match ask {
            Ask::Open { nonce, attempt } => {
                if !node.leads {
                    return Some(Answer::Refused { attempt, number: 0, why: Why::NotLeader });
                }
                let peer = peer(from);
                if node.calls.intake.admit_opening(&node.calls.sessions, &peer, nonce) {
                    let data = Control::OpenSession { peer, nonce }.encode();
                    let at = propose(node, Kind::Control, 1, Origin::default(), data);
                    node.calls.intake.opening(at, peer, nonce);
                }
                None
            }
            Ask::Commands { session, number, count, attempt, data } => {
                let refused = |why| Some(Answer::Refused { attempt, number, why });
                if !node.leads {
                    return refused(Why::NotLeader);
                }
                let asked = Asked { peer: peer(from), session, number, count, attempt };
                let index = match node.calls.admit(&asked, data, node.handed) {
                    Err(why) => return refused(why),
                    Ok(Verdict::Known(index)) => index,
                    Ok(Verdict::Propose(..)) if full.is_some() => return refused(full?),
                    Ok(Verdict::Propose(proposal, data)) => {
                        propose(node, proposal.kind, proposal.count, proposal.origin, data);
                        node.calls.appended(&proposal, node.log.commands())
                    }
                };
                Some(Answer::Taken { attempt, number, index })
            }
        }
    }

    fn hear(&mut self, n: usize, answer: Option<Answer>) {
        let now = self.now;
        let Node { calls, handed, .. } = &mut self.nodes[n];
        match answer {
            None => {}
            Some(Answer::Taken { attempt, number, index }) => {
                calls.client.on_taken(attempt, number, index, now, &mut calls.out);
            }
            Some(Answer::Refused { attempt, number, why }) => {
                calls.on_refused(attempt, number, why, *handed, now);
            }
        }
        self.listen(n);
    }

    /// Frames arrive, at the leader or with the answer.
    fn deliver(&mut self, from: usize, to: usize) {
        if let Some(ask) = self.questions.entry((from, to)).or_default().pop_front()
            && let Some(answer) = self.answer(to, from, ask)
        {
            self.answers.entry((to, from)).or_default().push_back(answer);
        }
        if let Some(answer) = self.answers.entry((from, to)).or_default().pop_front() {
            self.hear(to, Some(answer));
        }
    }

    /// What is under way from and to `n` as a client is lost.
    fn cut(&mut self, n: usize) {
        for other in 0..NODES {
            self.questions.remove(&(n, other));
            self.answers.remove(&(other, n));
        }
        self.nodes[n].calls.client.on_cut(self.now);
    }

    /// Takes note of what a host is told.
    fn listen(&mut self, n: usize) {
        let node = &mut self.nodes[n];
        for output in node.calls.out.drain() {
            let (first, count, outcome) = match output {
                Output::Outcome { first, count, outcome } => (first, count, outcome),
                Output::Taken { first, count, .. } => {
                    for number in first..first + u64::from(count) {
                        assert!(node.taken.insert(number), "a first word is said once");
                    }
                    continue;
                }
                _ => continue,
            };
            for i in 0..u64::from(count) {
                let number = first + i;
                let mut outcome = outcome;
                if let Outcome::Committed { index } = &mut outcome {
                    index.0 += i;
                    let at = node.applied.get(index.0 as usize - 1).copied().flatten();
                    assert_eq!(at, Some((n, number)), "S10: it is this command that is applied");
                }
                let before = node.outcomes.insert(number, outcome);
                assert_eq!(before, None, "{number} of {n} ends once");
            }
        }
    }

    // --- schedules -------------------------------------------------------------------------

    fn step(&mut self) {
        let (a, b) = (self.pick(), self.pick());
        match self.rng.below(100) {
            0..=19 => self.execute(a),
            20..=39 => self.pump(a),
            40..=59 => self.deliver(a, b),
            60..=71 => self.replicate(a, b, false),
            72..=83 => self.hand(a, false),
            84..=85 => {
                self.elect(a);
            }
            86..=87 => self.cut(a),
            88 => self.lead(a, None),
            89..=92 => {
                let time = Duration::from_millis(1 + self.rng.below(300));
                self.pass(time);
            }
            93 => self.pass(Duration::from_secs(2)),
            94 => self.install(a, b),
            95 => {
                let at = self.nodes[a].handed;
                self.nodes[a].log.compact(at);
            }
            96 => self.refuse = Some(Why::LogFull),
            97 => self.refuse = Some(Why::Founders),
            98 => self.refuse = None,
            _ => self.crowd_out(a),
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        for n in 0..NODES {
            self.nodes[n].calls.on_timeout(self.now);
            self.listen(n);
        }
    }

    /// So many sessions of one peer are opened that its own goes.
    fn crowd_out(&mut self, victim: usize) {
        let Some(leader) = self.nodes.iter().position(|node| node.leads) else { return };
        if !self.rng.chance(200_000) {
            return;
        }
        for _ in 0..limits::SESSIONS_PER_PEER {
            self.strangers += 1;
            let nonce = u64::MAX - self.strangers;
            let data = Control::OpenSession { peer: peer(victim), nonce }.encode();
            let node = &mut self.nodes[leader];
            let at = propose(node, Kind::Control, 1, Origin::default(), data);
            node.calls.intake.opening(at, peer(victim), nonce);
        }
    }

    /// Faults end: everything that was executed must end as well.
    fn heal(&mut self) {
        self.refuse = None;
        for n in 0..NODES {
            if self.elect(n) {
                break;
            }
        }
        let leader = (0..NODES).filter(|n| self.nodes[*n].leads);
        let leader = leader.max_by_key(|n| self.nodes[*n].term).unwrap();
        for _ in 0..40 {
            for n in 0..NODES {
                self.pump(n);
                for _ in 0..2_000 {
                    self.deliver(n, leader);
                    self.deliver(leader, n);
                }
                self.replicate(leader, n, true);
            }
            (0..NODES).for_each(|n| self.hand(n, true));
            self.pass(Duration::from_millis(60));
        }
    }

    pub(super) fn check(&mut self) {
        self.heal();
        let longest = self.nodes.iter().map(|node| &node.applied).max_by_key(|a| a.len()).unwrap();
        let mut places = BTreeMap::new();
        let mut last = [None; NODES];
        for (at, command) in (1..).zip(longest) {
            let Some((who, number)) = *command else { continue };
            assert_eq!(places.insert((who, number), at), None, "S11: applied once");
            assert!(last[who] < Some(number), "in the order of execution");
            last[who] = Some(number);
        }
        for (n, node) in self.nodes.iter().enumerate() {
            assert_eq!(node.applied, longest[..node.applied.len()], "equal logs, equal states");
            for number in 0..node.executed {
                let outcome = node.outcomes.get(&number);
                let place = places.get(&(n, number));
                match outcome {
                    None => panic!("L3, L10, L14: {number} of {n} never ends"),
                    Some(Outcome::Committed { index }) => assert_eq!(place, Some(&index.0)),
                    Some(Outcome::Rejected(_)) => assert_eq!(place, None, "{number} of {n}"),
                    Some(Outcome::Unknown) => {}
                }
            }
        }
    }

    /// Outcomes by kind.
    fn count(&self, of: impl Fn(&Outcome) -> bool) -> usize {
        self.nodes.iter().flat_map(|node| node.outcomes.values()).filter(|o| of(o)).count()
    }
}

fn propose(node: &mut Node, kind: Kind, count: u32, origin: Origin, data: Bytes) -> LogIndex {
    let first = node.log.last().index.next();
    node.log.append(Run { term: node.term, first, count, kind, origin, data });
    first
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    /// GRP-32, GRP-33, GRP-34, GRP-35, GRP-36: whatever happens, every command ends once, what is
    /// committed is applied once and in order, what is rejected never.
    #[test]
    fn every_command_ends_once(seed: u64, steps in 50usize..1_500) {
        let mut world = World::new(seed);
        for _ in 0..steps {
            world.step();
        }
        world.check();
    }
}

/// A snapshot reaches somebody who led before what it covers.
#[test]
fn a_former_leader_that_gets_a_snapshot_leads_no_more() {
    let mut world = World::new(14_980_581_756_983_997_381);
    (0..890).for_each(|_| world.step());
    world.check();
}

/// The schedules above are worth something: they lead to every outcome.
#[test]
fn schedules_reach_every_outcome() {
    let (mut committed, mut unknown, mut rejected, mut full) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut world = World::new(seed);
        (0..1_000).for_each(|_| world.step());
        world.check();
        committed += world.count(|o| matches!(o, Outcome::Committed { .. }));
        unknown += world.count(|o| matches!(o, Outcome::Unknown));
        rejected += world.count(|o| matches!(o, Outcome::Rejected(Rejection::Offline)));
        full += world.count(|o| matches!(o, Outcome::Rejected(Rejection::LogFull)));
    }
    assert!(committed > 1_000 && unknown > 10 && rejected > 10 && full > 10);
}
