//! Ids and what programs do with them: parsing, showing, storing, inferring.

mod common;

use std::{collections::BTreeSet, str::FromStr};

use common::node;
use mosaik::{
    discovery::{EndpointAddr, PeerEntry},
    primitives::{
        Abbreviated, FmtIter, Pretty, PrettyFmtExt as _, Redacted, RedactedFmtExt as _, Short,
        ShortFmt, ShortFmtExt as _,
    },
    *,
};

const HEX: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn text_becomes_an_id() {
    let known = UniqueId::hash(b"my-app");
    assert_eq!(UniqueId::from("my-app"), known);
    assert_eq!("my-app".parse::<UniqueId>().expect("infallible"), known);
    assert_eq!(Digest::from_str("my-app").expect("infallible"), known);
    assert_eq!(UniqueId::from(&b"my-app"[..]), known);

    // 64 digits of either case are the id itself; everything else is hashed.
    assert_eq!(UniqueId::from(HEX).to_string(), HEX);
    assert_eq!(UniqueId::from(HEX.to_uppercase().as_str()).to_string(), HEX);
    assert_eq!(UniqueId::from(HEX.as_bytes()).to_string(), HEX);
    assert_eq!(UniqueId::from(&HEX[1..]), UniqueId::hash(&HEX.as_bytes()[1..]));
    assert_eq!(
        UniqueId::from(&*HEX.replace('a', "g")),
        UniqueId::hash(HEX.replace('a', "g").as_bytes())
    );
    let raw = [7; 32];
    assert_eq!(UniqueId::from(&raw[..]), UniqueId::hash(&raw), "raw bytes are hashed");
    assert_eq!(UniqueId::from_bytes(raw).as_bytes(), &raw);
    assert_ne!(UniqueId::from(""), UniqueId::zero());
}

#[test]
fn blake3_is_the_hash() {
    // The test vector of the BLAKE3 specification for the empty input.
    assert_eq!(
        UniqueId::from("").to_string(),
        "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"
    );
}

const TICKS: StreamId = unique_id!("ticks");
const SHORT: Digest = id!("ticks");
const VERBATIM: UniqueId = id!("00112233445566778899AABBCCDDEEFF00112233445566778899aabbccddeeff");

#[test]
fn macros_follow_the_same_rule() {
    assert_eq!(TICKS, StreamId::from("ticks"));
    assert_eq!(SHORT, TICKS);
    assert_eq!(VERBATIM, UniqueId::from(HEX));
    assert_eq!(mosaik::unique_id!(""), UniqueId::from(""));
}

#[test]
fn numbers_are_stored_not_hashed() {
    assert_eq!(UniqueId::from_u8(2).as_bytes()[31], 2);
    assert_eq!(UniqueId::from_u8(2).as_bytes()[..31], [0; 31]);
    assert_eq!(UniqueId::from_u16(0x0102).as_bytes()[30..], [2, 1]);
    assert_eq!(UniqueId::from_u32(5).as_bytes()[28..], [5, 0, 0, 0]);
    assert_eq!(UniqueId::from_u64(5).as_bytes()[24], 5);
    assert_eq!(UniqueId::from_u128(5).as_bytes()[16], 5);
    assert_eq!(UniqueId::from_i8(-1).as_bytes()[31], 255);
    assert_eq!(UniqueId::from_i64(-1).as_bytes()[24..], [255; 8]);
    assert_eq!(UniqueId::from_usize(1), UniqueId::from_isize(1));
    assert_ne!(UniqueId::from_u8(5), UniqueId::from_u16(5));
    const IN_CONST: UniqueId = UniqueId::from_u64(9);
    assert_eq!(IN_CONST, UniqueId::from_u64(9));
}

#[test]
fn ids_are_derived() {
    let id = UniqueId::from("a");
    assert_eq!(id.derive("b"), UniqueId::from_parts(&[&id.as_bytes()[..], b"b"]));
    assert_eq!(id.derive(id).to_string().len(), 64);
    assert_eq!(UniqueId::from_parts(&["ab", "c"]), UniqueId::from("abc"));
    assert_eq!(id.hashed(), UniqueId::hash(id.as_bytes()));
    assert_eq!(id.len(), 32);
    assert_ne!(NetworkId::random(), NetworkId::random());
    assert_ne!(StoreId::random(), StoreId::zero());
    let bytes: [u8; 32] = id.into();
    assert_eq!(&bytes, id.as_bytes());
    let key: SecretKey = id.into();
    assert_eq!(key.to_bytes(), bytes, "a digest is the seed of a key");
    let ids: BTreeSet<_> = [UniqueId::from_u8(2), UniqueId::from_u8(1)].into();
    assert_eq!(ids.first(), Some(&UniqueId::from_u8(1)), "ordered by bytes");
}

