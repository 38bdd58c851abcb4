//! An admitted peer and what it tells of others: entries, farewells, lists, suspicions.

use core::time::Duration;

use mosaik_proto::{
    discovery::Command,
    ids::{ChannelId, RequestId},
    node::Event,
    wire::{decode, encode},
};

use super::{input::Input, peers::peer, recipe, world::World};

/// Two links; then frames of discovery on them, in any chunks, while time passes.
pub fn entries(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    let controls = [world.admitted(0, 1).1, world.admitted(2, 0).1];
    while let Some(verb) = input.verb() {
        let control = controls[usize::from(verb >> 7)];
        match verb & 0x0f {
            0..=9 => tell(&mut input, &mut world, control),
            10 | 11 => world.drain(control),
            12 => {
                let (request, of) = (RequestId(world.fresh()), input.index(7));
                let command = Command::SyncWith(peer(of).address());
                world.step(Event::Discovery { request, command });
            }
            13 => feed(&mut input, &mut world),
            14 => world.advance(Duration::from_millis(input.short().into())),
            _ => world.advance(Duration::from_secs(input.number() >> 16 & 0xffff)),
        }
    }
}

/// A frame, in two chunks.
fn tell(input: &mut Input<'_>, world: &mut World, channel: ChannelId) {
    let bytes = recipe::discovery(input, world.heard);
    let (first, second) = bytes.split_at(input.index(bytes.len() + 1));
    for chunk in [first, second] {
        let chunk = chunk.to_vec().into();
        world.step(Event::Data { channel, chunk });
    }
}

/// An entry that came some other way.
fn feed(input: &mut Input<'_>, world: &mut World) {
    let of = peer(input.index(8));
    let entry = &of.entries[input.index(of.entries.len())];
    let again = decode::<mosaik_proto::discovery::SignedPeerEntry>(&encode(entry));
    assert_eq!(again.as_ref(), Ok(entry));
    let request = RequestId(world.fresh());
    let command = if input.flag() {
        Command::Feed(entry.clone())
    } else {
        Command::Insert(entry.entry().clone())
    };
    world.step(Event::Discovery { request, command });
}
