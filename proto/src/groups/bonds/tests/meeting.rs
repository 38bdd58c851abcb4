//! GRP-02 to 04: who is bonded with.

use alloc::vec;

use super::{
    super::*,
    not_found, peers, say,
    world::{self, Due, Side, World, announcement, config, with_tickets},
};
use crate::{Digest, groups::Action, time::UnixMillis};

// --- GRP-02: proof ---------------------------------------------------------------------------

#[test]
fn grp_02_who_does_not_know_the_secret_is_told_nothing() {
    let stranger = GroupConfig { secret: Digest::from("a guess"), ..config() };
    for configs in [[&stranger, &config()], [&config(), &stranger]] {
        let mut world = World::new(configs);
        world.meet(None);
        world.run();
        assert_eq!(world.closed[1], [not_found()]);
        assert!(world.sides.iter_mut().all(|side| side.learnt().is_empty()));
        let said = world.sides[1].actions.iter().any(|a| matches!(a, Action::Write { .. }));
        assert!(!said, "no announcement goes to whom proved nothing");
    }
}

/// GRP-04 speaks of predicate and tickets: who proves nothing does not even learn of these.
#[test]
fn grp_02_the_proof_is_looked_at_first() {
    let stranger = GroupConfig { secret: Digest::from("a guess"), ..config() };
    let mut world = World::new([&stranger, &with_tickets()]);
    world.meet(None);
    world.run();
    assert_eq!(world.closed[1], [not_found()]);
}

/// The `OPEN` of a real member, as the other end of its link sees it.
fn real_open(world: &mut World) -> Bytes {
    world.meet(None);
    world.collect();
    let data = world.queues[1].iter().find_map(|(_, due)| match due {
        Due::Data(bytes) => Some(bytes.clone()),
        Due::Up | Due::Down => None,
    });
    let bytes: Vec<u8> = world.queues[1]
        .iter()
        .filter_map(|(_, due)| if let Due::Data(bytes) = due { Some(&bytes[..]) } else { None })
        .collect::<Vec<_>>()
        .concat();
    assert!(data.is_some());
    bytes.into()
}

#[test]
fn grp_02_a_proof_is_of_no_use_on_another_link() {
    let mut world = World::new([&config(), &config()]);
    let open = real_open(&mut world);
    let [first, second] = peers(&world);
    let side = &mut world.sides[1];
    // The same peer on a later link, then somebody in between on the same one.
    side.connect(first, 99, 99);
    assert_eq!(say(side, first, 500, open.clone()), Some(not_found()));
    let other = Side::new(9, &config());
    side.catalog.set(other.entry.signed().clone());
    side.connect(other.me, 2, 2);
    assert_eq!(say(side, other.me, 501, open.clone()), Some(not_found()));
    // Said back to whom it comes from.
    let side = &mut world.sides[0];
    assert_eq!(say(side, second, 502, open), Some(not_found()));
}

/// Two groups with one key: a member of one is no member of the other.
#[test]
fn grp_02_a_proof_is_of_no_use_for_another_group() {
    let twin = GroupConfig { id: GroupId::from("another group"), ..config() };
    let mut world = World::new([&config(), &config()]);
    let open = real_open(&mut world);
    let first = world.sides[0].me;
    world.sides[1].bonds = Bonds::new(&twin);
    world.sides[1].act(|bonds, cx| bonds.announce(announcement(2, None), cx));
    // As if it had been meant for the other group.
    let at = open.len() - wire::encode(&announcement(1, None)).len() - frames::PROOF;
    let before = wire::encode(&Open { group: config().id, class: Class::Bond, serial: 1 }).len();
    assert_eq!(at, wire::HEADER_LEN + before);
    let forged = Open { group: twin.id, class: Class::Bond, serial: 1 };
    let bytes = [&open[..wire::HEADER_LEN], &wire::encode(&forged), &open[at..]].concat();
    assert_eq!(say(&mut world.sides[1], first, 500, bytes.into()), Some(not_found()));
}

/// An opener's words are none of an acceptor, even if one key spoke at both ends.
#[test]
fn grp_02_a_proof_is_for_one_end() {
    let prover = Prover::new(config().id, &config().secret);
    let proof = |end| prover.proof(&[1; 32], &PeerId::from_bytes([2; 32]), end, b"words");
    assert_ne!(proof(End::Opener), proof(End::Acceptor));
    assert_eq!(proof(End::Opener), proof(End::Acceptor.other()));
}

