//! Whole-node event sequences: what can happen, in any order, to what is there, was there, or
//! never was; and clocks that go back.

use core::time::Duration;

use mosaik_proto::{
    discovery::{Command, PeerEntryVersion},
    ids::{ChannelId, LinkId, RequestId, Side, SubscriptionId},
    links::{DialError, DownReason},
    node::Event,
    time::{Instant, UnixMillis},
    wire::{CloseCode, Protocol},
};

use super::{
    input::Input,
    peers::{PEERS, WALL, peer},
    recipe,
    world::World,
};

/// Events until the bytes end.
pub fn node(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    while let Some(verb) = input.verb() {
        match verb & 0x1f {
            0..=2 => transport(&mut input, &mut world),
            3 => {
                // A peer that begins well.
                let side = Side::Listener;
                let link = world.link_up(input.index(PEERS), side);
                let channel = ChannelId::driver(world.fresh());
                world.step(Event::ChannelUp { link, channel });
                let chunk = vec![Protocol::Control as u8].into();
                world.step(Event::Data { channel, chunk });
            }
            4..=13 => tell(&mut input, &mut world),
            14..=16 => {
                let channel = any_channel(&mut input, &world);
                world.drain(channel);
            }
            17 => world.open_producer(input.byte().into()),
            18 => world.open_consumer(),
            19 => close(&mut input, &mut world),
            20 | 21 => {
                let items = input.byte().into();
                world.offer(input.index(8), items, recipe::size(&mut input));
            }
            22 | 23 => world.consume(input.index(8), input.flag()),
            24 => consumed(&mut input, &mut world),
            25 | 26 => command(&mut input, &mut world),
            27 => clocks(&mut input, &mut world),
            28..=30 => world.advance(Duration::from_millis(input.short().into())),
            _ => rare(&mut input, &mut world),
        }
    }
}

/// Mostly one that is up.
fn any_link(input: &mut Input<'_>, world: &World) -> LinkId {
    let at = input.byte();
    let known = world.links.keys().nth(usize::from(at) % world.links.len().max(1));
    known.filter(|_| at < 0xf0).copied().unwrap_or_else(|| LinkId(at.into()))
}

/// Mostly one that is open.
fn any_channel(input: &mut Input<'_>, world: &World) -> ChannelId {
    let at = input.byte();
    let known = world.channels.keys().nth(usize::from(at) % world.channels.len().max(1));
    known.filter(|_| at < 0xf0).copied().unwrap_or_else(|| ChannelId(input.number()))
}

fn reason(input: &mut Input<'_>) -> DownReason {
    match input.below(4) {
        0 => DownReason::Lost,
        1 => DownReason::Timeout,
        2 => DownReason::Finished,
        _ => DownReason::Closed(CloseCode::from(100 + u32::from(input.byte()))),
    }
}

fn transport(input: &mut Input<'_>, world: &mut World) {
    let event = match input.below(9) {
        0 => {
            let side = if input.flag() { Side::Dialer } else { Side::Listener };
            world.link_up(input.index(PEERS), side);
            return;
        }
        1 => Event::LinkDown { link: any_link(input, world), reason: reason(input) },
        2 => {
            let rtt = Duration::from_nanos(input.number());
            Event::LinkRtt { link: any_link(input, world), rtt }
        }
        3 => Event::LinkRtt { link: any_link(input, world), rtt: Duration::MAX },
        4 => {
            let peer = peer(input.index(PEERS)).id;
            let reason = match input.below(3) {
                0 => DialError::Timeout,
                1 => DialError::NoAddress,
                _ => DialError::Closed(CloseCode::BUSY),
            };
            Event::DialFailed { peer, reason }
        }
        5 | 6 => {
            let link = any_link(input, world);
            if input.flag() && world.links.contains_key(&link) {
                world.stream_channel(link);
                return;
            }
            Event::ChannelUp { link, channel: ChannelId::driver(world.fresh()) }
        }
        7 => Event::ChannelDown { channel: any_channel(input, world), reason: reason(input) },
        _ => {
            let channel = any_channel(input, world);
            if let Some((_, debt)) = world.channels.get_mut(&channel) {
                *debt = 0;
            }
            Event::Drained { channel, bytes: u32::MAX }
        }
    };
    world.step(event);
}

/// Words of one protocol on a channel, which may be of another.
fn tell(input: &mut Input<'_>, world: &mut World) {
    let channel = any_channel(input, world);
    let speaker = world.channels.get(&channel).and_then(|(link, _)| world.links.get(link));
    let speaker = speaker.copied().unwrap_or_default();
    let bytes = match input.below(8) {
        0 => input.bytes().to_vec(),
        1 | 2 => {
            let mut bytes = recipe::hello(input, speaker);
            bytes.extend([2, 0, 0, 0, 0]);
            bytes
        }
        3 => recipe::handshake(input, speaker),
        4 | 5 => recipe::discovery(input, world.heard),
        _ => recipe::streams(input, world.heard),
    };
    let (first, second) = bytes.split_at(input.index(bytes.len() + 1));
    for chunk in [first, second] {
        let chunk = chunk.to_vec().into();
        world.step(Event::Data { channel, chunk });
    }
}

fn close(input: &mut Input<'_>, world: &mut World) {
    let at = input.index(8);
    if input.flag() {
        let producer = world.producers.keys().nth(at).copied();
        producer.into_iter().for_each(|producer| world.step(Event::CloseProducer(producer)));
    } else {
        let consumer = world.consumers.iter().nth(at).copied();
        consumer.into_iter().for_each(|consumer| world.step(Event::CloseConsumer(consumer)));
    }
}

/// A report of what nobody has.
fn consumed(input: &mut Input<'_>, world: &mut World) {
    let Some(consumer) = world.consumers.iter().nth(input.index(4)).copied() else { return };
    let subscription = SubscriptionId(input.number().saturating_add(1_000));
    let (items, bytes) = (input.number(), input.number());
    world.step(Event::Consumed { consumer, subscription, items, bytes });
}

fn command(input: &mut Input<'_>, world: &mut World) {
    let of = peer(input.index(PEERS));
    let entry = &of.entries[input.index(of.entries.len())];
    let command = match input.below(6) {
        0 => Command::Dial(vec![of.address()]),
        1 => Command::SyncWith(of.address()),
        2 => Command::Feed(entry.clone()),
        3 => Command::Insert(entry.entry().clone()),
        4 => Command::Remove(of.id),
        _ => Command::ClearUnsigned,
    };
    let request = RequestId(world.fresh());
    world.step(Event::Discovery { request, command });
    if input.below(8) == 0 {
        world.step(Event::Cancel(request));
    }
}

/// Clocks as no driver should have them.
fn clocks(input: &mut Input<'_>, world: &mut World) {
    let millis = input.number() & 0xffff_ffff;
    if input.flag() {
        world.now.mono = Instant::from_millis(millis);
    } else {
        world.now.wall = UnixMillis((WALL + millis).saturating_sub(u64::from(u32::MAX) >> 1));
    }
    world.step(Event::Timeout);
}

fn rare(input: &mut Input<'_>, world: &mut World) {
    match input.below(8) {
        0 => world.step(Event::Shutdown(world.depart())),
        1 | 2 => world.raise(PeerEntryVersion::default()),
        3 => {
            let found = (0..input.below(PEERS as u8)).map(|at| peer(at.into()).address());
            world.step(Event::Found(found.collect()));
        }
        _ => world.step(Event::Timeout),
    }
}
