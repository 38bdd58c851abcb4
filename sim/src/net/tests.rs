use std::collections::BTreeMap;

use mosaik_proto::{
    ids::Side,
    links::{DialError, DownReason},
    wire::Head,
};

use super::*;
use crate::queue::Queue;

/// Two hosts, a queue, and what each was told.
struct Two {
    net: Net,
    queue: Queue<Packet>,
    now: Instant,
    told: Vec<(Instant, HostId, Event)>,
}

const A: HostId = HostId(0);
const B: HostId = HostId(1);

impl Two {
    fn new(options: Options) -> Self {
        let mut net = Net::new(&Rng::new([7; 32]), options);
        for host in [A, B] {
            net.add_host(Self::peer(host), Self::addr(host));
            net.start(Self::process(host));
        }
        Self { net, queue: Queue::new(), now: Instant::ZERO, told: Vec::new() }
    }

    fn peer(host: HostId) -> PeerId {
        PeerId::from_bytes([host.0 as u8 + 1; 32])
    }

    fn addr(host: HostId) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, host.0 as u8], 1))
    }

    const fn process(host: HostId) -> Process {
        Process { host, boot: 1 }
    }

    fn run(&mut self, millis: u64) {
        let until = self.now + Duration::from_millis(millis);
        loop {
            self.net.flush(self.now);
            for effect in self.net.take_effects() {
                match effect {
                    Effect::At(at, packet) => self.queue.push(at, packet),
                    Effect::Tell(process, event) => {
                        self.told.push((self.now, process.host, event));
                    }
                    Effect::Stopped(..) => unreachable!("channels end as a whole here"),
                }
            }
            if self.queue.next_at().is_none_or(|at| at > until) {
                self.now = until;
                return;
            }
            if let Some((at, packet)) = self.queue.pop() {
                self.now = at;
                self.net.arrive(at, packet);
            }
        }
    }

    /// A dials B; the links' ids at both ends.
    fn linked(options: Options) -> (Self, LinkId, LinkId) {
        let mut two = Self::new(options);
        two.net.dial(two.now, Self::process(A), Self::peer(B), &[Self::addr(B)]);
        two.run(500);
        let mut links = BTreeMap::new();
        for (_, host, event) in two.told.drain(..) {
            if let Event::LinkUp { link, .. } = event {
                links.insert(host, link);
            }
        }
        let (a, b) = (links[&A], links[&B]);
        (two, a, b)
    }

    fn write(&mut self, channel: ChannelId, bytes: Vec<u8>) {
        self.net.write(A, channel, Head::new(), Bytes::from(bytes));
    }

    /// What B received, put together.
    fn received(&self) -> Vec<u8> {
        let mut all = Vec::new();
        for (_, host, event) in &self.told {
            if let (&B, Event::Data { chunk, .. }) = (host, event) {
                all.extend_from_slice(chunk);
            }
        }
        all
    }

    fn downs(&self, host: HostId) -> Vec<(Instant, DownReason)> {
        let downs = self.told.iter().filter(|(_, of, _)| *of == host);
        let reason = |event: &Event| match event {
            Event::LinkDown { reason, .. } => Some(*reason),
            _ => None,
        };
        downs.filter_map(|(at, _, event)| Some((*at, reason(event)?))).collect()
    }
}

fn content(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|i| (i / 7) as u8).collect()
}

/// LINK-18: as the transports that this network stands for.
#[test]
fn both_ends_of_a_link_and_no_other_have_its_binding() {
    let mut two = Two::new(Options::default());
    for _ in 0..2 {
        two.net.dial(two.now, Two::process(A), Two::peer(B), &[Two::addr(B)]);
        two.run(500);
    }
    let bindings = two.told.iter().filter_map(|(_, host, event)| match event {
        Event::LinkUp { binding, .. } => Some((*binding, *host)),
        _ => None,
    });
    let mut bindings: Vec<_> = bindings.collect();
    bindings.sort_unstable();
    let [(a, A), (b, B), (c, A), (d, B)] = bindings[..] else { panic!("{bindings:?}") };
    assert!(a == b && c == d && a != c);
}

#[test]
fn a_dial_takes_one_round_trip_and_a_half() {
    let mut two = Two::new(Options { jitter_percent: 0, ..Options::wan() });
    let one_way = two.net.latency(A, B);
    two.net.dial(two.now, Two::process(A), Two::peer(B), &[Two::addr(B)]);
    two.run(500);
    let at = |host, side| {
        let up = two.told.iter().find(|(_, of, event)| {
            *of == host && matches!(event, Event::LinkUp { side: s, .. } if *s == side)
        });
        up.unwrap().0
    };
    assert_eq!(at(A, Side::Dialer), Instant::ZERO + one_way * 2);
    assert_eq!(at(B, Side::Listener), Instant::ZERO + one_way * 3);
    assert_eq!(two.net.traffic(A).wire, 2_766);
    assert_eq!(two.net.traffic(B).wire, 1_522);
}