#[test]
fn grp_02_a_proof_covers_all_that_is_announced() {
    let mut world = World::new([&config(), &config()]);
    let open = real_open(&mut world);
    let first = world.sides[0].me;
    let sealed = open.len() - frames::PROOF - wire::encode(&announcement(1, None)).len();
    for at in sealed..open.len() {
        let mut forged = open.to_vec();
        forged[at] ^= 1;
        let code = say(&mut world.sides[1], first, 500 + at as u64, forged.into());
        assert_eq!(code, Some(not_found()), "byte {at}");
    }
    assert_eq!(say(&mut world.sides[1], first, 400, open), None, "the real one is fine");
}

/// Also later: an announcement without a proof ends the bond.
#[test]
fn grp_02_every_announcement_is_proved() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    let bond = world.sides[0].bonds.peers.get_mut(&second).and_then(|p| p.bond.as_mut());
    let bytes = wire::encode(&announcement(1, Some(8)));
    let stranger = Prover::new(config().id, &Digest::from("a guess"));
    let sealed = seal(&stranger, bond.as_ref().expect("a bond"), first, &bytes);
    world.sides[0].act(|bonds, cx| {
        let bond = bonds.bond_mut(&second).expect("a bond");
        bond.main.put_announce(&sealed, cx);
    });
    world.run();
    assert_eq!(world.closed[1], [not_found()]);
    assert_eq!(world.sides[1].learnt(), [BondEvent::Down(first)]);
}

// --- GRP-03: finding each other --------------------------------------------------------------

#[test]
fn grp_03_two_members_bond_as_soon_as_they_can() {
    // In whatever order announcement, entry and link come.
    for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
        let mut world = World::new([&config(), &config()]);
        for step in order {
            assert!(!world.is_up());
            match step {
                0 => world.announce(announcement(1, None), announcement(2, Some(7))),
                1 => world.introduce(),
                _ => world.link(),
            }
            world.run();
        }
        assert!(world.is_up(), "{order:?}");
        let [first, second] = peers(&world);
        assert_eq!(world.sides[0].learnt(), [BondEvent::Up(second)]);
        assert_eq!(world.sides[1].learnt(), [BondEvent::Up(first)]);
        assert_eq!(world.sides[0].bonds.get(&second), Some(&announcement(2, Some(7))));
        assert_eq!(world.sides[1].bonds.get(&first), Some(&announcement(1, None)));
        let wants = |side: &Side| {
            side.actions.iter().filter(|action| matches!(action, Action::Want(_))).count()
        };
        assert_eq!(world.sides.each_ref().map(wants), [1, 1]);
        let opens = |side: &Side| {
            side.actions.iter().filter(|action| matches!(action, Action::Open { .. })).count()
        };
        assert_eq!(world.sides.each_ref().map(opens), [1, 0], "the smaller id opens");
    }
}

/// The acceptor's catalog may be behind: the proof says more than an entry.
#[test]
fn grp_03_an_entry_that_is_behind_delays_nothing() {
    let mut world = World::new([&config(), &config()]);
    let mut before = LocalEntryBefore::of(&world.sides[0]);
    world.announce(announcement(1, None), announcement(2, None));
    world.sides[1].learn(&before.take());
    let second = world.sides[1].entry.signed().clone();
    world.sides[0].catalog.set(second);
    world.link();
    world.run();
    assert!(world.is_up());
}

/// An entry of the same peer from before it joined.
struct LocalEntryBefore(Option<crate::discovery::LocalEntry>);

impl LocalEntryBefore {
    fn of(side: &Side) -> Self {
        let key = side.entry.key().clone();
        let network = Digest::from("net");
        Self(Some(crate::discovery::LocalEntry::new(network, key, UnixMillis(1))))
    }
    fn take(&mut self) -> crate::discovery::LocalEntry {
        self.0.take().expect("once")
    }
}

#[test]
fn grp_03_a_refused_bond_is_tried_again() {
    // The acceptor has not joined yet, as far as it says.
    let mut world = World::new([&config(), &config()]);
    world.sides[0].act(|bonds, cx| bonds.announce(announcement(1, None), cx));
    world.introduce();
    world.link();
    let mut waits = Vec::new();
    let (mut waited, mut refusals) = (0, 0);
    for _ in 0..6_000 {
        world.advance(1);
        waited += 1;
        if world.closed[1].len() > refusals {
            refusals = world.closed[1].len();
            waits.push(waited);
            waited = 0;
        }
    }
    let expected = [50, 100, 200, 400, 800, 1_000, 1_000];
    for (wait, expected) in waits[1..].iter().zip(expected) {
        assert!((expected * 3 / 4..=expected * 5 / 4 + 1).contains(wait), "{waits:?}");
    }
    // A new entry of the acceptor: at once.
    world.sides[1].act(|bonds, cx| bonds.announce(announcement(2, None), cx));
    world.sides[1].entry.raise(UnixMillis(1), world.sides[1].entry.signed().update_version());
    world.introduce();
    world.run();
    assert!(world.is_up());
}

