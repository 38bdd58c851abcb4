//! Every checker can fail: each is fed what it must refuse, next to what it must accept.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use mosaik_proto::{
    Digest, PeerId,
    crypto::SecretKey,
    discovery::{Change, LocalEntry, PeerEntryVersion},
    groups::{GroupConfig, Input, Output},
    ids::{ChannelId, ConsumerId, ProducerId, StreamId, SubscriptionId},
    limits,
    node::{Action, Event},
    streams::ProducerConfig,
    time::{Instant, UnixMillis},
    wire::Head,
};
use mosaik_sim::{
    HostId,
    checkers::{
        Checkers, Place,
        bounds::Bounds,
        catalog::{self, View},
        credit::Credit,
        determinism,
        ends::Ends,
        links,
        order::{Arrived, Order, Stamp, read, write},
        presence::Presence,
        short,
        versions::Versions,
    },
    net::Process,
    scenario::{groups::group, network},
};

const PROCESS: Process = Process { host: HostId(1), boot: 1 };

fn place(subscription: u64) -> Place {
    let subscription = SubscriptionId(subscription);
    Place { process: PROCESS, consumer: ConsumerId(1), subscription }
}

fn item(start: u64, number: u64) -> Arrived {
    Arrived { stamp: Stamp { peer: 7, start, number }, size: 50 }
}

/// A checker that has seen items 10 and 11 of start 1.
fn order() -> Order {
    let mut order = Order::default();
    order.delivered(place(1), 10, &[item(1, 10), item(1, 11)]).unwrap();
    order
}

#[test]
fn order_refuses_duplicates_gaps_and_mixed_starts() {
    assert!(order().delivered(place(1), 12, &[item(1, 12)]).is_ok());
    assert!(order().delivered(place(1), 11, &[item(1, 11)]).is_err(), "twice");
    assert!(order().delivered(place(1), 10, &[item(1, 10)]).is_err(), "backwards");
    assert!(order().delivered(place(1), 13, &[item(1, 13)]).is_err(), "a silent gap");
    assert!(order().delivered(place(1), 12, &[item(1, 13)]).is_err(), "numbers that lie");
    assert!(order().delivered(place(1), 0, &[item(2, 0)]).is_err(), "a silent restart");
    let stranger = Arrived { stamp: Stamp { peer: 8, start: 1, number: 12 }, size: 50 };
    assert!(order().delivered(place(1), 12, &[stranger]).is_err(), "another producer's");
    assert!(order().delivered(place(2), 11, &[item(1, 11)]).is_err(), "twice, newly subscribed");
}

#[test]
fn order_wants_exact_reports() {
    let gap = |first, last, then: u64| {
        let mut order = order();
        order.gap(place(1), first, last)?;
        order.delivered(place(1), then, &[item(1, then)])
    };
    assert!(gap(12, 14, 15).is_ok());
    assert!(gap(12, 14, 16).is_err(), "longer than reported");
    assert!(gap(12, 14, 14).is_err(), "shorter than reported");
    assert!(gap(11, 14, 15).is_err(), "reports what came");
    assert!(gap(12, 11, 12).is_err(), "empty");
    let mut order = order();
    order.restarted(place(1));
    assert!(order.delivered(place(1), 0, &[item(2, 0)]).is_ok());
    assert!(order.delivered(place(1), 12, &[item(1, 12)]).is_err(), "the old start again");
}

#[test]
fn strict_order_counts_what_was_missed_between_subscriptions() {
    let mut lenient = order();
    lenient.delivered(place(2), 20, &[item(1, 20)]).unwrap();
    assert_eq!(lenient.counts().between, 8);
    let mut strict = order();
    strict.strict = true;
    assert!(strict.delivered(place(2), 20, &[item(1, 20)]).is_err());
}

#[test]
fn damaged_items_are_noticed() {
    let mut batch = Vec::new();
    write(&mut batch, item(1, 3).stamp, 60);
    assert_eq!(read(&Bytes::from(batch.clone())).unwrap()[0].stamp.number, 3);
    *batch.last_mut().unwrap() ^= 1;
    assert!(read(&Bytes::from(batch.clone())).is_err());
    batch.pop();
    assert!(read(&Bytes::from(batch)).is_err());
}

