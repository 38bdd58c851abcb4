//! Frames, batches of items and everything that is decoded, from any bytes in any chunks.

use bytes::Bytes;
use mosaik_proto::{
    NetworkId, PeerId,
    discovery::{EndpointAddr, PeerEntryVersion, Tombstone, UnverifiedEntry, frames},
    streams::{Criteria, item},
    wire::{CloseCode, Frame, FrameError, FrameReader, HEADER_LEN, decode, encode},
};
use serde::{Serialize, de::DeserializeOwned};

use super::input::Input;

type Limit = fn(u8) -> Option<u32>;

/// A table of limits, the sizes of the chunks, then the bytes.
pub fn wire(data: &[u8]) {
    let mut input = Input::new(data);
    let limit: Limit = match input.below(3) {
        0 => frames::limit,
        1 => |kind| (kind < 4).then_some(1_000),
        _ => |kind| Some(u32::from(kind) << 16),
    };
    let cuts = [0; 4].map(|_: u8| usize::from(input.byte()) + 1);
    let bytes = input.rest();

    let whole = read(bytes, &[usize::MAX], limit);
    let cut = read(bytes, &cuts, limit);
    assert_eq!(whole, cut, "WIRE-02: how the bytes are cut makes no difference");
    for frame in &whole.0 {
        assert!(limit(frame.kind).is_some_and(|limit| frame.payload.len() <= limit as usize));
        values(&frame.payload);
    }
    values(bytes);
}

/// The frames, how reading ended, and what is held then.
fn read(mut bytes: &[u8], cuts: &[usize], limit: Limit) -> (Vec<Frame>, Option<FrameError>, usize) {
    let (mut frames, mut reader, mut fed) = (Vec::new(), FrameReader::new(), 0);
    let mut cuts = cuts.iter().cycle();
    while !bytes.is_empty() {
        let cut = cuts.next().map_or(1, |cut| bytes.len().min(*cut));
        let mut chunk = Bytes::copy_from_slice(&bytes[..cut]);
        (bytes, fed) = (&bytes[cut..], fed + cut);
        loop {
            match reader.read(&mut chunk, limit) {
                Ok(Some(frame)) => {
                    fed -= HEADER_LEN + frame.payload.len();
                    frames.push(frame);
                }
                Ok(None) => break,
                Err(error) => return (frames, Some(error), 0),
            }
        }
        assert!(chunk.is_empty(), "a chunk is used up");
        assert_eq!(reader.held(), fed, "what is held is what came");
    }
    (frames, None, reader.held())
}

fn values(bytes: &[u8]) {
    value::<PeerId>(bytes);
    value::<PeerEntryVersion>(bytes);
    value::<EndpointAddr>(bytes);
    value::<Tombstone>(bytes);
    value::<UnverifiedEntry>(bytes);
    value::<(u16, NetworkId, u64, UnverifiedEntry)>(bytes);
    value::<CloseCode>(bytes);
    value::<Criteria>(bytes);
    value::<(u64, Option<(u64, u64)>, u128)>(bytes);
    batch(bytes);
}

/// What can be decoded can be encoded, and then stays as it is.
fn value<T: Serialize + DeserializeOwned>(bytes: &[u8]) {
    let Ok(first) = decode::<T>(bytes) else { return };
    let encoded = encode(&first);
    let second = decode::<T>(&encoded).expect("an encoded value can be decoded");
    assert_eq!(encode(&second), encoded);
}

/// Two ways to read a batch agree.
fn batch(bytes: &[u8]) {
    let all: Result<Vec<Bytes>, _> = item::Items::new(Bytes::copy_from_slice(bytes))
        .take_while({
            let mut failed = false;
            move |item| !core::mem::replace(&mut failed, item.is_err())
        })
        .collect();
    let prefix = item::prefix(bytes, 0, u64::MAX, u64::MAX, usize::MAX);
    assert_eq!(all.is_ok(), prefix.is_ok());
    if let (Ok(all), Ok(prefix)) = (all, prefix) {
        assert_eq!(all.len(), prefix.items as usize);
        assert_eq!(prefix.end, bytes.len());
        assert_eq!(all.iter().map(|item| item.len() as u64).sum::<u64>(), prefix.payload);
    }
}
