//! Entries that are forged, altered, replayed, from the future or too large, on each way in; and
//! thousands that are all right but for nobody being behind them.

mod common;
mod hostile;

use std::time::{Duration, Instant};

use common::{Data2, eventually, eventually_within, node, shy, soon};
use hostile::{
    Hostile, Victim, counted,
    entries::{Fields, item, signed, wall},
    memory,
    peer::{Pipe, Raw},
    report,
};
use mosaik::{
    driver::transport::Link as _,
    proto::{
        discovery::{PeerEntryVersion, frames::*},
        limits,
        time::UnixMillis,
        wire::{self, Frame},
    },
    *,
};

/// Says it, and then something that is answered: what came before that answer, if the link lived on.
async fn answers(
    (raw, control): &mut (Raw, Pipe),
    payload: &[u8],
) -> Result<Vec<Frame>, CloseCode> {
    control.frame(ITEMS, payload).await;
    control.frame(PROBE, &wire::encode(&(1u64, 0u128))).await;
    let mut frames = Vec::new();
    loop {
        match control.next().await {
            Ok(frame) if frame.kind == LIST => return Ok(frames),
            Ok(frame) => frames.push(frame),
            // The end of a link may show first as the end of its channels.
            Err(_) => return Err(raw.closed().await),
        }
    }
}

/// The same, if only the link's end matters.
async fn says(link: &mut (Raw, Pipe), payload: &[u8]) -> Result<(), CloseCode> {
    answers(link, payload).await.map(drop)
}

fn not_taken(victim: &Victim) -> u64 {
    let of = |reason| counted(&victim.node, "mosaik.discovery.entries.refused", reason);
    ["drift", "limits", "network", "protocol", "own", "signature"].into_iter().map(of).sum()
}

/// DISC-02: one flipped bit in any byte of an entry or of its signature, and it is not taken. Where
/// the bit makes it somebody else's affair (another network, …) it is ignored, else the link ends.
#[tokio::test(flavor = "multi_thread")]
async fn no_altered_entry_is_taken() {
    let victim = Victim::new().await;
    let network = *victim.node.network_id();
    let key = SecretKey::generate();
    let mut fields = Fields::nowhere(network, &key);
    fields.tags.insert("a".into());
    fields.streams.insert("b".into());
    fields.functions.insert("c".into());
    fields.groups.insert("d".into());
    let good = fields.signed(&key);
    let (mut ended, mut ignored) = (0, 0);
    let mut link = None;
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        let mut pair = match link.take() {
            Some(pair) => pair,
            None => Hostile::new(network).join(&victim.node).await,
        };
        let before = not_taken(&victim);
        match says(&mut pair, &item(&bad)).await {
            Ok(()) => {
                assert!(not_taken(&victim) > before, "byte {at} was ignored without a count");
                ignored += 1;
                link = Some(pair);
            }
            Err(code) => {
                assert_eq!(code, CloseCode::PROTOCOL_VIOLATION, "byte {at}");
                ended += 1;
            }
        }
        assert!(victim.node.discovery().catalog().get(&key.public()).is_none(), "byte {at}");
    }
    println!("of {} flipped bits {ended} ended the link, {ignored} were ignored", good.len());
    assert!(ended > 64 && ignored > 32);
    let mut link = Hostile::new(network).join(&victim.node).await;
    says(&mut link, &item(&good)).await.expect("nothing is wrong with it");
    assert!(victim.node.discovery().catalog().get(&key.public()).is_some());
    victim.was_undisturbed().await;
}

