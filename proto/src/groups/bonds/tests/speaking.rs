//! GRP-05 to 09: what bonded members say to each other.

use alloc::vec;

use super::{
    super::*,
    not_found, peers, say,
    world::{Due, Side, World, announcement, config, vote},
};
use crate::{
    Digest,
    groups::{Action, frames::Told},
    raft::{Lineage, SeatId},
};

fn frames_of(events: &[BondEvent]) -> usize {
    events.iter().filter(|event| matches!(event, BondEvent::Frame { .. })).count()
}

// --- GRP-05, GRP-06: who speaks, and to whom -------------------------------------------------

#[test]
fn grp_05_a_change_is_announced_to_all() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    let changed = Announcement { leads: true, ..announcement(2, Some(7)) };
    world.sides[1].act(|bonds, cx| {
        bonds.announce(changed.clone(), cx);
        bonds.announce(changed.clone(), cx);
    });
    world.run();
    assert_eq!(world.sides[0].learnt(), [BondEvent::Changed(second)], "said once");
    assert_eq!(world.sides[0].bonds.get(&second), Some(&changed));
    assert_eq!(world.sides[1].learnt(), []);
    assert_eq!(world.sides[1].bonds.get(&first), Some(&announcement(1, Some(7))));
}

/// A change while the handshake is under way is not lost, on either side.
#[test]
fn grp_05_a_change_during_the_handshake_arrives() {
    for deliveries in 0..8 {
        let mut world = World::new([&config(), &config()]);
        world.meet(None);
        for at in 0..deliveries {
            world.deliver(1 - at % 2);
        }
        let lineage = Some(7);
        world.announce(announcement(1, lineage), announcement(3, lineage));
        world.run();
        let [first, second] = peers(&world);
        assert_eq!(world.sides[0].bonds.get(&second), Some(&announcement(3, lineage)));
        assert_eq!(world.sides[1].bonds.get(&first), Some(&announcement(1, lineage)));
        // Both know whom the other knows.
        assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 3), cx)));
        world.run();
        assert_eq!(frames_of(&world.sides[1].learnt()), 1);
    }
}

#[test]
fn grp_05_raft_speaks_within_one_lineage_and_to_one_seat() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    let side = &mut world.sides[0];
    assert!(!side.act(|bonds, cx| bonds.send(&second, &vote(8, 2), cx)), "another lineage");
    assert!(!side.act(|bonds, cx| bonds.send(&second, &vote(7, 3), cx)), "another seat");
    assert!(!side.act(|bonds, cx| bonds.send(&first, &vote(7, 1), cx)), "oneself");
    assert!(side.act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx)));
    // What is not about a lineage goes all the same.
    assert!(side.act(|bonds, cx| bonds.send(&second, &Frame::Told(Told::RolledBack), cx)));
    world.run();
    let events = world.sides[1].learnt();
    // Received: said by the sender's seat.
    assert_eq!(events[0], BondEvent::Frame { peer: first, frame: vote(7, 1) });
    assert_eq!(events.len(), 2);
    let apart = announcement(1, Some(8));
    world.sides[0].act(|bonds, cx| bonds.announce(apart, cx));
    let side = &mut world.sides[0];
    assert!(!side.act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx)));
    assert!(!side.act(|bonds, cx| bonds.send(&second, &vote(8, 2), cx)), "it is not there");
}

/// A vote asked of a seat that is another by the time it arrives, and an entry of a lineage that was
/// left, even if the member is back in it: nothing of it is heard.
#[test]
fn grp_06_what_was_meant_for_an_earlier_self_is_not_heard() {
    for (then, now) in [
        (announcement(2, Some(7)), announcement(9, Some(7))),
        (announcement(2, Some(8)), announcement(2, Some(7))),
        (announcement(2, None), announcement(9, Some(7))),
    ] {
        let mut world = World::bonded();
        let [first, second] = peers(&world);
        world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx));
        // Before it arrives:
        world.sides[1].act(|bonds, cx| bonds.announce(then, cx));
        world.sides[1].act(|bonds, cx| bonds.announce(now.clone(), cx));
        world.run();
        assert_eq!(frames_of(&world.sides[1].learnt()), 0);
        assert!(world.is_up() && world.closed == [vec![], vec![]], "it is no fault");
        // What is said with knowledge of the change is heard.
        let seat = now.seat.0[0];
        assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, seat), cx)));
        world.run();
        let heard = BondEvent::Frame { peer: first, frame: vote(7, 1) };
        assert_eq!(world.sides[1].learnt(), [heard]);
    }
}

