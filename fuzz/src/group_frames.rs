//! Two members of a group that say anything, with proofs that are right: a member that may be taken
//! over must not take the others with it.

use core::time::Duration;

use mosaik_proto::{
    Digest, PeerId,
    groups::Input as Call,
    ids::{ChannelId, RequestId},
    wire::{encode, header},
};

use super::{
    group_world::{GroupWorld, config},
    input::Input,
    recipe,
};

pub fn group_frames(data: &[u8]) {
    let mut input = Input::new(data);
    let mut world = GroupWorld::new();
    // Both are bonded with, if they open well.
    bond(&mut input, &mut world, 0);
    while let Some(verb) = input.verb() {
        let peer = usize::from(verb >> 7);
        match verb & 0x1f {
            0..=7 => {
                if let Some(channel) = channel(&mut input, &world) {
                    let bytes = frame(&mut input, &world, channel);
                    let cut = if input.byte() > 0xf0 { input.byte().into() } else { bytes.len() };
                    world.say(channel, bytes, cut);
                }
            }
            8 | 9 => bond(&mut input, &mut world, peer),
            10 => further(&mut input, &mut world, peer),
            11 => answer(&mut input, &mut world),
            12 => world.lose(peer),
            13 => world.meet(peer),
            14 => channel(&mut input, &world).into_iter().for_each(|id| world.drain(id)),
            15 => channel(&mut input, &world).into_iter().for_each(|id| world.down(id)),
            16 | 17 => world.advance(Duration::from_millis(input.short().into())),
            18 => world.advance(Duration::from_millis(input.byte().into())),
            19 | 20 => world.apply(),
            21 | 22 => {
                let count = u32::from(input.below(20)) + 1;
                world.execute(count, recipe::size(&mut input));
            }
            23 => world.read(),
            24 => world.keep_chunk(),
            25 => world.input(Call::CanVote(input.flag())),
            26 => world.input(Call::Transfer { request: RequestId(1), to: None }),
            27 => world.input(Call::Leave),
            28 => world.join(),
            29 => {
                let gone = world.peers.into_iter().collect();
                world.input(Call::Recover { request: RequestId(2), gone });
            }
            30 => {
                let to = mosaik_proto::raft::Lineage([input.below(4); 16]);
                world.input(Call::Yield { request: RequestId(3), to });
            }
            _ => world.advance(Duration::from_millis(600)),
        }
    }
}

fn channel(input: &mut Input<'_>, world: &GroupWorld) -> Option<ChannelId> {
    let at = input.index(world.channels.len().max(1));
    world.channels.keys().nth(at).copied()
}

/// A peer opens a bond; the smaller one may.
fn bond(input: &mut Input<'_>, world: &mut GroupWorld, peer: usize) {
    let Some(channel) = world.accept(peer) else { return };
    let serial = world.fresh();
    let mut payload = encode(&(config(true).id, 0u8, serial)).to_vec();
    payload.extend(sealed(input, world, peer, 1));
    world.say(channel, framed(1, payload), usize::MAX);
    if input.byte() < 0xf0 {
        world.say(channel, framed(3, Vec::new()), usize::MAX);
    }
}

fn further(input: &mut Input<'_>, world: &mut GroupWorld, peer: usize) {
    let Some(channel) = world.accept(peer) else { return };
    let payload = encode(&(config(true).id, 1 + input.below(2), world.fresh())).to_vec();
    world.say(channel, framed(1, payload), usize::MAX);
}

/// The larger one takes the bond that the node opened.
fn answer(input: &mut Input<'_>, world: &mut GroupWorld) {
    let opened = world.channels.iter().find(|(_, channel)| !channel.theirs && channel.heard > 0);
    let Some((channel, peer)) = opened.map(|(id, channel)| (*id, channel.peer)) else { return };
    let bytes = framed(2, sealed(input, world, peer, 2));
    world.say(channel, bytes, usize::MAX);
}

/// An announcement with its proof, made by the rule and not by the core (GRP-02).
fn sealed(input: &mut Input<'_>, world: &GroupWorld, peer: usize, end: u8) -> Vec<u8> {
    let announcement = announcement(input, world);
    let key =
        blake3::derive_key("mosaik 2026-11-22 group bond proof v1", config(true).secret.as_bytes());
    let mut hasher = blake3::Hasher::new_keyed(&key);
    hasher.update(&world.binding(peer));
    hasher.update(config(true).id.as_bytes());
    hasher.update(world.peers[peer].as_bytes());
    hasher.update(&[end]);
    hasher.update(&announcement);
    [&hasher.finalize().as_bytes()[..], &announcement].concat()
}

fn announcement(input: &mut Input<'_>, world: &GroupWorld) -> Vec<u8> {
    let (lineage, seat) = (lineage(input, world), [input.below(4); 16]);
    let (boot, start) = (input.below(4), input.below(3));
    let flags = input.byte();
    let flag = |at: u8| flags >> at & 1 == 1;
    let follows = flag(4).then(|| who(input, world));
    let said = (lineage, seat, boot, start, flag(0), flag(1), flag(2), follows, flag(3));
    let rest = (input.number(), input.number(), input.number(), flag(5).then_some([9u8; 16]));
    let mut bytes = encode(&said).to_vec();
    bytes.extend(encode(&rest));
    bytes.extend(encode(&(input.byte() > 0xf8)));
    bytes
}

/// Mostly the node's own.
fn lineage(input: &mut Input<'_>, world: &GroupWorld) -> Option<[u8; 16]> {
    match input.byte() {
        0..=0xb0 => world.mine.0,
        0xb1..=0xc0 => None,
        other => Some([other % 4; 16]),
    }
}