#[test]
fn credit_refuses_what_was_not_granted() {
    let opened = || {
        let mut credit = Credit::default();
        credit.opened((PROCESS, ConsumerId(1)), 3, 100);
        credit
    };
    let items = |n: usize| vec![item(1, 0); n];
    assert!(opened().delivered(place(1), &items(2)).is_ok());
    assert!(opened().delivered(place(1), &items(4)).is_err(), "too many items");
    assert!(opened().delivered(place(1), &items(3)).is_err(), "too many bytes");
    let large = Arrived { size: 5_000, ..item(1, 0) };
    assert!(opened().delivered(place(1), &[large]).is_ok(), "one above a free window");
    assert!(opened().delivered(place(1), &[item(1, 0), large]).is_err(), "not above a used one");
    let mut credit = opened();
    credit.delivered(place(1), &items(2)).unwrap();
    credit.consumed(place(1), 2, 100);
    assert!(credit.delivered(place(1), &items(2)).is_ok());
    credit.consumed(place(1), 9, 900);
    assert!(credit.delivered(place(1), &items(1)).is_err(), "more taken than came");
    assert!(Credit::default().delivered(place(1), &items(1)).is_err(), "not open");
}

#[test]
fn bounds_refuse_debts_and_offers() {
    let channel = ChannelId::core(1);
    let write = |bounds: &mut Bounds, bytes: usize| {
        let body = Bytes::from(vec![0; bytes]);
        bounds.action(PROCESS, &Action::Write { channel, head: Head::new(), body })
    };
    let full = usize::try_from(limits::CHANNEL_DEBT).unwrap();
    let mut bounds = Bounds::default();
    write(&mut bounds, full).unwrap();
    write(&mut bounds, 60_000).unwrap();
    assert!(write(&mut bounds, 100_000).is_err(), "two frames above the debt");
    let mut bounds = Bounds::default();
    write(&mut bounds, full).unwrap();
    bounds.event(PROCESS, &Event::Drained { channel, bytes: limits::CHANNEL_DEBT as u32 }).unwrap();
    write(&mut bounds, full).unwrap();
    let more = Event::Drained { channel, bytes: u32::MAX };
    assert!(bounds.event(PROCESS, &more).is_err(), "more drained than written");

    let producer = ProducerId(1);
    let window = |items, bytes| Action::Window { producer, items, bytes };
    let mut data = Vec::new();
    (0..3).for_each(|number| self::write(&mut data, item(1, number).stamp, 50));
    let offer = Event::Offer { producer, items: 3, payload: 150, data: Bytes::from(data) };
    let mut bounds = Bounds::default();
    assert!(bounds.event(PROCESS, &offer).is_err(), "before a window");
    let mut bounds = Bounds::default();
    bounds.action(PROCESS, &window(3, 1_000)).unwrap();
    bounds.event(PROCESS, &offer).unwrap();
    assert!(bounds.event(PROCESS, &offer).is_err(), "beyond the window");
    assert!(bounds.action(PROCESS, &window(2, 1_000)).is_err(), "a window that shrinks");
    let far = window(limits::TAIL_ITEMS + 4, 1_000);
    assert!(bounds.action(PROCESS, &far).is_err(), "a window beyond the tail");
}

#[test]
fn versions_refuse_forgeries_regress_and_revival() {
    let key = SecretKey::from_bytes(&[5; 32]);
    let mut entry = LocalEntry::new(network(), key, UnixMillis(1_000));
    let old = entry.signed().clone();
    entry.raise(UnixMillis(2_000), PeerEntryVersion::default());
    let new = entry.signed().clone();
    let signed = || {
        let mut versions = Versions::default();
        versions.signed(&old);
        versions.signed(&new);
        versions
    };
    assert!(Versions::default().seen(PROCESS, &old).is_err(), "never signed");
    let mut versions = signed();
    versions.seen(PROCESS, &new).unwrap();
    assert!(versions.seen(PROCESS, &old).is_err(), "backwards");
    let mut versions = signed();
    versions.seen(PROCESS, &new).unwrap();
    versions.departed(new.id(), new.update_version());
    assert!(versions.seen(PROCESS, &new).is_ok(), "the farewell may not have come yet");
    versions.event(PROCESS, &told());
    versions.gone(PROCESS, new.id());
    assert!(versions.seen(PROCESS, &new).is_err(), "revived");
}

/// What a process is told by another.
fn told() -> Event {
    Event::Data { channel: ChannelId::core(1), chunk: Bytes::from_static(b"?") }
}