/// The other changes of an announcement make no message stale.
#[test]
fn grp_06_a_new_leader_hears_what_is_under_way() {
    let mut world = World::bonded();
    let second = world.sides[1].me;
    world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx));
    let leads = Announcement { leads: true, ..announcement(2, Some(7)) };
    world.sides[1].act(|bonds, cx| bonds.announce(leads, cx));
    world.run();
    assert_eq!(frames_of(&world.sides[1].learnt()), 1);
}

/// Sent by one who ignores the rules: it claims to know an announcement that was never made, or
/// speaks of a lineage that is not ours.
#[test]
fn grp_06_who_speaks_of_another_lineage_breaks_the_rules() {
    for heard in [1, 7] {
        let mut world = World::bonded();
        let [first, second] = peers(&world);
        if heard == 1 {
            // Its lineage is another, and it knows ours.
            let apart = announcement(1, Some(8));
            world.sides[0].act(|bonds, cx| bonds.announce(apart, cx));
        }
        world.sides[0].act(|bonds, cx| {
            let bond = bonds.bond_mut(&second).expect("a bond");
            bond.main.put_frame(&vote(7, 2), heard, cx);
        });
        world.run();
        assert_eq!(world.closed[1], [CloseCode::PROTOCOL_VIOLATION]);
        assert_eq!(world.sides[1].learnt().last(), Some(&BondEvent::Down(first)));
    }
}

/// Frames of a bond that ended, under way on a channel that is not its any more.
#[test]
fn grp_06_nothing_of_an_earlier_bond_is_heard() {
    let mut world = World::bonded();
    let second = world.sides[1].me;
    world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx));
    world.collect();
    let late: Vec<_> = world.queues[1].drain(..).collect();
    world.unlink();
    // Restarted, with an empty store.
    world.sides[0].act(|bonds, cx| bonds.announce(announcement(5, Some(7)), cx));
    world.link();
    world.run();
    world.sides[1].learnt();
    for (channel, due) in late {
        if let Due::Data(bytes) = due {
            world.sides[1].data(channel, bytes);
        }
    }
    assert_eq!(world.sides[1].learnt(), []);
    let seat = |side: &Side, peer| side.bonds.get(peer).map(|said| said.seat);
    assert_eq!(seat(&world.sides[1], &world.sides[0].me), Some(SeatId([5; 16])));
}

// --- GRP-07: further channels ----------------------------------------------------------------

fn open_session(nonce: u64) -> Frame {
    Frame::OpenSession { lineage: Lineage([7; 16]), nonce, attempt: 0 }
}

fn refused(number: u64) -> Frame {
    let why = crate::groups::intake::Why::NotLeader;
    Frame::Refused { lineage: Lineage([7; 16]), number, attempt: 0, why }
}

#[test]
fn grp_07_questions_and_answers_share_a_channel() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    let answer = |world: &mut World, number| {
        world.sides[1].act(|bonds, cx| bonds.send(&first, &refused(number), cx))
    };
    assert!(!answer(&mut world, 1), "nothing was asked");
    for nonce in 0..3 {
        assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &open_session(nonce), cx)));
    }
    assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &Frame::FetchManifest, cx)));
    world.run();
    let events = world.sides[1].learnt();
    let frame = |frame| BondEvent::Frame { peer: first, frame };
    let asked = [open_session(0), open_session(1), open_session(2), Frame::FetchManifest];
    assert_eq!(events, asked.map(frame));
    assert!(answer(&mut world, 4));
    world.run();
    let heard = BondEvent::Frame { peer: second, frame: refused(4) };
    assert_eq!(world.sides[0].learnt(), [heard]);
    // Both may ask: each has its own channel.
    assert!(world.sides[1].act(|bonds, cx| bonds.send(&first, &open_session(9), cx)));
    world.run();
    assert_eq!(frames_of(&world.sides[0].learnt()), 1);
    assert_eq!(world.sides[0].shared.routes.len(), 4, "a bond, commands both ways, a snapshot");
    world.sides[1].act(|bonds, cx| bonds.refuse(&first, CloseCode::CANCELLED, cx));
    world.run();
    assert!(world.sides.iter().all(|side| side.shared.routes.is_empty()), "they end together");
}

#[test]
fn grp_07_without_a_bond_there_are_no_further_channels() {
    let open = Open { group: config().id, class: Class::Commands, serial: 5 };
    let mut bytes = Vec::new();
    frames::put_open(&open, &[], &mut Vec::new(), &mut |head: wire::Head, body: Bytes| {
        bytes.extend([head.as_slice(), &body].concat());
    });
    let bytes = Bytes::from(bytes);
    let mut world = World::new([&config(), &config()]);
    world.meet(None);
    let [first, second] = peers(&world);
    assert_eq!(say(&mut world.sides[1], first, 500, bytes.clone()), Some(not_found()));
    // Nor with one that was only begun by this end.
    assert_eq!(say(&mut world.sides[0], second, 501, bytes.clone()), Some(not_found()));
    let mut world = World::bonded();
    world.unlink();
    assert_eq!(say(&mut world.sides[1], first, 502, bytes), Some(not_found()));
}

