//! Who feeds whom: the only file that names two children of a node.
//!
//! | from | to | what |
//! |---|---|---|
//! | outside | one child | transport events to links, commands to their child, timeouts to all |
//! | links | discovery, streams, groups | link admitted or ended |
//! | links | owner by protocol | channel up, data, drained, down |
//! | discovery | links, streams, groups | a peer's visible entry changed |
//! | discovery, streams, groups | links | want a peer, open a channel, write, close |
//! | groups | discovery | every group has been left: the farewell may be said |

use alloc::collections::VecDeque;

use super::{Action, Event};
use crate::{
    core::Outbox,
    discovery::{self, Tombstone},
    groups,
    links::{self, Interest},
    streams,
    wire::Protocol,
};

/// An event for one child.
#[derive(Debug)]
pub(super) enum Internal {
    Links(links::Event),
    Discovery(discovery::Event),
    Streams(streams::Event),
    Groups(groups::Event),
    /// Behind everything else: the node has ended.
    Stopped,
}

type Work = VecDeque<Internal>;

/// From outside to the child concerned.
pub(super) fn enter(event: Event, farewell: &mut Option<Tombstone>, work: &mut Work) {
    use self::Internal::{Discovery, Groups, Links, Streams};
    let internal = match event {
        Event::Timeout => {
            work.push_back(Links(links::Event::Timeout));
            work.push_back(Discovery(discovery::Event::Timeout));
            work.push_back(Streams(streams::Event::Timeout));
            Groups(groups::Event::Timeout)
        }
        Event::LinkUp { link, peer, side, rtt, binding } => {
            Links(links::Event::LinkUp { link, peer, side, rtt, binding })
        }
        Event::LinkDown { link, reason } => Links(links::Event::LinkDown { link, reason }),
        Event::LinkRtt { link, rtt } => Links(links::Event::LinkRtt { link, rtt }),
        Event::DialFailed { peer, reason } => Links(links::Event::DialFailed { peer, reason }),
        Event::ChannelUp { link, channel } => Links(links::Event::ChannelUp { link, channel }),
        Event::Data { channel, chunk } => Links(links::Event::Data { channel, chunk }),
        Event::Drained { channel, bytes } => Links(links::Event::Drained { channel, bytes }),
        Event::ChannelDown { channel, reason } => {
            Links(links::Event::ChannelDown { channel, reason })
        }
        Event::LocalEntry(entry) => {
            work.push_back(Links(links::Event::Local(entry.clone())));
            Discovery(discovery::Event::Local(entry))
        }
        Event::Admission(policy) => Links(links::Event::Policy(policy)),
        Event::Limits(limits) => Links(links::Event::Limits(limits)),
        Event::Found(peers) => Discovery(discovery::Event::Found(peers)),
        Event::Discovery { request, command } => {
            Discovery(discovery::Event::Command { request, command })
        }
        Event::Cancel(request) => Discovery(discovery::Event::Cancel(request)),
        Event::OpenProducer { producer, config } => {
            Streams(streams::Event::OpenProducer { producer, config })
        }
        Event::CloseProducer(producer) => Streams(streams::Event::CloseProducer(producer)),
        Event::OpenConsumer { consumer, config } => {
            Streams(streams::Event::OpenConsumer { consumer, config })
        }
        Event::CloseConsumer(consumer) => Streams(streams::Event::CloseConsumer(consumer)),
        Event::Offer { producer, items, payload, data } => {
            Streams(streams::Event::Offer { producer, items, payload, data })
        }
        Event::Consumed { consumer, subscription, items, bytes } => {
            Streams(streams::Event::Consumed { consumer, subscription, items, bytes })
        }
        Event::Group { group, input } => Groups(groups::Event::Input { group, input }),
        // Streams say goodbye on their channels and groups hand over, before discovery says
        // goodbye for the node.
        Event::Shutdown(tombstone) => {
            *farewell = Some(tombstone);
            work.push_back(Streams(streams::Event::Shutdown));
            Groups(groups::Event::Shutdown)
        }
    };
    work.push_back(internal);
}

