//! Stepwise scripts whose protocol is the same on every runtime (NODE-03): the same inputs, one after
//! the other, give the same actions.
//!
//! Each script observes one node and compares the transcript of its actions with the text in
//! `driver/src/conformance/transcripts`. With `REWRITE=1` in the environment that text is written
//! instead; look at the difference.

use std::{fs, path::Path, sync::Arc};

use mosaik_proto::{Digest, ids::Tag};

use super::{
    Bench, Harness, NodeOptions,
    scenarios::{knows, meet, numbers, subscribed, take},
    transcript::Transcript,
};
use crate::{Network, streams::producer::Producer};

/// Looks in a row that must find nothing new before a script takes the next step.
const LOOKS: usize = 60;

/// A node that is observed, and another one.
struct Stage<H: Harness> {
    bench: Bench<H>,
    transcripts: [Arc<Transcript>; 2],
    me: Network,
    other: Network,
}

impl<H: Harness> Stage<H> {
    fn new(bench: Bench<H>, foreign: bool) -> Self {
        let transcripts = [Arc::<Transcript>::default(), Arc::default()];
        let options = |which: usize| {
            let tap: Arc<Transcript> = Arc::clone(&transcripts[which]);
            NodeOptions { tap: Some(tap), ..NodeOptions::default() }
        };
        let me = bench.node_with("me", options(0));
        let network = foreign.then(|| Digest::hash(b"foreign"));
        let other = bench.node_with("other", NodeOptions { network, ..options(1) });
        Self { bench, transcripts, me, other }
    }

    /// Two nodes that know each other.
    async fn met(bench: Bench<H>) -> Self {
        let stage = Self::new(bench, false);
        stage.step("start").await;
        meet(&stage.bench, &stage.me, &stage.other).await;
        stage.bench.until(|| knows(&stage.other, &stage.me)).await;
        stage.step("met").await;
        stage
    }

    /// Lets everything that is under way arrive at both, and begins a part of the text.
    async fn step(&self, name: &str) {
        let lines = || self.transcripts.each_ref().map(|each| each.lines());
        let (mut before, mut looks) = (lines(), 0);
        let quiet = || {
            let now = lines();
            looks = if now == before { looks + 1 } else { 0 };
            before = now;
            looks > LOOKS
        };
        self.bench.until(quiet).await;
        self.transcripts.iter().for_each(|each| each.part(name));
    }

    /// A whole subscription to a new producer: more items than the window holds, one after the other.
    async fn subscription(&self, producer: &Producer<u64>, consumes: &Network) {
        self.step("produced").await;
        let mut consumer =
            consumes.streams().consumer_of(numbers()).with_window(4, 1 << 16).build();
        subscribed(&self.bench, producer, &consumer).await;
        for item in 0..6 {
            self.step("item").await;
            self.bench.soon(producer.send(item)).await.expect("online");
            assert_eq!(take(&self.bench, &mut consumer, 1).await, [item]);
        }
        self.step("no more").await;
        drop(consumer);
        self.bench.soon(producer.when().unsubscribed()).await;
    }

    /// Compares what the observed node asked for with what it should.
    async fn compare(self, name: &str, expected: &str) {
        self.step("end").await;
        let text = self.transcripts[0].text();
        if std::env::var_os("REWRITE").is_some() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/conformance/transcripts");
            fs::write(folder.join(name).with_extension("txt"), text).expect("a text is written");
            return;
        }
        let mut lines = text.lines().zip(expected.lines()).enumerate();
        if let Some((at, (is, should))) = lines.find(|(_, (is, should))| is != should) {
            panic!("{name}.txt:{}: `{is}` instead of `{should}`; in all:\n{text}", at + 1);
        }
        assert_eq!(text.lines().count(), expected.lines().count(), "{name}.txt:\n{text}");
    }
}

macro_rules! compare {
    ($stage:expr, $name:literal) => {
        $stage.compare($name, include_str!(concat!("transcripts/", $name, ".txt"))).await
    };
}

/// LINK-02, DISC-10: a hello, a sync.
pub async fn script_connect<H: Harness>(bench: Bench<H>) {
    compare!(Stage::met(bench).await, "connect");
}

/// LINK-01, DISC-14: a node of another network says so, however the ends of link and channel overtake
/// each other.
pub async fn script_foreign<H: Harness>(bench: Bench<H>) {
    let stage = Stage::new(bench, true);
    stage.step("start").await;
    meet(&stage.bench, &stage.me, &stage.other).await;
    compare!(stage, "foreign");
}

/// DISC-20: what each says of itself later.
pub async fn script_news<H: Harness>(bench: Bench<H>) {
    let stage = Stage::met(bench).await;
    stage.me.discovery().add_tags(Tag::hash(b"mine")).expect("room for a tag");
    stage.step("my tag").await;
    stage.other.discovery().add_tags(Tag::hash(b"other")).expect("room for a tag");
    stage.step("its tag").await;
    meet(&stage.bench, &stage.me, &stage.other).await;
    compare!(stage, "news");
}

/// STR-03, STR-05, STR-13: a subscription as its consumer sees it.
pub async fn script_consume<H: Harness>(bench: Bench<H>) {
    let stage = Stage::met(bench).await;
    let producer = stage.other.streams().producer_of(numbers()).build().expect("the only one");
    stage.subscription(&producer, &stage.me).await;
    stage.step("not produced").await;
    drop(producer);
    compare!(stage, "consume");
}

/// STR-03, STR-05, STR-13: a subscription as its producer sees it.
pub async fn script_produce<H: Harness>(bench: Bench<H>) {
    let stage = Stage::met(bench).await;
    let producer = stage.me.streams().producer_of(numbers()).build().expect("the only one");
    stage.subscription(&producer, &stage.other).await;
    compare!(stage, "produce");
}

/// DISC-35: the other one leaves.
pub async fn script_departure<H: Harness>(bench: Bench<H>) {
    let stage = Stage::met(bench).await;
    stage.bench.soon(stage.other.shutdown()).await;
    stage.bench.until(|| !knows(&stage.me, &stage.other)).await;
    compare!(stage, "departure");
}

/// NODE-02: the observed node leaves.
pub async fn script_shutdown<H: Harness>(bench: Bench<H>) {
    let stage = Stage::met(bench).await;
    stage.bench.soon(stage.me.shutdown()).await;
    stage.bench.until(|| !knows(&stage.other, &stage.me)).await;
    compare!(stage, "shutdown");
}