#[test]
fn ids_are_shown() {
    let id = UniqueId::from(HEX);
    assert_eq!(format!("{id}"), HEX);
    assert_eq!(format!("{id:?}"), HEX);
    assert_eq!(Short(id).to_string(), "0011223344");
    assert_eq!(Short(&id).to_string(), "0011223344");
    assert_eq!(format!("{:?}", id.short()), "0011223344");
    assert_eq!(Abbreviated::<4, _>(id).to_string(), "0011..eeff");
    assert_eq!(Redacted(id).to_string(), "<redacted>");
    assert_eq!(id.redacted().to_string(), "<redacted>");
    let list = [id, id];
    assert_eq!(FmtIter::<ShortFmt, _>::new(&list).to_string(), "[0011223344, 0011223344]");

    let peer = PeerId::from_bytes(*id.as_bytes());
    assert_eq!(peer.to_string(), HEX);
    assert_eq!(Short(peer).to_string(), "0011223344");
    assert_eq!(Short(&peer).to_string(), "0011223344");
}

#[test]
fn ids_are_stored() {
    let id = UniqueId::from(HEX);
    let json = serde_json::to_string(&id).expect("JSON");
    assert_eq!(json, format!("{HEX:?}"));
    assert_eq!(serde_json::from_str::<UniqueId>(&json).expect("JSON"), id);
    assert!(serde_json::from_str::<UniqueId>(r#""my-app""#).is_err(), "stored ids are not names");
    let bytes = postcard::to_stdvec(&id).expect("postcard");
    assert_eq!(bytes, id.as_bytes(), "32 bytes without a length");
    assert_eq!(postcard::from_bytes::<UniqueId>(&bytes).expect("postcard"), id);

    let peer = PeerId::from_bytes([9; 32]);
    let json = serde_json::to_string(&peer).expect("JSON");
    assert_eq!(json, format!("\"{peer}\""));
    assert_eq!(serde_json::from_str::<PeerId>(&json).expect("JSON"), peer);
    assert_eq!(postcard::to_stdvec(&peer).expect("postcard"), peer.as_bytes());
}

#[test]
fn peers_are_parsed() {
    let peer = SecretKey::generate().public();
    assert_eq!(peer.to_string().parse(), Ok(peer));
    assert_eq!(format!("{}q", "7".repeat(51)).parse(), Ok(PeerId::from_bytes([255; 32])), "base32");
    for bad in ["", "xyz", &HEX[1..], &format!("{HEX}0"), &"g".repeat(64)] {
        assert!(bad.parse::<PeerId>().is_err(), "{bad:?}");
    }

    let addr: EndpointAddr = peer.into();
    assert_eq!(addr.to_string(), peer.to_string());
    for text in
        [format!("{peer}"), format!("{peer}@127.0.0.1:9"), format!("{peer}@1.2.3.4:5,[::1]:6")]
    {
        let addr: EndpointAddr = text.parse().expect("an address");
        assert_eq!((addr.id, addr.to_string()), (peer, text));
    }
    for bad in [format!("{peer}@"), format!("{peer}@host"), "@1.2.3.4:5".into()] {
        assert!(bad.parse::<EndpointAddr>().is_err(), "{bad:?}");
    }
}

/// What only compiles if nothing is ambiguous.
#[tokio::test]
async fn inference() {
    let config = discovery::Config::builder()
        .with_tags("a")
        .with_tags(["b", "c"])
        .with_tags(vec![Tag::from("d")])
        .with_tags(id!("e"));
    let network = node(NetworkId::random(), config).await;
    let entry: PeerEntry = network.discovery().me().into();
    for tag in ["a", "b", "c", "d", "e"] {
        assert!(entry.tags().contains(&tag.into()), "additive across calls: {tag}");
    }
    assert_eq!(entry.tags().len(), 5);
    assert!(!entry.tags().contains(&"tag".into()));
    assert!(!entry.functions().contains(&"f".into()));
    assert!(entry.functions().is_empty());

    const CONST: StreamId = unique_id!("inference");
    let producer = network.streams().producer::<u32>().with_stream_id("inference").build().unwrap();
    assert_eq!(producer.stream_id(), unique_id!("inference"));
    assert_eq!(producer.stream_id(), &CONST);
    assert_eq!(CONST, *producer.stream_id());
    let consumer = network.streams().consumer::<u32>().with_stream_id(CONST).build();
    assert_eq!(producer.stream_id(), consumer.stream_id());

    let first = producer.when().subscribed().minimum_of(2).with_tags("a").with_tags(["a", "b"]);
    let second = producer.when().subscribed().with_tags(id!("a")).with_tags(vec!["a", "b"]);
    assert!(!first.is_condition_met() && !second.is_condition_met());
    let set: BTreeSet<Tag> = ["x".into(), "y".into()].into();
    network.discovery().add_tags("x").unwrap();
    network.discovery().add_tags(set).unwrap();
    network.discovery().remove_tags(["x", "y"]).unwrap();
    assert_eq!(network.discovery().me().tags().len(), 5);
}

#[tokio::test]
async fn entries_are_shown() {
    let network = Network::new("shown").await.expect("a node");
    let me = network.discovery().me();
    let short = Short(network.local().id()).to_string();
    assert!(Short(&me).to_string().starts_with(&short), "{}", Short(&me));
    let entry: &PeerEntry = &me;
    assert!(Short(entry).to_string().starts_with(&short));
    assert!(Pretty(entry).to_string().contains(&network.local().id().to_string()));
    assert!(entry.pretty().to_string().contains(&network.network_id().to_string()));
    assert_eq!(network.network_id().to_string(), NetworkId::from("shown").to_string());
    assert!(format!("{network:?} {:?} {}", network.local(), network.local()).contains(&short));
}
