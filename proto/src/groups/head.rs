//! What this core puts in front of a snapshot: what it covers, and the sessions.
//!
//! ```text
//! +--------------+----------------------+----------+---- - -
//! | length (u32, | what it covers       | sessions | the machine's own bytes
//! | big-endian)  | (raft::Snapshot)     |          |
//! +--------------+----------------------+----------+---- - -
//!  of all three
//! ```
//!
//! What it covers is repeated here so that the digest speaks for it too (GRP-42).

use alloc::vec::Vec;

use bytes::Bytes;

use crate::{limits, raft::Snapshot, wire};

/// Bytes of the length.
const PREFIX: usize = 4;

/// The length of this core's part of a snapshot that begins like this, or `None` if that cannot be:
/// then these are not the bytes of a snapshot. What the machine wrote is behind it.
#[must_use]
pub fn head_length(begin: &[u8]) -> Option<usize> {
    let prefix = begin.first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_be_bytes(*prefix)).ok()?;
    (PREFIX..=limits::SNAPSHOT_HEAD_BYTES).contains(&length).then_some(length)
}

/// The head of a snapshot; `None` if the sessions do not fit.
pub(super) fn encode(snapshot: &Snapshot, sessions: &[u8]) -> Option<Bytes> {
    let mut head = Vec::from([0; PREFIX]);
    wire::encode_into(snapshot, &mut head);
    head.extend_from_slice(sessions);
    let length = u32::try_from(head.len()).ok()?;
    head[..PREFIX].copy_from_slice(&length.to_be_bytes());
    (head.len() <= limits::SNAPSHOT_HEAD_BYTES).then(|| head.into())
}

/// What a head says, if it is whole: what the snapshot covers, and the sessions.
pub(super) fn decode(head: &Bytes) -> Option<(Snapshot, Bytes)> {
    if head_length(head)? != head.len() {
        return None;
    }
    let (snapshot, sessions) = wire::decode_first::<Snapshot>(&head[PREFIX..]).ok()?;
    let from = head.len() - sessions.len();
    snapshot.membership.is_sound().then(|| (snapshot, head.slice(from..)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ids::PeerId,
        raft::{Lineage, LogIndex, Position, Seat, SeatId, Term, sole},
    };

    fn snapshot() -> Snapshot {
        let seat = Seat { peer: PeerId::from_bytes([1; 32]), id: SeatId([2; 16]) };
        Snapshot {
            lineage: Lineage([3; 16]),
            last: Position { term: Term(4), index: LogIndex(500) },
            membership: sole(seat),
            commands: 490,
        }
    }

    #[test]
    fn a_head_says_what_it_covers_and_where_it_ends() {
        let head = encode(&snapshot(), b"sessions").unwrap();
        assert_eq!(head_length(&head), Some(head.len()));
        let mut all = head.to_vec();
        all.extend_from_slice(b"the machine");
        let length = head_length(&all).unwrap();
        assert_eq!(&all[length..], b"the machine");
        let (covered, sessions) = decode(&Bytes::from(all).slice(..length)).unwrap();
        assert_eq!((covered, &sessions[..]), (snapshot(), &b"sessions"[..]));
    }

    #[test]
    fn what_is_no_head_is_refused() {
        let head = encode(&snapshot(), b"").unwrap();
        assert_eq!(decode(&head.slice(..head.len() - 1)), None);
        assert_eq!(head_length(&[0, 0, 0]), None);
        assert_eq!(head_length(&[0, 0, 0, 3]), None, "shorter than its own length");
        assert_eq!(head_length(&[255; 4]), None, "longer than any");
        let mut broken = head.to_vec();
        broken[4..].fill(0xff);
        assert_eq!(decode(&broken.into()), None);
    }
}
