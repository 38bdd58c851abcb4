mod meeting;
mod speaking;
mod world;

use self::world::{Side, World};
use super::*;
use crate::groups::Action;

fn peers(world: &World) -> [PeerId; 2] {
    [world.sides[0].me, world.sides[1].me]
}

/// What a stranger is told by a node that is not in the group.
fn not_found() -> CloseCode {
    CloseCode::GROUP_NOT_FOUND
}

/// Says these bytes on a new channel of the peer, and returns how that ends.
fn say(side: &mut Side, peer: PeerId, channel: u64, bytes: Bytes) -> Option<CloseCode> {
    let channel = ChannelId::driver(channel);
    side.accept(peer, channel);
    side.data(channel, bytes);
    side.out.drain().find_map(|action| match action {
        Action::Close { channel: closed, code } if closed == channel => Some(code),
        _ => None,
    })
}
