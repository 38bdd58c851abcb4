//! What may happen while a snapshot is fetched.

mod world;

use alloc::collections::VecDeque;

use proptest::prelude::*;

use self::world::{CHUNK, Image, LINEAGE, World, base, peer};
use super::*;
use crate::raft::Term;

/// GRP-43: a newcomer to a group whose log was compacted gets the snapshot from all who hold it.
#[test]
fn grp_43_all_who_hold_it_serve() {
    let image = Image::new(100, 40, 1);
    let mut world = World::new(1);
    (1..=4).for_each(|name| world.add(name, &image));
    let fetched = world.fetch_from(1, 90, 3).unwrap();
    assert_eq!(
        (fetched.manifest.snapshot, &fetched.sessions[..]),
        (image.snapshot, &b"the sessions"[..])
    );
    assert_eq!(world.content(), image.bytes);
    assert!(!world.fetch.is_busy());
}

/// GRP-42 (S17): chunks come only from those who hold what the leader named, by its digest.
#[test]
fn grp_42_s17_two_histories_are_not_mixed() {
    let (image, other) = (Image::new(100, 20, 1), Image::new(100, 20, 2));
    for seed in 0..20 {
        let mut world = World::new(seed);
        world.add(1, &image);
        world.add(2, &other);
        world.add(3, &image);
        world.fetch_from(3, 90, 3).unwrap();
        assert_eq!(world.content(), image.bytes);
        assert_eq!(world.begun, 1);
        assert!(world.servers[&peer(2)].snapshots.held().is_some());
    }
}

/// GRP-42: only the leader names what is fetched, and it must hold what the log does not.
#[test]
fn grp_42_the_leader_names_it() {
    let (old, new) = (Image::new(100, 5, 1), Image::new(200, 5, 2));
    let mut world = World::new(1);
    world.add(1, &old);
    world.add(2, &new);
    world.need(1, 150);
    world.run();
    assert_eq!(world.begun, 0, "the leader's is too old, the other is not the leader");
    world.fetch_from(2, 150, 2).unwrap();
    assert_eq!(world.content(), new.bytes);
}

/// GRP-45: a member sends wrong bytes: nothing of it stays, and the leader's are taken.
#[test]
fn grp_45_wrong_bytes_are_fetched_again_from_the_leader() {
    let image = Image::new(100, 30, 1);
    for seed in 0..10 {
        let mut world = World::new(seed);
        (1..=3).for_each(|name| world.add(name, &image));
        world.servers.get_mut(&peer(2)).unwrap().image = Image::new(100, 30, 9);
        let fetched = world.fetch_from(3, 90, 10).unwrap();
        assert_eq!(world.content(), image.bytes);
        assert_eq!(fetched.manifest.digest, image.digest);
        assert_eq!(world.begun, 2);
    }
}

