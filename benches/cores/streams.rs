//! Steps of streams, through a whole node: what a driver pays.

use bytes::Bytes;
use mosaik_proto::{Core as _, ids::ChannelId, node::Event};

use crate::{
    Case, Make,
    net::{NOW, Net},
};

pub(crate) const CASES: &[(&str, Make)] = &[
    ("node/idle", || Idle::case()),
    ("streams/offer-write/1", || Step::case(1, BATCH, What::Offer)),
    ("streams/offer-write/8", || Step::case(8, BATCH, What::Offer)),
    ("streams/offer-write/1/lone", || Step::case(1, 1, What::Offer)),
    ("streams/data-deliver/packets", || Step::case(1, BATCH, What::Data(PACKET))),
    ("streams/data-deliver/whole", || Step::case(1, BATCH, What::Data(usize::MAX))),
    ("streams/data-deliver/lone", || Step::case(1, 1, What::Data(usize::MAX))),
    ("streams/drained", || Step::case(1, BATCH, What::Drained)),
    ("streams/consumed-credit", || Step::case(1, BATCH, What::Consumed)),
    ("streams/credit", || Step::case(1, BATCH, What::Credit)),
];

/// Items of 32 bytes in a batch: a full lane.
const BATCH: u32 = 1_000;
/// Payload of one packet, as the transport gives it.
const PACKET: usize = 1_415;
/// Batches until a consumer's report is worth a credit frame.
const QUARTER: u32 = 9;

/// Timeouts at a producer with eight consumers when nothing is due.
struct Idle(Net);

impl Idle {
    fn case() -> Box<dyn Case> {
        Box::new(Self(Net::new(8)))
    }
}

impl Case for Idle {
    fn per_step(&self) -> u32 {
        64
    }

    fn prepare(&mut self) {
        self.0.carry(0);
        self.0.settle();
    }

    fn step(&mut self) {
        for _ in 0..64 {
            self.0.nodes[0].handle(NOW, Event::Timeout, &mut self.0.out);
        }
    }
}

#[derive(Clone, Copy)]
enum What {
    /// A batch comes from the application, and goes out.
    Offer,
    /// A batch arrives in chunks of this size, and goes to the application.
    Data(usize),
    /// The transport took a batch.
    Drained,
    /// The application took a quarter of the window, and credit goes out.
    Consumed,
    /// Credit arrives.
    Credit,
}

/// One kind of step in the cycle of a batch; the others happen in between.
struct Step {
    net: Net,
    items: u32,
    what: What,
    /// The node that steps, and its events.
    node: usize,
    events: Vec<Event>,
}

impl Step {
    fn case(consumers: usize, items: u32, what: What) -> Box<dyn Case> {
        let node = usize::from(matches!(what, What::Data(_) | What::Consumed));
        let events = Vec::with_capacity(64);
        Box::new(Self { net: Net::new(consumers), items, what, node, events })
    }

    fn offer(&mut self) {
        let batch = self.net.batch(self.items);
        self.net.tell(0, batch);
    }

    /// The application took a quarter of the window and did not say so yet.
    fn quarter(&mut self) -> Event {
        self.net.consuming = false;
        for _ in 0..QUARTER {
            self.offer();
            self.net.settle();
        }
        self.net.consuming = true;
        self.net.consumed(1)
    }
}

impl Case for Step {
    fn prepare(&mut self) {
        self.net.carry(self.node);
        self.net.settle();
        let found = match self.what {
            What::Offer => Some(self.net.batch(self.items)),
            What::Data(size) => {
                self.offer();
                let data = self.net.take(|n, event| n == 1 && matches!(event, Event::Data { .. }));
                let Some(Event::Data { channel, chunk }) = data else { panic!("no batch") };
                return chunks(channel, chunk, size, &mut self.events);
            }
            What::Drained => {
                self.offer();
                self.net.take(|n, event| n == 0 && matches!(event, Event::Drained { .. }))
            }
            What::Consumed => Some(self.quarter()),
            What::Credit => {
                let consumed = self.quarter();
                self.net.tell(1, consumed);
                self.net.take(|n, event| n == 0 && matches!(event, Event::Data { .. }))
            }
        };
        self.events.push(found.expect("the event of the step"));
    }

    fn step(&mut self) {
        for event in self.events.drain(..) {
            self.net.nodes[self.node].handle(NOW, event, &mut self.net.out);
        }
        assert!(!self.net.out.is_empty() || !matches!(self.what, What::Offer | What::Data(_)));
    }
}

fn chunks(channel: ChannelId, mut data: Bytes, size: usize, events: &mut Vec<Event>) {
    while !data.is_empty() {
        let chunk = data.split_to(data.len().min(size));
        events.push(Event::Data { channel, chunk });
    }
}