fn who(input: &mut Input<'_>, world: &GroupWorld) -> PeerId {
    [world.me, world.peers[0], world.peers[1]][input.index(3)]
}

fn seat(input: &mut Input<'_>, world: &GroupWorld) -> (PeerId, [u8; 16]) {
    let who = who(input, world);
    (who, if who == world.me { world.mine.1 } else { [input.below(4); 16] })
}

fn frame(input: &mut Input<'_>, world: &GroupWorld, channel: ChannelId) -> Vec<u8> {
    let open = &world.channels[&channel];
    let heard = if input.byte() > 0xf0 { input.byte().into() } else { open.heard };
    let end = if open.theirs { 1 } else { 2 };
    let lineage_of = |input: &mut Input<'_>| lineage(input, world).unwrap_or_default();
    let bytes = match input.below(16) {
        0 => framed(2, sealed(input, world, open.peer, end)),
        1..=4 => framed(4, [&encode(&heard)[..], &message(input)].concat()),
        5..=8 => append(input, world, heard),
        9 => framed(6, encode(&(lineage_of(input), input.number(), Digest::zero())).to_vec()),
        10 => {
            let of = lineage_of(input);
            framed(7, if input.flag() { vec![0] } else { encode(&(1u8, of, 1u64)).to_vec() })
        }
        11 => {
            let count = u32::from(input.below(20)) + 1;
            let heads = (lineage_of(input), input.number(), input.number(), count, input.number());
            let data = recipe::batch(count, recipe::size(input));
            framed(16, [&encode(&heads)[..], &data].concat())
        }
        12 => {
            let heads = (lineage_of(input), input.number(), input.number());
            if input.flag() {
                framed(17, encode(&heads).to_vec())
            } else {
                let index = input.flag().then(|| input.number());
                framed(18, encode(&(heads, index)).to_vec())
            }
        }
        13 => {
            let heads = (lineage_of(input), input.number(), input.number(), input.below(6));
            framed(19, encode(&heads).to_vec())
        }
        14 => snapshot(input, world),
        _ => input.bytes().to_vec(),
    };
    changed(bytes, input)
}

fn message(input: &mut Input<'_>) -> Vec<u8> {
    let (tag, term) = (input.below(10), input.number());
    let (a, b) = (input.number(), input.number());
    let bytes = match tag {
        0 | 6 => encode(&(tag, term, a, b)),
        1 | 3 => encode(&(tag, term, input.flag())),
        2 => encode(&(tag, term, a, b, input.flag())),
        4 if input.flag() => encode(&(tag, term, a, 0u8, b, input.number())),
        4 => encode(&(tag, term, a, 1u8, b, (input.number(), input.number()))),
        5 | 8 => encode(&(tag, term, a)),
        7 => encode(&(tag, term)),
        _ => encode(&(tag, term, a, b)),
    };
    bytes.to_vec()
}

fn append(input: &mut Input<'_>, world: &GroupWorld, heard: u32) -> Vec<u8> {
    let (term, prev) = (input.number(), (input.number(), input.number()));
    let mut heads = encode(&(heard, term, prev, input.number(), input.number())).to_vec();
    let mut data = Vec::new();
    for _ in 0..input.below(4) {
        let (mut count, kind, term) = (1, input.below(4), input.number());
        let content = match kind {
            0 => Vec::new(),
            1 => {
                let set = |many: u8, input: &mut Input<'_>| {
                    let mut seats: Vec<_> = (0..many).map(|_| seat(input, world)).collect();
                    seats.sort_unstable();
                    seats
                };
                let leaving = input.flag().then(|| set(2, input));
                let many = input.below(4);
                encode(&(leaving, set(many, input))).to_vec()
            }
            2 => {
                count = u32::from(input.below(20)) + 1;
                recipe::batch(count, recipe::size(input))
            }
            _ => match input.below(4) {
                0 => encode(&(0u8, who(input, world), input.number())).to_vec(),
                1 => encode(&(1u8, u32::from(input.byte()))).to_vec(),
                2 => vec![2],
                _ => encode(&(input.below(6), [input.below(4); 16])).to_vec(),
            },
        };
        let origin = (input.number(), input.number());
        heads.extend(encode(&(term, count, kind, origin, content.len() as u32)));
        data.extend(content);
    }
    framed(5, [&(heads.len() as u32).to_be_bytes()[..], &heads, &data].concat())
}

fn snapshot(input: &mut Input<'_>, world: &GroupWorld) -> Vec<u8> {
    match input.below(5) {
        0 => framed(32, Vec::new()),
        1 => {
            let lineage = lineage(input, world).unwrap_or_default();
            let voters = (None::<Vec<(PeerId, [u8; 16])>>, vec![seat(input, world)]);
            let last = (input.number(), input.number());
            let covers = (lineage, last, voters, input.number());
            let rest = (input.number() as u32, input.number(), Digest::zero());
            framed(33, encode(&(1u8, input.number(), covers, rest)).to_vec())
        }
        2 => framed(34, encode(&(input.number(), Digest::zero(), input.number())).to_vec()),
        3 => framed(35, [&encode(&input.number())[..], input.bytes()].concat()),
        _ => framed(36, encode(&input.number()).to_vec()),
    }
}

fn framed(kind: u8, payload: Vec<u8>) -> Vec<u8> {
    let mut bytes = header(kind, payload.len() as u32).to_vec();
    bytes.extend(payload);
    bytes
}

/// One time in sixteen, a byte is not what it should be.
fn changed(mut bytes: Vec<u8>, input: &mut Input<'_>) -> Vec<u8> {
    if input.byte() >= 0xf0 {
        let at = usize::from(input.short()) % bytes.len().max(1);
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= input.byte().max(1);
        }
    }
    bytes
}