/// GRP-45: the only source sends wrong bytes: it is named, and asked again only after a while.
#[test]
fn grp_45_who_alone_sent_wrong_bytes_is_faulty() {
    let image = Image::new(100, 3, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.servers.get_mut(&peer(1)).unwrap().image = Image::new(100, 3, 9);
    assert!(world.fetch_from(1, 90, 4).is_none());
    assert_eq!(world.faulty, [peer(1)]);
    let asked = world.asked;
    assert!(world.fetch_from(1, 90, 3).is_none());
    assert_eq!(world.asked, asked, "it rests");
    // Another who holds it helps out, once the first has been tried.
    world.servers.get_mut(&peer(1)).unwrap().image = image.clone();
    world.wait(5);
    world.fetch_from(1, 90, 3).unwrap();
}

/// GRP-45: the leader sent wrong bytes, and the other who has it dies: it is not waited for for ever.
#[test]
fn grp_45_when_all_that_are_left_were_wrong_it_begins_again() {
    let image = Image::new(100, 30, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.servers.get_mut(&peer(1)).unwrap().image = Image::new(100, 30, 9);
    world.add(2, &image);
    // Both serve; then the leader alone, which is wrong again; then the other, which says nothing.
    while world.faulty.is_empty() {
        assert!(world.fetch_from(1, 90, 1).is_none());
    }
    assert_eq!(world.faulty, [peer(1)]);
    world.servers.get_mut(&peer(2)).unwrap().mute = true;
    world.servers.get_mut(&peer(1)).unwrap().image = image.clone();
    world.fetch_from(1, 90, 60).unwrap();
    assert_eq!(world.content(), image.bytes);
}

/// GRP-45: a chunk that is no chunk of it is known at once.
#[test]
fn grp_45_a_chunk_of_another_size_is_refused_at_once() {
    let image = Image::new(100, 30, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.add(2, &image);
    let short = Image::new(100, 1, 1);
    world.servers.get_mut(&peer(2)).unwrap().image.bytes =
        short.bytes.iter().copied().cycle().take(30 * CHUNK - 100).collect::<Bytes>();
    let server = world.servers.get_mut(&peer(2)).unwrap();
    server.image.bytes = server.image.bytes.slice(..29 * CHUNK + 7);
    // Chunk 29 of member 2 is short now; whoever gets it, the result is right.
    world.fetch_from(1, 90, 10).unwrap();
    assert_eq!(world.content(), image.bytes);
}

/// L4: the source dies in the middle: the others go on, nothing is fetched twice from the start.
#[test]
fn l4_a_source_that_dies_is_replaced() {
    let image = Image::new(100, 40, 1);
    for steps in [3, 10, 30, 60, 100] {
        let mut world = World::new(steps);
        (1..=3).for_each(|name| world.add(name, &image));
        world.need(1, 90);
        (0..steps).for_each(|_| assert!(world.step()));
        world.drop_server(1);
        world.run();
        if world.begun == 0 {
            world.need(2, 90);
            world.run();
        }
        assert_eq!(world.begun, 1);
        world.installs().unwrap();
        assert_eq!(world.content(), image.bytes);
    }
}

/// L4: all sources die; when the next leader has it, what is there already is not fetched again.
#[test]
fn l4_what_is_there_is_kept_until_somebody_has_the_rest() {
    let image = Image::new(100, 40, 1);
    let mut world = World::new(5);
    world.add(1, &image);
    world.need(1, 90);
    while world.got.len() < 20 {
        assert!(world.step());
    }
    world.drop_server(1);
    world.run();
    world.wait(60);
    world.add(2, &image);
    let asked = world.asked;
    world.fetch_from(2, 90, 2).unwrap();
    assert_eq!((world.begun, world.cancelled), (1, 0));
    assert!(world.asked - asked <= 20, "{}", world.asked - asked);
    assert_eq!(world.content(), image.bytes);
}

/// L4: nobody has it any more: the leader names another.
#[test]
fn l4_what_nobody_has_any_more_is_given_up() {
    let (old, new) = (Image::new(100, 40, 1), Image::new(200, 3, 2));
    let mut world = World::new(5);
    world.add(1, &old);
    world.need(1, 90);
    while world.got.len() < 20 {
        assert!(world.step());
    }
    let server = world.servers.get_mut(&peer(1)).unwrap();
    server.snapshots = new.held_by();
    (server.image, server.reads) = (new.clone(), VecDeque::new());
    world.reopen(peer(1));
    world.act(|fetch, now, out| fetch.lost(peer(1), now, out));
    world.fetch_from(1, 90, 3).unwrap();
    assert_eq!(world.content(), new.bytes);
}

/// L5: late answers are told from answers to later questions, though they look alike.
#[test]
fn l5_a_late_answer_is_not_taken_for_another() {
    let (old, new) = (Image::new(100, 40, 1), Image::new(200, 40, 2));
    for steps in [8, 20, 40] {
        let mut world = World::new(steps);
        world.add(1, &old);
        world.need(1, 90);
        while world.got.len() < steps as usize / 2 {
            assert!(world.step());
        }
        // Questions and answers about the old one are under way when a new one is named.
        let server = world.servers.get_mut(&peer(1)).unwrap();
        let held = new.held_by().held().cloned().unwrap();
        server.snapshots.installed(held);
        server.image = new.clone();
        world.fetch_from(1, 150, 3).unwrap();
        assert_eq!(world.content(), new.bytes);
        assert_eq!(world.begun, 2, "at the first go");
    }
}

/// L5: nor is what one member owes of an old snapshot taken for a part of the new one.
#[test]
fn l5_what_is_owed_of_an_old_snapshot_is_no_part_of_the_new_one() {
    let (old, new) = (Image::new(100, 40, 1), Image::new(200, 40, 2));
    let mut world = World::new(1);
    world.add(1, &old);
    world.need(1, 90);
    while world.servers[&peer(1)].answers.is_empty() || world.got.is_empty() {
        assert!(world.step());
    }
    // Another leads, and names another one, before the first has answered.
    world.servers.get_mut(&peer(1)).unwrap().mute = true;
    world.add(2, &new);
    while world.begun < 2 {
        world.need(2, 150);
        (0..40).for_each(|_| {
            world.step();
        });
    }
    world.servers.get_mut(&peer(1)).unwrap().mute = false;
    world.fetch_from(2, 150, 3).unwrap();
    assert_eq!((world.content(), world.begun), (new.bytes.to_vec(), 2));
}

/// GRP-44 (L7): however slow a member is, it is waited for while bytes of it come.
#[test]
fn grp_44_l7_silence_counts_and_not_duration() {
    let image = Image::new(100, 20, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.need(1, 90);
    while world.asked < 16 {
        assert!(world.step());
    }
    world.servers.get_mut(&peer(1)).unwrap().mute = true;
    world.run();
    for _ in 0..1000 {
        world.wait(4);
        world.act(|fetch, now, _| fetch.heard(peer(1), now));
    }
    assert!(world.hung_up.is_empty());
    world.wait(6);
    assert_eq!(world.hung_up, [peer(1)]);
    assert_eq!(world.fetch.deadline(), None, "nobody is waited for");
    world.servers.get_mut(&peer(1)).unwrap().mute = false;
    world.fetch_from(1, 90, 2).unwrap();
    assert_eq!((world.content(), world.begun), (image.bytes.to_vec(), 1));
}

/// GRP-44: a member that says nothing does not hold up those who speak.
#[test]
fn grp_44_a_mute_member_holds_nobody_up() {
    let image = Image::new(100, 40, 1);
    let mut world = World::new(1);
    (1..=3).for_each(|name| world.add(name, &image));
    world.need(1, 90);
    while world.asked < 30 {
        assert!(world.step());
    }
    world.servers.get_mut(&peer(2)).unwrap().mute = true;
    world.run();
    world.wait(6);
    world.run();
    assert_eq!(world.hung_up, [peer(2)]);
    world.installs().unwrap();
    assert_eq!(world.content(), image.bytes);
}

/// GRP-43 (M4): what is asked for, or waits for the host, is bounded.
#[test]
fn grp_43_m4_a_slow_host_is_not_overrun() {
    let image = Image::new(100, 60, 1);
    let mut world = World::new(1);
    (1..=4).for_each(|name| world.add(name, &image));
    world.need(1, 90);
    let window = limits::FETCH_WINDOW / CHUNK;
    for _ in 0..10_000 {
        // The host takes nothing over.
        let unkept = core::mem::take(&mut world.unkept);
        let stepped = world.step();
        world.unkept += unkept;
        if !stepped {
            break;
        }
    }
    // Some are asked of two members.
    assert!(world.got.len() == window && world.asked < 2 * window, "{}", world.asked);
    world.run();
    world.installs().unwrap();
}

/// GRP-47 (L17): a snapshot that the log has passed is not installed.
#[test]
fn grp_47_l17_what_the_log_has_passed_is_not_needed() {
    let image = Image::new(100, 10, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.need(1, 90);
    (0..15).for_each(|_| assert!(world.step()));
    world.act(|fetch, _, out| fetch.passed(LogIndex(99), out));
    assert_eq!(world.cancelled, 0);
    world.act(|fetch, _, out| fetch.passed(LogIndex(100), out));
    assert_eq!((world.cancelled, world.fetch.is_busy()), (1, false));
    world.run();
    assert!(world.install.is_none());
}

/// GRP-47: Raft is told the term in which the sender knew that it is committed, whenever it was asked.
#[test]
fn grp_47_the_term_is_that_of_the_answer() {
    let image = Image::new(100, 2, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.need(1, 90);
    world.servers.get_mut(&peer(1)).unwrap().term = Term(9);
    world.run();
    assert_eq!(world.installs().unwrap().manifest.term, Term(9));
}

/// What is said of a snapshot and what it says of itself must be the same.
#[test]
fn grp_42_a_snapshot_says_itself_what_it_covers() {
    let mut lie = Image::new(100, 2, 1);
    lie.snapshot.last.index = LogIndex(120);
    let mut world = World::new(1);
    world.add(1, &lie);
    assert!(world.fetch_from(1, 110, 5).is_none());
    assert_eq!(world.faulty, [peer(1)]);
    assert!(world.install.is_none());
}

/// The host cannot keep it: it is tried again, but not at once.
#[test]
fn a_host_that_refuses_is_left_alone_for_a_while() {
    let image = Image::new(100, 2, 1);
    let mut world = World::new(1);
    world.add(1, &image);
    world.need(1, 90);
    world.run();
    let (last, _) = world.install.take().unwrap();
    let why = InstallFault::Refused("full".into());
    world.act(|fetch, now, out| fetch.on_install_failed(last, &why, now, out));
    assert!(world.fetch_from(1, 90, 9).is_none());
    world.wait(1);
    world.fetch_from(1, 90, 2).unwrap();
}

/// What nobody asked for, and what no member says.
#[test]
fn nonsense_is_a_violation() {
    let image = Image::new(100, 2, 1);
    let mut fetch = Fetch::default();
    let (now, mut out) = (Instant::ZERO, Outbox::new());
    let mut violations = |act: &mut dyn FnMut(&mut Fetch, &mut Outbox<Effect>)| {
        act(&mut fetch, &mut out);
        out.drain().filter(|effect| matches!(effect, Effect::Violation(_))).count()
    };
    assert_eq!(violations(&mut |f, out| f.on_chunk(peer(1), 0, None, now, out)), 1);
    assert_eq!(violations(&mut |f, out| f.on_manifest(peer(1), None, LINEAGE, now, out)), 1);
    let need = &mut |f: &mut Fetch, out: &mut Outbox<Effect>| {
        f.need(peer(1), base(9), core::iter::empty(), now, out);
    };
    assert_eq!(violations(need), 0);
    let manifest = Manifest {
        term: Term(3),
        snapshot: image.snapshot,
        head: 5,
        bytes: 4,
        digest: image.digest,
    };
    let say = &mut |f: &mut Fetch, out: &mut Outbox<Effect>| {
        f.on_manifest(peer(1), Some(manifest.clone()), LINEAGE, now, out);
    };
    assert_eq!(violations(say), 1, "a head longer than all of it");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Members come, go, fall silent and send wrong bytes: what is installed is what the leader named,
    /// and it is installed once somebody who has it stays.
    #[test]
    fn grp_43_whatever_happens_the_right_bytes_are_installed(
        seed in any::<u64>(),
        chunks in 1usize..40,
        events in proptest::collection::vec((0u8..6, 0usize..40), 0..12),
    ) {
        let (image, wrong) = (Image::new(100, chunks, 1), Image::new(100, chunks, 9));
        let mut world = World::new(seed);
        (1..=4).for_each(|name| world.add(name, &image));
        let mut fetched = None;
        for (what, steps) in events {
            world.need(1, 90);
            (0..steps).for_each(|_| { world.step(); });
            if fetched.is_none() {
                fetched = world.installs();
            }
            if fetched.is_some() {
                break;
            }
            let name = 1 + world.rng.below(4) as u8;
            match what {
                0 => world.drop_server(name),
                1 if !world.servers.contains_key(&peer(name)) => world.add(name, &image),
                2 | 3 => if let Some(server) = world.servers.get_mut(&peer(name)) {
                    server.mute = what == 2;
                },
                4 => if let Some(server) = world.servers.get_mut(&peer(name)) {
                    server.image = wrong.clone();
                },
                _ => world.wait(3),
            }
        }
        // From now on the leader is well.
        world.drop_server(1);
        world.add(1, &image);
        let fetched = fetched.or_else(|| world.fetch_from(1, 90, 100)).expect("it arrives");
        prop_assert_eq!(fetched.manifest.digest, image.digest);
        prop_assert!(world.content() == image.bytes);
    }
}