/// DISC-02, DISC-04, DISC-05: who speaks for others is put out; what is not for us is ignored.
#[tokio::test(flavor = "multi_thread")]
async fn forged_future_foreign_and_oversized_entries_are_not_taken() {
    let victim = Victim::new().await;
    let network = *victim.node.network_id();
    let mallory = SecretKey::generate();
    let fresh = || Fields::honest(network, &mallory);
    let later = PeerEntryVersion { incarnation: u64::MAX, counter: 7 };
    let forged = |of: PeerId| {
        let mut fields = fresh();
        (fields.id, fields.version) = (of, later);
        item(&fields.signed(&mallory))
    };
    let changed = |change: &dyn Fn(&mut Fields)| {
        let mut fields = fresh();
        change(&mut fields);
        item(&fields.signed(&mallory))
    };
    let many = |of: u64| (0..1_024).map(move |n| UniqueId::from_u64(of * 10_000 + n));
    let end = |wall: UnixMillis, signer: &SecretKey| {
        let (peer, version) = (mallory.public(), later);
        let message = wire::encode(&(network, peer, version, wall));
        let signature = signer.sign("mosaik v1 peer departure", &message);
        [&[1][..], &wire::encode(&(network, peer, version, wall, signature))].concat()
    };
    let future = UnixMillis(wall().0 + 60_000);
    let violation = Err(CloseCode::PROTOCOL_VIOLATION);
    let cases = [
        ("for an honest peer", forged(victim.honest.local().id()), violation, "signature"),
        ("for the node itself", forged(victim.node.local().id()), violation, "signature"),
        ("of somebody unknown", forged(SecretKey::generate().public()), violation, "signature"),
        ("from the future", changed(&|f| f.wall = future), Ok(()), "drift"),
        ("of another network", changed(&|f| f.network = NetworkId::random()), Ok(()), "network"),
        ("of another protocol", changed(&|f| f.protocol += 1), Ok(()), "protocol"),
        (
            "with too many tags",
            changed(&|f| f.tags.extend((0..1_025).map(UniqueId::from_u64))),
            Ok(()),
            "limits",
        ),
        (
            "with too many bytes",
            changed(&|f| {
                f.streams.extend(many(1));
                f.functions.extend(many(2));
                f.groups.extend(many(3));
            }),
            Ok(()),
            "limits",
        ),
        ("that is no entry", item(&signed(&[7; 100], &mallory)), violation, ""),
        ("that ends in the middle", item(&fresh().signed(&mallory))[..60].to_vec(), violation, ""),
        ("a forged farewell", end(wall(), &SecretKey::generate()), violation, "signature"),
        ("a farewell from the future", end(future, &mallory), Ok(()), "drift"),
    ];
    let name = "mosaik.discovery.entries.refused";
    for (what, payload, expected, reason) in cases {
        let mut link = Hostile::new(network).join(&victim.node).await;
        let before = if reason.is_empty() { 0 } else { counted(&victim.node, name, reason) };
        assert_eq!(says(&mut link, &payload).await, expected, "{what}");
        if !reason.is_empty() {
            assert!(counted(&victim.node, name, reason) > before, "{what}");
        }
        assert!(victim.node.discovery().catalog().get(&mallory.public()).is_none(), "{what}");
    }
    let honest = victim.node.discovery().catalog();
    let honest = honest.get(&victim.honest.local().id()).expect("known").update_version();
    assert!(honest < later && victim.node.discovery().me().update_version() < later);
    victim.was_undisturbed().await;
}

/// DISC-01, DISC-21: what was true once is answered with what is true now, and revives nobody.
#[tokio::test(flavor = "multi_thread")]
async fn replays_change_nothing() -> anyhow::Result<()> {
    let victim = Victim::new().await;
    let network = *victim.node.network_id();
    let id = victim.honest.local().id();
    let known = || victim.node.discovery().catalog().get_signed(&id).expect("known").clone();
    let old = known();
    victim.honest.discovery().add_tags("newer")?;
    eventually(|| known().update_version() > old.update_version()).await;

    let mut link = Hostile::new(network).join(&victim.node).await;
    let replay = item(&wire::encode(&old));
    let told = answers(&mut link, &replay).await.expect("no violation");
    let newer = item(&wire::encode(&known()));
    assert!(told.iter().any(|frame| frame.kind == ITEMS && frame.payload == newer));
    assert!(known().tags().contains(&"newer".into()));

    // A farewell, recorded, and played again when its sender is back with the same key.
    let key = SecretKey::generate();
    let start = || {
        let builder = Network::builder(network).with_discovery(shy()).with_secret_key(key.clone());
        soon(builder.build())
    };
    let first = start().await?;
    soon(first.discovery().sync_with(victim.node.local().addr())).await?;
    soon(first.shutdown()).await;
    let farewell = loop {
        let frame = link.1.next().await.expect("news");
        if frame.kind == ITEMS && frame.payload.first() == Some(&1) {
            break frame.payload;
        }
    };
    let second = start().await?;
    soon(second.discovery().sync_with(victim.node.local().addr())).await?;
    let there = || victim.node.discovery().catalog().get(&key.public()).is_some();
    assert!(there());
    says(&mut link, &farewell).await.expect("no violation");
    assert!(there(), "an old farewell ends nothing new");
    victim.was_undisturbed().await;
    Ok(())
}