/// From links to the host or to the owner.
pub(super) fn from_links(action: links::Action, work: &mut Work, out: &mut Outbox<Action>) {
    use self::Internal::{Discovery, Groups, Streams};
    use links::Action as A;
    let internal = match action {
        A::Dial { peer, addrs } => return out.push(Action::Dial { peer, addrs }),
        A::OpenChannel { link, channel, protocol } => {
            return out.push(Action::OpenChannel { link, channel, protocol });
        }
        A::Write { channel, head, body } => {
            return out.push(Action::Write { channel, head, body });
        }
        A::CloseChannel { channel, code } => {
            return out.push(Action::CloseChannel { channel, code });
        }
        A::CloseLink { link, code } => return out.push(Action::CloseLink { link, code }),
        A::Path { peer, rtt } => return out.push(Action::Path { peer, rtt }),
        A::Count(counter) => return out.push(Action::CountLinks(counter)),
        A::Connected { peer, link, side, entry, binding } => {
            work.push_back(Discovery(discovery::Event::Connected { peer, link, side, entry }));
            work.push_back(Streams(streams::Event::Connected { peer, link }));
            Groups(groups::Event::Connected { peer, link, binding })
        }
        A::Disconnected { peer, link, reason } => {
            work.push_back(Streams(streams::Event::Disconnected { peer, link }));
            work.push_back(Groups(groups::Event::Disconnected { peer }));
            Discovery(discovery::Event::Disconnected { peer, link, reason })
        }
        A::Unreachable { peer, foreign } => {
            Discovery(discovery::Event::Unreachable { peer, foreign })
        }
        A::Control { peer, link, kind, payload } => {
            Discovery(discovery::Event::Frame { peer, link, kind, payload })
        }
        A::ControlDrained { link, bytes } => Discovery(discovery::Event::Drained { link, bytes }),
        A::Accepted { peer, channel, protocol: Protocol::Stream } => {
            Streams(streams::Event::Accepted { peer, channel })
        }
        A::Data { channel, protocol: Protocol::Stream, chunk } => {
            Streams(streams::Event::Data { channel, chunk })
        }
        A::Drained { channel, protocol: Protocol::Stream, bytes } => {
            Streams(streams::Event::Drained { channel, bytes })
        }
        A::ChannelDown { channel, protocol: Protocol::Stream, reason } => {
            Streams(streams::Event::ChannelDown { channel, reason })
        }
        A::Accepted { peer, channel, protocol: Protocol::Group } => {
            Groups(groups::Event::Accepted { peer, channel })
        }
        A::Data { channel, protocol: Protocol::Group, chunk } => {
            Groups(groups::Event::Data { channel, chunk })
        }
        A::Drained { channel, protocol: Protocol::Group, bytes } => {
            Groups(groups::Event::Drained { channel, bytes })
        }
        A::ChannelDown { channel, protocol: Protocol::Group, reason } => {
            Groups(groups::Event::ChannelDown { channel, reason })
        }
        A::Accepted { protocol: Protocol::Control, .. }
        | A::Data { protocol: Protocol::Control, .. }
        | A::Drained { protocol: Protocol::Control, .. }
        | A::ChannelDown { protocol: Protocol::Control, .. } => {
            unreachable!("links keep control channels to themselves")
        }
    };
    work.push_back(internal);
}

/// From discovery to the host or to its siblings.
pub(super) fn from_discovery(action: discovery::Action, work: &mut Work, out: &mut Outbox<Action>) {
    use self::Internal::{Groups, Links, Stopped, Streams};
    use discovery::Action as A;
    let interest = Interest::Discovery;
    let internal = match action {
        A::Want { peer, addrs } => Links(links::Event::Want { interest, peer, addrs }),
        A::Unwant(peer) => Links(links::Event::Unwant { interest, peer }),
        A::Send { link, kind, payload } => Links(links::Event::SendControl { link, kind, payload }),
        A::Close { link, code } => Links(links::Event::CloseLink { link, code }),
        A::Retire(link) => Links(links::Event::RetireLink { link }),
        A::Changed(peer) => {
            work.push_back(Links(links::Event::EntryChanged(peer)));
            work.push_back(Streams(streams::Event::PeerChanged(peer)));
            Groups(groups::Event::PeerChanged(peer))
        }
        A::Publish(change) => return out.push(Action::Catalog(change)),
        A::Reply { request, result } => return out.push(Action::Reply { request, result }),
        A::Raise { above } => return out.push(Action::Raise { above }),
        A::Seek => return out.push(Action::Seek),
        A::Count(counter) => return out.push(Action::CountDiscovery(counter)),
        A::Departed => {
            work.push_back(Links(links::Event::Shutdown));
            Stopped
        }
    };
    work.push_back(internal);
}

/// From streams to the host or to links.
pub(super) fn from_streams(action: streams::Action, work: &mut Work, out: &mut Outbox<Action>) {
    use self::Internal::Links;
    use streams::Action as A;
    let interest = Interest::Streams;
    let internal = match action {
        A::Want(peer) => {
            Links(links::Event::Want { interest, peer, addrs: alloc::vec::Vec::new() })
        }
        A::Unwant(peer) => Links(links::Event::Unwant { interest, peer }),
        A::Open { link, channel } => {
            Links(links::Event::Open { link, channel, protocol: Protocol::Stream })
        }
        A::Write { channel, head, body } => Links(links::Event::Write { channel, head, body }),
        A::Close { channel, code } => Links(links::Event::CloseChannel { channel, code }),
        A::Deliver(delivery) => return out.push(Action::Deliver(delivery)),
        A::Window { producer, items, bytes } => {
            return out.push(Action::Window { producer, items, bytes });
        }
        A::Undelivered { producer, items, data } => {
            return out.push(Action::Undelivered { producer, items, data });
        }
        A::Finished(producer) => return out.push(Action::Finished(producer)),
        A::Publish(change) => return out.push(Action::Streams(change)),
        A::Count(counter) => return out.push(Action::CountStreams(counter)),
    };
    work.push_back(internal);
}

/// From groups to the host or to their siblings.
pub(super) fn from_groups(
    action: groups::Action,
    farewell: &mut Option<Tombstone>,
    work: &mut Work,
    out: &mut Outbox<Action>,
) {
    use self::Internal::{Discovery, Links};
    use groups::Action as A;
    let interest = Interest::Groups;
    let internal = match action {
        A::Want(peer) => {
            Links(links::Event::Want { interest, peer, addrs: alloc::vec::Vec::new() })
        }
        A::Unwant(peer) => Links(links::Event::Unwant { interest, peer }),
        A::Open { link, channel } => {
            Links(links::Event::Open { link, channel, protocol: Protocol::Group })
        }
        A::Write { channel, head, body } => Links(links::Event::Write { channel, head, body }),
        A::Close { channel, code } => Links(links::Event::CloseChannel { channel, code }),
        A::Output { group, output } => return out.push(Action::Group { group, output }),
        A::Count(counter) => return out.push(Action::CountGroups(counter)),
        A::Left => match farewell.take() {
            Some(tombstone) => Discovery(discovery::Event::Depart(tombstone)),
            None => return,
        },
    };
    work.push_back(internal);
}