/// Channels are not ordered among each other: the first question overtakes READY.
#[test]
fn grp_07_a_question_may_come_before_ready() {
    let mut world = World::new([&config(), &config()]);
    world.meet(Some(7));
    while world.deliver(1) {}
    world.deliver(0);
    let [first, second] = peers(&world);
    assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &open_session(1), cx)));
    world.collect();
    let ready = world.queues[1].pop_front().expect("READY");
    world.queues[1].push_back(ready);
    while world.deliver(1) {}
    let frame = BondEvent::Frame { peer: first, frame: open_session(1) };
    assert_eq!(world.sides[1].learnt(), [BondEvent::Up(first), frame]);
    assert!(world.is_up());
}

/// Of one class there is one from each end: the later one.
#[test]
fn grp_07_a_second_channel_takes_the_place_of_the_first() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &open_session(1), cx)));
    world.run();
    let before = world.sides[1].shared.routes.clone();
    let open = Open { group: config().id, class: Class::Commands, serial: 99 };
    let mut bytes = Vec::new();
    frames::put_open(&open, &[], &mut Vec::new(), &mut |head: wire::Head, body: Bytes| {
        bytes.extend([head.as_slice(), &body].concat());
    });
    assert_eq!(say(&mut world.sides[1], first, 500, bytes.into()), None);
    let after = &world.sides[1].shared.routes;
    let gone: Vec<_> = before.keys().filter(|channel| !after.contains_key(channel)).collect();
    assert_eq!((gone.len(), after.len()), (1, before.len()), "INV-GRP-1");
    assert!(after.contains_key(&ChannelId::driver(500)));
}

/// A further channel that ends takes nothing with it; the next question opens another.
#[test]
fn grp_07_a_further_channel_can_be_opened_again() {
    let mut world = World::bonded();
    let second = world.sides[1].me;
    for nonce in 0..3 {
        assert!(world.sides[0].act(|bonds, cx| bonds.send(&second, &open_session(nonce), cx)));
        world.run();
        let events = world.sides[1].learnt();
        assert_eq!(frames_of(&events), 1);
        let channel = *world.sides[1].shared.routes.keys().next_back().expect("a channel");
        world.sides[1].act(|_, cx| cx.close(channel, CloseCode::CANCELLED));
        world.sides[1].down(channel);
        world.run();
        assert!(world.is_up());
    }
}

// --- GRP-08: what a peer may not send --------------------------------------------------------

#[test]
fn grp_08_a_frame_that_is_none_ends_the_bond() {
    let huge = [5, 0xff, 0xff, 0xff, 0xff];
    let unknown = [99, 0, 0, 0, 0];
    let commands = [16, 0, 0, 0, 0];
    let open = [frames::OPEN, 0, 0, 0, 0];
    let nonsense = [4, 0, 0, 0, 1, 0xff];
    for bytes in [&huge[..], &unknown, &commands, &open, &nonsense] {
        let mut world = World::bonded();
        let [first, second] = peers(&world);
        let bytes = Bytes::copy_from_slice(bytes);
        world.sides[0].act(|bonds, cx| {
            let channel = bonds.bond_mut(&second).expect("a bond").main.channel;
            cx.write(channel, wire::Head::new(), bytes);
        });
        world.run();
        assert_eq!(world.closed[1], [CloseCode::PROTOCOL_VIOLATION]);
        assert_eq!(world.sides[1].learnt(), [BondEvent::Down(first)]);
        let counted = |side: &Side| {
            side.actions.iter().any(|a| matches!(a, Action::Count(Counter::Violation(_))))
        };
        assert!(counted(&world.sides[1]));
        world.advance(100);
        assert!(world.is_up(), "another attempt, after a while");
    }
}

/// Raft before the handshake is over.
#[test]
fn grp_08_nothing_is_heard_before_the_bond_is_up() {
    let mut world = World::new([&config(), &config()]);
    world.meet(Some(7));
    let second = world.sides[1].me;
    world.sides[0].act(|bonds, cx| {
        let bond = bonds.bond_mut(&second).expect("an attempt");
        bond.main.put_frame(&vote(7, 2), 1, cx);
    });
    world.run();
    assert_eq!(world.closed[1], [CloseCode::PROTOCOL_VIOLATION]);
    assert_eq!(world.sides[1].learnt(), []);
}