#[test]
fn dials_fail_for_their_reasons() {
    let failed = |prepare: fn(&mut Net), peer: PeerId, addrs: &[SocketAddr]| {
        let mut two = Two::new(Options::default());
        prepare(&mut two.net);
        two.net.dial(two.now, Two::process(A), peer, addrs);
        two.run(6_000);
        match two.told.pop() {
            Some((at, A, Event::DialFailed { reason, .. })) => (reason, at.as_millis()),
            other => panic!("{other:?}"),
        }
    };
    let b = [Two::addr(B)];
    assert_eq!(failed(|_| (), Two::peer(B), &[]), (DialError::NoAddress, 0));
    assert_eq!(failed(|_| (), Two::peer(A), &b), (DialError::Transport, 0));
    assert_eq!(failed(|_| (), PeerId::from_bytes([9; 32]), &b).0, DialError::WrongPeer);
    let dead = failed(|net| net.die(Instant::ZERO, B), Two::peer(B), &b);
    assert_eq!(dead, (DialError::Timeout, 5_000));
    let cut = failed(|net| net.cut(Instant::ZERO, B, A), Two::peer(B), &b);
    assert_eq!(cut, (DialError::Timeout, 5_000));
}

#[test]
fn bytes_arrive_whole_and_in_order_under_loss() {
    let (mut two, link, _) = Two::linked(Options { loss_ppm: 200_000, ..Options::wan() });
    two.net.open_channel(A, link, ChannelId::core(1));
    let bytes = content(3_000_000);
    for part in bytes.chunks(70_001) {
        two.write(ChannelId::core(1), part.to_vec());
        two.run(3);
    }
    two.run(120_000);
    assert!(two.received() == bytes);
    let drained: u64 = two
        .told
        .iter()
        .map(
            |(_, _, event)| {
                if let Event::Drained { bytes, .. } = event { (*bytes).into() } else { 0 }
            },
        )
        .sum();
    assert_eq!(drained, 3_000_000);
    let sent = two.net.traffic(A);
    assert!(sent.wire > 3_600_000, "what is lost is sent again: {sent:?}");
}

#[test]
fn the_window_holds_back_when_nothing_is_acknowledged() {
    let (mut two, link, _) = Two::linked(Options { window: 100_000, ..Options::default() });
    two.net.open_channel(A, link, ChannelId::core(1));
    two.net.cut(two.now, A, B);
    two.write(ChannelId::core(1), content(1_000_000));
    two.run(2_000);
    let drained: u32 = two
        .told
        .iter()
        .map(|(_, _, event)| if let Event::Drained { bytes, .. } = event { *bytes } else { 0 })
        .sum();
    assert!((100_000..120_000).contains(&drained), "{drained}");
    two.net.mend(two.now, A, B);
    two.run(2_000);
    assert!(two.received() == content(1_000_000), "a short cut loses nothing");
    assert!(two.downs(A).is_empty() && two.downs(B).is_empty());
}

#[test]
fn a_cut_ends_links_after_the_idle_time() {
    let (mut two, ..) = Two::linked(Options::default());
    let begun = two.now;
    two.net.cut(two.now, A, B);
    two.run(20_000);
    let (at, reason) = two.downs(B)[0];
    assert_eq!(reason, DownReason::Timeout);
    let silent = at.since(begun);
    assert!(silent <= Duration::from_secs(5) && silent > Duration::from_secs(3), "{silent:?}");
    // A still hears B until B has given up.
    let (later, reason) = two.downs(A)[0];
    assert_eq!(reason, DownReason::Timeout);
    assert!(later > at + Duration::from_secs(3));
    assert!(two.net.links().next().is_none());
}

#[test]
fn a_dead_process_is_noticed_and_a_reset_at_once() {
    let (mut two, ..) = Two::linked(Options::default());
    two.net.die(two.now, B);
    two.run(10_000);
    assert_eq!(two.downs(A)[0].1, DownReason::Timeout);
    let (mut two, ..) = Two::linked(Options::default());
    two.net.reset_links(two.now, A, B);
    two.run(10);
    assert_eq!(two.downs(A)[0].1, DownReason::Lost);
    assert_eq!(two.downs(B)[0].1, DownReason::Lost);
}

#[test]
fn graceful_ends_come_behind_the_bytes_and_others_at_once() {
    let end = |code: CloseCode| {
        let (mut two, link, _) = Two::linked(Options { window: 50_000, ..Options::wan() });
        two.net.open_channel(A, link, ChannelId::core(1));
        two.write(ChannelId::core(1), content(500_000));
        two.run(1);
        two.net.close_channel(two.now, A, ChannelId::core(1), code);
        two.run(5_000);
        let down = two.told.iter().find_map(|(_, _, event)| match event {
            Event::ChannelDown { reason, .. } => Some(*reason),
            _ => None,
        });
        (two.received().len(), down)
    };
    assert_eq!(end(CloseCode::SUCCESS), (500_000, Some(DownReason::Finished)));
    let (bytes, down) = end(CloseCode::CANCELLED);
    assert!(bytes < 500_000);
    assert_eq!(down, Some(DownReason::Closed(CloseCode::CANCELLED)));
}

#[test]
fn channels_come_up_in_the_order_in_which_they_were_opened() {
    let (mut two, link, _) = Two::linked(Options { loss_ppm: 300_000, ..Options::default() });
    for n in 1..20 {
        two.net.open_channel(A, link, ChannelId::core(n));
        two.write(ChannelId::core(n), vec![n as u8; 40]);
        two.run(1);
    }
    two.run(5_000);
    let mut ups = Vec::new();
    let mut first = BTreeMap::new();
    for (_, _, event) in &two.told {
        match event {
            Event::ChannelUp { channel, .. } => ups.push(*channel),
            Event::Data { channel, chunk } => {
                first.entry(*channel).or_insert(chunk[0]);
            }
            _ => {}
        }
    }
    let order: Vec<_> = ups.iter().map(|channel| first[channel]).collect();
    assert_eq!(order, (1..20).collect::<Vec<u8>>());
}
