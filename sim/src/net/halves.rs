//! Channels as transports see them: two directions that end one by one, credit by reading.

use mosaik_proto::{
    ids::ChannelId, links::DownReason, node::Event, time::Instant, wire::CloseCode,
};

use super::{Burst, Effect, End, HostId, LinkKey, Net, Packet};

impl Net {
    /// A process has written its last to a channel.
    pub(crate) fn finish(&mut self, host: HostId, id: ChannelId) {
        let Some((key, end, channel)) = self.channel(host, id) else { return };
        channel.sides[end].finished = true;
        self.dirty.insert((key, end));
    }

    /// A process gives its direction of a channel up; what was written may be lost.
    pub(crate) fn reset(&mut self, now: Instant, host: HostId, id: ChannelId, code: CloseCode) {
        let Some((key, end, channel)) = self.channel(host, id) else { return };
        let pipe = &mut channel.sides[end];
        pipe.queue.clear();
        pipe.finished = false;
        self.half(now, (key, end), (host, id), Burst::Reset(code));
    }

    /// A process reads no more of a channel.
    pub(crate) fn stop(&mut self, now: Instant, host: HostId, id: ChannelId, code: CloseCode) {
        let Some((key, end, _)) = self.channel(host, id) else { return };
        self.half(now, (key, end), (host, id), Burst::Stop(code));
    }

    /// A process has read bytes: the other end may send as many more.
    pub(crate) fn credit(&mut self, now: Instant, host: HostId, id: ChannelId, bytes: usize) {
        let Some(&(link, channel, end)) = self.by_channel.get(&(host, id)) else { return };
        let Some((a, b)) = self.links.get(&link).map(super::link::Link::hosts) else { return };
        let sender = if end == 0 { b } else { a };
        let at = now + self.flight(host, sender);
        self.at(at, Packet::Ack { link, from: 1 - end, channel, bytes });
    }

    fn half(
        &mut self,
        now: Instant,
        (key, end): (LinkKey, End),
        id: (HostId, ChannelId),
        burst: Burst,
    ) {
        let Some(&(_, number, _)) = self.by_channel.get(&id) else { return };
        self.launch(now, key, end, vec![(number, u64::MAX, burst)]);
    }

    /// Bytes of one direction, its end, or the wish that the other direction may end.
    pub(super) fn on_half_burst(
        &mut self,
        key: LinkKey,
        from: End,
        number: u64,
        at: u64,
        burst: Burst,
    ) {
        let to = 1 - from;
        let Some(link) = self.links.get_mut(&key) else { return };
        let process = link.ends[to].process;
        let Some(channel) = link.channels.get_mut(&number) else { return };
        let Some(id) = channel.ids[to] else { return };
        match burst {
            Burst::Stop(code) => {
                self.effects.push(Effect::Stopped(process, id, code));
                return;
            }
            Burst::Reset(_) if channel.sides[from].over => return,
            Burst::Reset(code) => {
                channel.sides[from].over = true;
                let reason = DownReason::Closed(code);
                self.tell(process, Event::ChannelDown { channel: id, reason });
            }
            burst => {
                let pipe = &mut channel.sides[from];
                if pipe.over {
                    return;
                }
                pipe.early.insert(at, burst);
                let mut ready = Vec::new();
                while let Some(burst) = pipe.early.remove(&pipe.arrived) {
                    pipe.arrived += 1;
                    pipe.over |= matches!(burst, Burst::Fin);
                    ready.push(burst);
                }
                for burst in ready {
                    if let Burst::Data(bytes) = burst {
                        self.give(key, to, number, bytes);
                    } else {
                        let reason = DownReason::Finished;
                        self.tell(process, Event::ChannelDown { channel: id, reason });
                    }
                }
            }
        }
        self.forget_if_over(key, number);
    }

    fn forget_if_over(&mut self, key: LinkKey, number: u64) {
        let Some(link) = self.links.get_mut(&key) else { return };
        let over = |channel: &super::link::Channel| channel.sides.iter().all(|side| side.over);
        if !link.channels.get(&number).is_some_and(over) {
            return;
        }
        let Some(channel) = link.channels.remove(&number) else { return };
        let hosts = [0, 1].map(|end| link.ends[end].process.host);
        for (host, id) in hosts.into_iter().zip(channel.ids) {
            if let Some(id) = id {
                self.by_channel.remove(&(host, id));
            }
        }
    }
}