/// A bond that held does not pay for the attempts before it; one that broke at once does.
#[test]
fn grp_03_who_was_bonded_for_a_while_begins_anew() {
    for (lived, most) in [(1_000, 70), (100, 1_300)] {
        let mut world = World::bonded();
        let second = world.sides[1].me;
        world.sides[0].bonds.peers.get_mut(&second).expect("a bond").failures = 9;
        world.advance(lived);
        world.sides[0].act(|bonds, cx| bonds.refuse(&second, CloseCode::CANCELLED, cx));
        world.run();
        let mut waited = 0;
        while !world.is_up() {
            world.advance(1);
            waited += 1;
        }
        assert!((most / 2..=most).contains(&waited), "{waited} ms after {lived}");
    }
}

#[test]
fn grp_03_an_answer_that_does_not_come_is_not_waited_for() {
    let mut world = World::new([&config(), &config()]);
    world.meet(None);
    world.collect();
    world.queues[1].clear();
    world.sides[0].advance(1_999);
    world.collect();
    assert_eq!(world.closed[0], []);
    world.sides[0].advance(1);
    world.collect();
    assert_eq!(world.closed[0], [CloseCode::GROUP_TIMEOUT]);
    world.queues[1].clear();
    world.advance(100);
    assert!(world.is_up(), "the next attempt is answered");
}

/// Who answered and does not hear READY gives up as well.
#[test]
fn grp_03_half_a_bond_is_no_bond() {
    let mut world = World::new([&config(), &config()]);
    world.meet(None);
    while world.deliver(1) {}
    assert_eq!(world.sides[1].learnt(), [], "answered, not up");
    world.queues[0].clear();
    world.sides[1].advance(2_000);
    world.collect();
    assert_eq!(world.closed[1], [CloseCode::GROUP_TIMEOUT]);
    assert_eq!(world.sides[1].learnt(), []);
}

#[test]
fn grp_03_a_lost_link_ends_the_bond_and_the_next_brings_it_back() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    for _ in 0..3 {
        world.unlink();
        assert_eq!(world.sides[0].learnt(), [BondEvent::Down(second)]);
        assert_eq!(world.sides[1].learnt(), [BondEvent::Down(first)]);
        assert!(world.sides[0].shared.routes.is_empty(), "INV-GRP-1");
        world.link();
        world.run();
        assert!(world.is_up());
        assert_eq!(world.sides[0].learnt(), [BondEvent::Up(second)]);
        assert_eq!(world.sides[1].learnt(), [BondEvent::Up(first)]);
    }
}

/// The opener gave its channel up and opened another; the acceptor hears of the second first.
#[test]
fn grp_03_the_later_channel_is_the_bond() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    // The end of the channel is under way for ever.
    world.sides[0].act(|bonds, cx| bonds.refuse(&second, CloseCode::CANCELLED, cx));
    world.collect();
    world.queues[1].clear();
    assert_eq!(world.sides[0].learnt(), [BondEvent::Down(second)]);
    world.advance(100);
    assert!(world.is_up());
    assert_eq!(world.sides[1].learnt(), [BondEvent::Down(first), BondEvent::Up(first)]);
    assert_eq!(world.closed[1], [CloseCode::GROUP_ALREADY_BONDED]);
    assert_eq!(world.sides[1].shared.routes.len(), 1, "INV-GRP-1");
}

/// ... or it hears of the first when the second is up.
#[test]
fn grp_03_an_earlier_channel_that_comes_late_is_refused() {
    let mut world = World::new([&config(), &config()]);
    let open = real_open(&mut world);
    let first = world.sides[0].me;
    world.queues[1].clear();
    world.sides[0].advance(2_000);
    world.sides[0].advance(100);
    world.run();
    assert!(world.is_up());
    let code = say(&mut world.sides[1], first, 500, open);
    assert_eq!(code, Some(CloseCode::GROUP_ALREADY_BONDED));
    assert!(world.is_up());
}