#[test]
fn who_is_given_up_may_come_to_say_farewell() {
    // Simulator, seeds 10810 and 18038: said where nobody heard it, given up for silence, then a link
    // brings entry and farewell.
    let entry = LocalEntry::new(network(), SecretKey::from_bytes(&[5; 32]), UnixMillis(1_000));
    let (seen, peer) = (entry.signed().clone(), entry.signed().id());
    let other = Process { host: HostId(2), boot: 1 };
    let after = |events: &[Event]| {
        let mut checkers = Checkers::default();
        checkers.event(PROCESS, &Event::LocalEntry(seen.clone())).unwrap();
        let mut tell = |change| checkers.action(AT, PROCESS, &Action::Catalog(change));
        let sees = || Change::Entry { entry: seen.clone(), since: AT, news: None };
        tell(sees()).unwrap();
        checkers.event(other, &Event::Shutdown(entry.depart(UnixMillis(2_000)))).unwrap();
        for event in events {
            checkers.event(PROCESS, event).unwrap();
            let mut tell = |change| checkers.action(AT, PROCESS, &Action::Catalog(change));
            tell(Change::Gone { peer, departed: true }).unwrap();
            tell(sees())?;
        }
        Ok::<_, String>(())
    };
    assert_eq!(after(&[Event::Timeout]), Ok(()));
    assert!(after(&[told()]).is_err(), "it heard the farewell");
    assert!(after(&[Event::Timeout, told()]).is_err(), "the second time");
}

#[test]
fn a_farewell_is_said_when_groups_were_left() {
    // Simulator, seeds 39, 370, 1378: taken for dead between `Shutdown` and the farewell, and met again.
    let mut checkers = Checkers::default();
    let entry = LocalEntry::new(network(), SecretKey::from_bytes(&[5; 32]), UnixMillis(1_000));
    let (peer, now) = (entry.signed().id(), Instant::ZERO);
    let witness = Process { host: HostId(2), boot: 1 };
    let config = Box::new(GroupConfig::new(group(), Digest::hash(b"a secret")));
    let input = |input| Event::Group { group: group(), input };
    let seen = entry.signed().clone();
    checkers.event(PROCESS, &Event::LocalEntry(seen.clone())).unwrap();
    checkers.event(PROCESS, &input(Input::Join(config))).unwrap();
    let tombstone = entry.depart(UnixMillis(2_000));
    checkers.event(PROCESS, &Event::Shutdown(tombstone)).unwrap();
    let sees = || Change::Entry { entry: seen.clone(), since: now, news: None };
    checkers.event(witness, &told()).unwrap();
    let mut witnesses = |change| checkers.action(now, witness, &Action::Catalog(change));
    witnesses(sees()).unwrap();
    witnesses(Change::Gone { peer, departed: true }).unwrap();
    witnesses(sees()).expect("it is leaving its groups, and said nothing yet");
    let closed = Action::Group { group: group(), output: Output::Closed };
    checkers.action(now, PROCESS, &closed).unwrap();
    checkers.event(witness, &told()).unwrap();
    let mut witnesses = |change| checkers.action(now, witness, &Action::Catalog(change));
    witnesses(sees()).expect("the farewell may not have come yet");
    witnesses(Change::Gone { peer, departed: true }).unwrap();
    assert!(witnesses(sees()).is_err(), "revived");
}

#[test]
fn catalog_refuses_missing_extra_and_stale_entries() {
    let peer = |n| PeerId::from_bytes([n; 32]);
    let version = |counter| PeerEntryVersion { incarnation: 1, counter };
    let view = |me, sees: &[(u8, u64)]| View {
        peer: peer(me),
        network: network(),
        version: version(3),
        sees: sees.iter().map(|(n, counter)| (peer(*n), version(*counter))).collect(),
    };
    let check = |sees: &[(u8, u64)]| catalog::check(&[view(1, sees), view(2, &[(1, 3)])]);
    assert!(check(&[(2, 3)]).is_ok());
    assert!(check(&[]).is_err(), "missing");
    assert!(check(&[(2, 3), (9, 1)]).is_err(), "extra");
    assert!(check(&[(2, 2)]).is_err(), "stale");
    let foreign = View { network: Digest::hash(b"x"), ..view(3, &[]) };
    let both = [view(1, &[(2, 3)]), view(2, &[(1, 3)]), foreign];
    assert!(catalog::check(&both).is_ok(), "another network is nobody's business");
    let mixed = View { sees: BTreeMap::from([(peer(3), version(3))]), ..view(1, &[]) };
    assert!(catalog::check(&[mixed, both[2].clone()]).is_err());
}

#[test]
fn links_refuse_a_second_link() {
    let pairs = [(HostId(1), HostId(2)), (HostId(2), HostId(3))];
    assert!(links::check(pairs.into_iter()).is_ok());
    assert!(links::check(pairs.into_iter().chain([(HostId(2), HostId(1))])).is_err());
}

