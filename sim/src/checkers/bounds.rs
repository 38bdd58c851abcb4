//! Every queue has its bound.

use std::collections::{BTreeMap, BTreeSet};

use mosaik_proto::{
    ids::{ChannelId, LinkId, ProducerId},
    limits,
    node::{Action, Event},
    streams::item::Items,
    wire::Protocol,
};

use crate::net::Process;

/// A frame without items: what a channel's debt may exceed its bound by.
const FRAME: u64 = limits::SYNC_FRAME_BYTES as u64 + 64;
/// Actions that one step may leave.
const ACTIONS: u64 = 200_000;

#[derive(Debug, Default)]
struct Producer {
    window: (u64, u64),
    offered: (u64, u64),
}

/// The checker.
#[derive(Debug, Default)]
pub struct Bounds {
    /// Written and not drained.
    debts: BTreeMap<(Process, ChannelId), u64>,
    channels: BTreeMap<(Process, LinkId, ChannelId), ()>,
    /// Channels of groups, which have a bound of their own.
    groups: BTreeSet<(Process, ChannelId)>,
    /// Opened by others, who have not said what for.
    unnamed: BTreeSet<(Process, ChannelId)>,
    producers: BTreeMap<(Process, ProducerId), Producer>,
    actions: u64,
    most_debt: u64,
    /// Batches are offered whole, as drivers do: the last may exceed the window.
    pub whole_batches: bool,
}

impl Bounds {
    /// The most bytes that were ever written to one channel and not drained.
    #[must_use]
    pub const fn most_debt(&self) -> u64 {
        self.most_debt
    }

    /// Looks at an event.
    ///
    /// # Errors
    /// If the application exceeds its window, or more is drained than was written.
    pub fn event(&mut self, process: Process, event: &Event) -> Result<(), String> {
        self.actions = 0;
        match event {
            Event::Drained { channel, bytes } => {
                if let Some(debt) = self.debts.get_mut(&(process, *channel)) {
                    *debt = debt.checked_sub(u64::from(*bytes)).ok_or_else(|| {
                        format!("{process:?} {channel:?}: drained {bytes} B of {debt} B")
                    })?;
                }
            }
            Event::ChannelUp { link, channel } => {
                self.channels.insert((process, *link, *channel), ());
                self.unnamed.insert((process, *channel));
            }
            Event::Data { channel, chunk } => {
                let channel = (process, *channel);
                let group = chunk.first() == Some(&(Protocol::Group as u8));
                if self.unnamed.remove(&channel) && group {
                    self.groups.insert(channel);
                }
            }
            Event::ChannelDown { channel, .. } => {
                self.forget(process, *channel);
            }
            Event::LinkDown { link, .. } => self.link_down(process, *link),
            Event::Offer { producer, data, .. } => {
                let state = self.producers.entry((process, *producer)).or_default();
                for (number, item) in Items::new(data.clone()).flatten().enumerate() {
                    // The last item may exceed the bytes: nobody can split it.
                    let judged = number == 0 || !self.whole_batches;
                    let (offered, window) = (state.offered, state.window);
                    if judged && (offered.0 >= window.0 || offered.1 >= window.1) {
                        return Err(format!("{process:?} {producer:?}: offered beyond {state:?}"));
                    }
                    state.offered.0 += 1;
                    state.offered.1 += item.len() as u64;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Looks at an action.
    ///
    /// # Errors
    /// If a queue exceeds its bound.
    pub fn action(&mut self, process: Process, action: &Action) -> Result<(), String> {
        self.actions += 1;
        if self.actions > ACTIONS {
            return Err(format!("{process:?}: more than {ACTIONS} actions in one step"));
        }
        match action {
            Action::OpenChannel { link, channel, protocol } => {
                self.channels.insert((process, *link, *channel), ());
                if *protocol == Protocol::Group {
                    self.groups.insert((process, *channel));
                }
            }
            Action::Write { channel, head, body } => {
                let debt = self.debts.entry((process, *channel)).or_default();
                let size = (head.len() + body.len()) as u64;
                *debt += size;
                self.most_debt = self.most_debt.max(*debt);
                let bound = if self.groups.contains(&(process, *channel)) {
                    // The message that goes beyond it is the last.
                    limits::BOND_DEBT + 2 * limits::APPEND_BYTES as u64
                } else {
                    limits::CHANNEL_DEBT
                };
                if *debt > bound + FRAME.max(size) {
                    return Err(format!("{process:?} {channel:?}: a debt of {debt} B"));
                }
            }
            Action::CloseChannel { channel, .. } => self.forget(process, *channel),
            Action::Window { producer, items, bytes } => {
                let state = self.producers.entry((process, *producer)).or_default();
                if *items < state.window.0 || *bytes < state.window.1 {
                    return Err(format!("{process:?} {producer:?}: the window shrinks, {state:?}"));
                }
                state.window = (*items, *bytes);
                let (offered_items, offered_bytes) = state.offered;
                let ahead =
                    (items.saturating_sub(offered_items), bytes.saturating_sub(offered_bytes));
                if ahead.0 > limits::TAIL_ITEMS || ahead.1 > limits::TAIL_BYTES {
                    return Err(format!("{process:?} {producer:?}: the window is {ahead:?} ahead"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A process has ended.
    pub fn ended(&mut self, process: Process) {
        self.debts.retain(|(of, _), _| *of != process);
        self.channels.retain(|(of, _, _), ()| *of != process);
        self.producers.retain(|(of, _), _| *of != process);
        self.groups.retain(|(of, _)| *of != process);
        self.unnamed.retain(|(of, _)| *of != process);
    }

    fn forget(&mut self, process: Process, channel: ChannelId) {
        self.debts.remove(&(process, channel));
        self.groups.remove(&(process, channel));
        self.unnamed.remove(&(process, channel));
    }

    fn link_down(&mut self, process: Process, link: LinkId) {
        let all = (process, link, ChannelId(0))..=(process, link, ChannelId(u64::MAX));
        let gone: Vec<_> = self.channels.range(all).map(|(key, ())| *key).collect();
        for key in gone {
            self.channels.remove(&key);
            self.forget(process, key.2);
        }
    }
}
