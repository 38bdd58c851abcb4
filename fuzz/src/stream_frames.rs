//! A peer that was admitted correctly and then says anything on stream channels, to a producer and
//! to a consumer.

use core::time::Duration;

use mosaik_proto::{ids::ChannelId, links::DownReason, node::Event};

use super::{input::Input, recipe, world::World};

/// The node produces and consumes; so does the peer.
pub fn stream_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = World::new();
    world.open_producer(4);
    world.open_consumer();
    let (link, control) = world.admitted(0, 1);
    world.drain(control);
    let mut opened = vec![world.stream_channel(link)];
    while let Some(verb) = input.verb() {
        let theirs = opened[input.index(opened.len())];
        let ours = world.subscriptions.last().copied().unwrap_or(theirs);
        let channel = if verb & 0x80 == 0 { theirs } else { ours };
        match verb & 0x0f {
            0..=5 => tell(&mut input, &mut world, channel),
            6 => world.drain(channel),
            7 => {
                let items = input.byte().into();
                world.offer(input.index(4), items, recipe::size(&mut input));
            }
            8 => world.consume(input.index(4), false),
            9 => world.consume(input.index(4), true),
            10 => opened.push(world.stream_channel(link)),
            11 => world.step(Event::ChannelDown { channel, reason: DownReason::Finished }),
            12 => {
                if let Some(producer) = world.producers.keys().next_back().copied() {
                    world.step(Event::CloseProducer(producer));
                    world.open_producer(input.below(3).into());
                }
            }
            13 => world.drain(control),
            14 => world.advance(Duration::from_millis(input.short().into())),
            _ => world.advance(Duration::from_millis(input.byte().into())),
        }
    }
}

/// Frames in one chunk, or one in two.
fn tell(input: &mut Input<'_>, world: &mut World, channel: ChannelId) {
    let mut bytes = recipe::streams(input, world.heard);
    for _ in 0..input.byte().saturating_sub(0xf8) {
        bytes.extend(recipe::streams(input, world.heard));
    }
    let (first, second) = bytes.split_at(input.index(bytes.len() + 1));
    for chunk in [first, second] {
        let chunk = chunk.to_vec().into();
        world.step(Event::Data { channel, chunk });
    }
}