/// Processor time of this process so far.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks = |n| after.split(' ').nth(n).and_then(|f| f.parse().ok()).unwrap_or(0u64);
    Duration::from_millis((ticks(12) + ticks(13)) * 10)
}

/// LINK-17, DISC-06, DISC-38: ten thousand peers that one hostile link invents, half of them
/// producers of a stream that is wanted here. They are taken, because nothing is wrong with them;
/// they cost a bounded number of dials; who dies meanwhile is noticed as ever.
#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_invented_peers() -> anyhow::Result<()> {
    let victim = Victim::new().await;
    let network = *victim.node.network_id();
    let stream = StreamId::from("wanted");
    let mut consumer = victim.node.streams().consumer::<Data2>().with_stream_id(stream).build();
    let mut known = Hostile::new(network);
    known.fields.tags.insert("known before".into());
    let (known_raw, _known_control) = known.join(&victim.node).await;
    let there = |id: PeerId| victim.node.discovery().catalog().get(&id).is_some();
    eventually(|| there(known.id())).await;

    let dials = || counted(&victim.node, "mosaik.links.dials", "");
    let (before, dialled, start, worked) = (memory(), dials(), Instant::now(), cpu());
    let mut link = Hostile::new(network).join(&victim.node).await;
    let count = 10_000;
    for chunk in 0..count / 100 {
        let mut payload = Vec::new();
        for n in 0..100 {
            let key = SecretKey::generate();
            let mut fields = Fields::nowhere(network, &key);
            if n % 2 == 0 {
                fields.streams.insert(stream);
            }
            payload.extend(item(&fields.signed(&key)));
        }
        if chunk % 10 == 9 {
            says(&mut link, &payload).await.expect("nothing is wrong with them");
        } else {
            link.1.frame(ITEMS, &payload).await;
        }
    }
    eventually(|| victim.node.discovery().catalog().signed_peers_count() >= count).await;
    let (taken, worked) = (start.elapsed(), cpu() - worked);
    println!("{count} invented peers taken in {taken:?}, {worked:?} of processor on both sides");

    // A peer that we had a link with dies without a word, and is gone as soon as ever.
    let died = Instant::now();
    known_raw.link.close(CloseCode::UNEXPECTED);
    let id = known.id();
    drop(known);
    let gone = eventually_within(Duration::from_secs(14), || !there(id)).await;
    println!("a death was noticed {gone:?} after it, {:?} after the flood", died - start);

    // A real producer of that stream is found among the invented ones: it dials, or is named.
    let real = node(network, shy()).await;
    let producer = real.streams().producer::<Data2>().with_stream_id(stream).build()?;
    soon(real.discovery().sync_with(victim.node.local().addr())).await?;
    soon(producer.send(Data2(1))).await?;
    assert_eq!(soon(consumer.next()).await, Some(Data2(1)));

    let (dialled, elapsed) = (dials() - dialled, start.elapsed());
    println!("{dialled} dials of two nodes within {elapsed:?}");
    report("invented peers", before);
    // At most so many at a time, at both nodes, and each takes its five seconds.
    let rounds = elapsed.as_secs() / 5 + 2;
    assert!(dialled <= 2 * rounds * limits::DIALS as u64);
    assert!(memory() - before < 200 * 1024 * 1024);
    victim.was_undisturbed().await;
    Ok(())
}