#[test]
fn determinism_refuses_two_results() {
    assert_eq!(determinism::check(|| 7), Ok(7));
    let mut runs = 0;
    assert!(
        determinism::check(|| {
            runs += 1;
            runs
        })
        .is_err()
    );
}

/// A producer of the first host and a consumer of the second, as a checker sees them.
struct Pair {
    ends: Ends,
    producer: ProducerId,
    sender: Process,
    receiver: PeerId,
    sender_peer: PeerId,
}

const AT: Instant = Instant::from_millis(60_000);

/// Ten items of 50 bytes offered one by one, of which the tail holds four; counted at 2.
fn pair() -> Pair {
    let entry =
        |seed| LocalEntry::new(network(), SecretKey::from_bytes(&[seed; 32]), UnixMillis(1));
    let (a, b) = (entry(1), entry(2));
    let sender = Process { host: HostId(0), boot: 1 };
    let mut ends = Ends::default();
    ends.signed(sender, a.signed());
    ends.signed(PROCESS, b.signed());
    let stream = StreamId::hash(b"numbers");
    let mut config = ProducerConfig::new(stream);
    config.tail_items = 4;
    let producer = ProducerId(1);
    ends.producer(sender, producer, &config);
    ends.consumer(PROCESS, ConsumerId(1), stream);
    for number in 0..10 {
        if number == 2 {
            ends.serves(sender, producer, SubscriptionId(9), b.id());
        }
        let mut data = Vec::new();
        write(&mut data, item(1, number).stamp, 50);
        ends.offered(sender, producer, &Bytes::from(data));
    }
    Pair { ends, producer, sender, receiver: b.id(), sender_peer: a.id() }
}

#[test]
fn ends_refuse_gaps_of_what_the_tail_holds() {
    let dropped = |first, last| {
        let mut pair = pair();
        pair.ends.dropped(pair.sender, pair.producer, SubscriptionId(9), (first, last))
    };
    assert!(dropped(3, 5).is_ok());
    assert!(dropped(3, 6).is_err(), "the tail begins at 6");
    let mut pair = pair();
    let nobody = SubscriptionId(8);
    assert!(pair.ends.dropped(pair.sender, pair.producer, nobody, (3, 5)).is_err());
}

#[test]
fn ends_refuse_two_stories() {
    let mut pair = pair();
    pair.ends.connected(place(1), pair.sender_peer).unwrap();
    assert!(pair.ends.missed(place(1), 3, 5).is_err(), "the producer does not say so");
    pair.ends.dropped(pair.sender, pair.producer, SubscriptionId(9), (3, 5)).unwrap();
    assert!(pair.ends.missed(place(1), 3, 5).is_ok());
    assert!(pair.ends.missed(place(1), 3, 4).is_err(), "not to the item");
    assert_eq!(pair.ends.reported(), 3);
    assert!(pair.ends.knows(pair.receiver));
    // Nobody counted a consumer on the first host.
    let stranger = Place { process: pair.sender, ..place(1) };
    pair.ends.consumer(pair.sender, ConsumerId(1), StreamId::hash(b"numbers"));
    assert!(pair.ends.connected(stranger, pair.sender_peer).is_err());
}

#[test]
fn ends_refuse_a_late_start() {
    let first = |number| {
        let mut pair = pair();
        let stamp = Stamp { peer: short(&pair.sender_peer), start: 1, number };
        pair.ends.delivered(place(1), &[Arrived { stamp, size: 50 }])
    };
    assert!(first(2).is_ok());
    assert!(first(1).is_ok(), "a replay begins earlier");
    assert!(first(3).is_err(), "it was counted at 2");
}

#[test]
fn ends_refuse_to_cut_off_who_takes() {
    let channel = ChannelId::core(3);
    let after = |millis| {
        let mut pair = pair();
        pair.ends.wrote(AT, pair.sender, channel, &[4, 0, 0]);
        pair.ends.too_slow(AT + Duration::from_millis(millis), pair.sender, channel)
    };
    assert!(after(5_000).is_ok());
    assert!(after(4_000).is_err(), "sent something within the lag timeout");
}

#[test]
fn presence_refuses_to_give_up_who_is_linked() {
    let (peer, mut presence) = (PeerId::from_bytes([3; 32]), Presence::default());
    assert!(presence.gone(PROCESS, peer, false).is_ok());
    presence.path(PROCESS, peer, true);
    assert!(presence.gone(PROCESS, peer, false).is_err());
    assert!(presence.gone(PROCESS, peer, true).is_ok(), "it said farewell");
    presence.path(PROCESS, peer, false);
    assert!(presence.gone(PROCESS, peer, false).is_ok());
}
