//! Which channel belongs to which link and protocol.

use alloc::{
    collections::{BTreeMap, BTreeSet},
    vec::Vec,
};

use bytes::{Buf as _, Bytes};

use super::{Action, Counter, LinkLimits};
use crate::{
    core::Outbox,
    ids::{ChannelId, LinkId},
    wire::{CloseCode, Protocol},
};

#[derive(Clone, Copy, Debug)]
struct Channel {
    link: LinkId,
    /// `None` until the first byte of a channel that the other end opened.
    protocol: Option<Protocol>,
    /// What the first byte must be, where we know: the first channel of a link is its control.
    control: bool,
}

/// What the bytes of a channel are for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Named {
    /// The channel is not open (any more).
    Unknown,
    /// The first byte is still missing.
    Waiting,
    /// The first byte is not one that may stand there.
    Nonsense(LinkId),
    /// The channel has an owner; `fresh` if its first byte came just now.
    Owned { link: LinkId, protocol: Protocol, fresh: bool },
}

/// All open channels of a node.
#[derive(Debug, Default)]
pub(super) struct Channels {
    by_id: BTreeMap<ChannelId, Channel>,
    by_link: BTreeSet<(LinkId, ChannelId)>,
}

impl Channels {
    /// A channel that we opened.
    pub(super) fn open(&mut self, link: LinkId, channel: ChannelId, protocol: Protocol) {
        let protocol = Some(protocol);
        self.insert(channel, Channel { link, protocol, control: false });
    }

    /// The first channel of a link that the other end dialled.
    pub(super) fn expect_control(&mut self, link: LinkId, channel: ChannelId) {
        self.insert(channel, Channel { link, protocol: None, control: true });
    }

    /// A further channel that the other end opened; refused above the limits.
    pub(super) fn accept(
        &mut self,
        link: LinkId,
        channel: ChannelId,
        limits: &LinkLimits,
        out: &mut Outbox<Action>,
    ) {
        let of_link = self.of_link(link);
        let (all, unnamed) = of_link.fold((0, 0), |(all, unnamed), id| {
            (all + 1, unnamed + usize::from(self.by_id[&id].protocol.is_none()))
        });
        if all >= limits.channels_per_link || unnamed >= limits.unnamed_channels_per_link {
            out.push(Action::Count(Counter::ChannelRefused));
            out.push(Action::CloseChannel { channel, code: CloseCode::BUSY });
        } else {
            self.insert(channel, Channel { link, protocol: None, control: false });
        }
    }

    /// Reads the first byte if it is still to come, and says whom the rest is for.
    pub(super) fn name(&mut self, id: ChannelId, chunk: &mut Bytes) -> Named {
        let Some(channel) = self.by_id.get_mut(&id) else { return Named::Unknown };
        let link = channel.link;
        if let Some(protocol) = channel.protocol {
            return Named::Owned { link, protocol, fresh: false };
        }
        if chunk.is_empty() {
            return Named::Waiting;
        }
        match Protocol::from_byte(chunk.get_u8()) {
            Some(protocol) if (protocol == Protocol::Control) == channel.control => {
                channel.protocol = Some(protocol);
                Named::Owned { link, protocol, fresh: true }
            }
            _ => Named::Nonsense(link),
        }
    }

    /// The link and protocol of a channel that has its first byte.
    pub(super) fn owner(&self, id: ChannelId) -> Option<(LinkId, Protocol)> {
        self.by_id.get(&id).and_then(|channel| Some((channel.link, channel.protocol?)))
    }

    /// Forgets a channel; returns the link that it was on.
    pub(super) fn close(&mut self, id: ChannelId) -> Option<LinkId> {
        let channel = self.by_id.remove(&id)?;
        self.by_link.remove(&(channel.link, id));
        Some(channel.link)
    }

    /// Forgets all channels of a link; returns those that have an owner.
    pub(super) fn close_link(&mut self, link: LinkId) -> Vec<(ChannelId, Protocol)> {
        let ids: Vec<_> = self.of_link(link).collect();
        ids.into_iter()
            .filter_map(|id| {
                self.by_link.remove(&(link, id));
                Some((id, self.by_id.remove(&id)?.protocol?))
            })
            .collect()
    }

    /// True if the link carries nothing but its control channel.
    pub(super) fn only_control(&self, link: LinkId) -> bool {
        self.of_link(link).take(2).count() <= 1
    }

    fn of_link(&self, link: LinkId) -> impl Iterator<Item = ChannelId> + '_ {
        let all = (link, ChannelId(0))..=(link, ChannelId(u64::MAX));
        self.by_link.range(all).map(|(_, id)| *id)
    }

    fn insert(&mut self, id: ChannelId, channel: Channel) {
        self.by_link.insert((channel.link, id));
        self.by_id.insert(id, channel);
    }
}