#[test]
fn grp_03_the_larger_id_opens_nothing() {
    let mut world = World::new([&config(), &config()]);
    world.meet(None);
    let [first, second] = peers(&world);
    // By hand, with a right proof.
    let link = world.sides[0].shared.links[&second];
    let lane = Lane::new(ChannelId::driver(9), FrameReader::new());
    let now = world.sides[0].now.mono;
    let bond = Bond::new(Phase::Opening, 1, link.binding, lane, now);
    let prover = Prover::new(config().id, &config().secret);
    let sealed = seal(&prover, &bond, second, &wire::encode(&announcement(2, None)));
    let open = Open { group: config().id, class: Class::Bond, serial: 1 };
    let mut bytes = Vec::new();
    frames::put_open(&open, &sealed, &mut Vec::new(), &mut |head: wire::Head, body: Bytes| {
        bytes.extend([head.as_slice(), &body].concat());
    });
    world.collect();
    let code = say(&mut world.sides[0], second, 500, bytes.into());
    assert_eq!(code, Some(CloseCode::PROTOCOL_VIOLATION));
    world.run();
    assert!(world.is_up(), "and {first} opens as it should");
}

#[test]
fn grp_03_a_member_that_leaves_is_let_go() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    let group = config().id;
    world.sides[1].act(|bonds, cx| bonds.close_all(CloseCode::GRACEFUL_SHUTDOWN, cx));
    world.sides[1]
        .entry
        .edit(UnixMillis(world::WALL + 1), |draft| {
            draft.groups().remove(&group);
        })
        .expect("small");
    world.introduce();
    world.run();
    world.advance(100);
    assert_eq!(world.sides[0].learnt(), [BondEvent::Down(second)]);
    let unwanted = |side: &Side, peer| {
        side.actions.iter().any(|action| matches!(action, Action::Unwant(p) if *p == peer))
    };
    assert!(unwanted(&world.sides[0], second) && unwanted(&world.sides[1], first));
    assert!(world.sides[0].shared.timers.is_empty(), "nothing is tried again");
}

// --- GRP-04: predicate and tickets -----------------------------------------------------------

#[test]
fn grp_04_both_ends_ask_predicate_and_tickets() {
    let picky = GroupConfig { require: crate::streams::Predicate::new(|_| false), ..config() };
    for refused in [&picky, &with_tickets()] {
        // Who opens does not even try; who accepts says why.
        for (at, said) in [(0, &[][..]), (1, &[CloseCode::GROUP_NOT_ALLOWED][..])] {
            let plain = config();
            let mut configs = [&plain, &plain];
            configs[at] = refused;
            let mut world = World::new(configs);
            world.meet(None);
            world.run();
            assert!(!world.is_up());
            assert_eq!(world.closed[1], said);
        }
    }
}

#[test]
fn grp_04_a_bond_ends_with_its_tickets() {
    let mut world = World::new([&with_tickets(), &config()]);
    world.sides[1].buy_ticket(5_000);
    world.meet(None);
    world.run();
    assert!(world.is_up());
    world.sides[0].learnt();
    world.advance(4_999);
    assert!(world.is_up());
    world.advance(1);
    assert!(!world.is_up());
    assert_eq!(world.closed[0], [CloseCode::GROUP_NOT_ALLOWED]);
    // A new one, and all is well again.
    world.sides[1].now.wall.0 += 1;
    world.sides[1].buy_ticket(5_000);
    world.introduce();
    world.run();
    assert!(world.is_up());
}

#[test]
fn grp_04_a_ticket_that_is_renewed_keeps_the_bond() {
    let mut world = World::new([&config(), &with_tickets()]);
    world.sides[0].buy_ticket(5_000);
    world.meet(None);
    world.run();
    for _ in 0..5 {
        world.advance(3_000);
        world.sides[0].buy_ticket(5_000);
        world.introduce();
        world.run();
        assert!(world.is_up());
    }
    assert_eq!(world.closed, [vec![], vec![]]);
}

/// A clock that is set back gives nobody time.
#[test]
fn grp_04_a_ticket_ends_by_the_monotonic_clock_too() {
    let mut world = World::new([&with_tickets(), &config()]);
    world.sides[1].buy_ticket(5_000);
    world.meet(None);
    world.run();
    world.sides[0].now.wall.0 -= 3_600_000;
    for _ in 0..6 {
        world.advance(1_000);
    }
    assert!(!world.is_up());
}

/// Tickets that were revoked show in the entry: the bond ends when it comes.
#[test]
fn grp_04_a_revoked_ticket_ends_the_bond() {
    let mut world = World::new([&with_tickets(), &config()]);
    world.sides[1].buy_ticket(50_000);
    world.meet(None);
    world.run();
    assert!(world.is_up());
    let wall = world.sides[1].now.wall;
    world.sides[1].entry.edit(wall, |draft| draft.tickets().clear()).expect("small");
    world.introduce();
    world.run();
    assert!(!world.is_up());
    assert_eq!(world.closed[0], [CloseCode::GROUP_NOT_ALLOWED]);
}