#[test]
fn grp_08_a_frame_under_way_is_a_sign_of_life() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx));
    world.collect();
    let (channel, due) = world.queues[1].pop_front().expect("a frame");
    let Due::Data(bytes) = due else { panic!("a frame") };
    world.sides[1].data(channel, bytes.slice(..7));
    let progress = BondEvent::Progress { peer: first, class: Class::Bond };
    assert_eq!(world.sides[1].learnt(), [progress]);
    world.sides[1].data(channel, bytes.slice(7..));
    assert_eq!(frames_of(&world.sides[1].learnt()), 1);
}

// --- GRP-09: what is under way is bounded ----------------------------------------------------

fn chunk(bytes: usize) -> Frame {
    Frame::Chunk { chunk: 1, data: vec![0; bytes].into() }
}

#[test]
fn grp_09_further_channels_take_a_debt_and_no_more() {
    let mut world = World::bonded();
    let [first, second] = peers(&world);
    world.sides[0].act(|bonds, cx| bonds.send(&second, &Frame::FetchManifest, cx));
    world.run();
    let mut sent = 0;
    while world.sides[1].act(|bonds, cx| bonds.send(&first, &chunk(100_000), cx)) {
        sent += 1;
    }
    assert_eq!(sent, 3, "one frame beyond CHANNEL_DEBT at most");
    let debt = world.sides[1].bonds.debt(&first, Class::Snapshot);
    assert!((limits::CHANNEL_DEBT..limits::CHANNEL_DEBT + 100_100).contains(&debt));
    let channel = *world.sides[1].shared.routes.keys().next_back().expect("a channel");
    world.sides[1].learnt();
    world.sides[1].act(|bonds, _| bonds.on_drained(&first, channel, 100_000));
    let drained = BondEvent::Drained { peer: first, class: Class::Snapshot };
    assert_eq!(world.sides[1].learnt(), [drained]);
    assert!(world.sides[1].act(|bonds, cx| bonds.send(&first, &chunk(100_000), cx)));
    assert_eq!(world.sides[1].bonds.debt(&first, Class::Bond), announced(&world));
}

/// What the acceptor's main channel carried so far.
fn announced(world: &World) -> u64 {
    let sealed = frames::PROOF + wire::encode(&announcement(2, Some(7))).len();
    assert!(world.is_up());
    (wire::HEADER_LEN + sealed) as u64
}

/// The first end owes the second nearly as much as it may.
fn owe(world: &mut World) {
    let [_, second] = peers(world);
    world.sides[0].act(|bonds, _| {
        bonds.bond_mut(&second).expect("a bond").main.debt = limits::BOND_DEBT - 10_000;
    });
}

#[test]
fn grp_09_who_does_not_read_is_not_waited_for() {
    let mut world = World::bonded();
    let [_, second] = peers(&world);
    owe(&mut world);
    let mut debt = 0;
    while world.sides[0].act(|bonds, cx| bonds.send(&second, &vote(7, 2), cx)) {
        debt = world.sides[0].bonds.debt(&second, Class::Bond);
    }
    assert!(debt <= limits::BOND_DEBT && debt + 64 > limits::BOND_DEBT, "{debt}");
    assert_eq!(world.sides[0].learnt(), [BondEvent::Down(second)]);
    world.collect();
    assert_eq!(world.closed[0], [CloseCode::GROUP_TIMEOUT]);
}

/// Announcements count too.
#[test]
fn grp_09_who_does_not_hear_is_not_told_for_ever() {
    let mut world = World::bonded();
    let [_, second] = peers(&world);
    owe(&mut world);
    let mut most = 0;
    while world.sides[0].is_up(&second) {
        most = world.sides[0].bonds.debt(&second, Class::Bond);
        let leads = !world.sides[0].bonds.mine().is_some_and(|mine| mine.leads);
        let said = Announcement { leads, ..announcement(1, Some(7)) };
        world.sides[0].act(|bonds, cx| bonds.announce(said, cx));
        world.sides[0].out.drain();
    }
    assert!(most <= limits::BOND_DEBT);
}

#[test]
fn grp_09_bonds_are_bounded() {
    let mut side = Side::new(1, &config());
    side.act(|bonds, cx| bonds.announce(announcement(1, None), cx));
    for at in 0..limits::BONDS as u64 {
        let peer = PeerId::from_bytes(*Digest::from_u64(at + 1).as_bytes());
        assert!(side.act(|bonds, cx| bonds.admit(&peer, cx)));
    }
    let other = Side::new(2, &config());
    side.learn(&other.entry);
    assert!(!side.bonds.peers.contains_key(&other.me));
}
