//! Where the fuzzer begins: for each target a few inputs that reach its deeper states.

use mosaik_proto::streams::item;

use super::{input::Input, peers::peer, recipe};

/// The seeds of a target, by its name.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    match target {
        "wire" => wire(),
        "hello" => vec![
            // A peer dials, says hello and ready.
            vec![0x00, 0x0a, 0, 2, 0, 1, 1, 0, 0, 0x0a, 0, 1, 0],
            // We want a peer, dial it and hear its hello.
            vec![0x13, 0, 0x12, 0x0a, 0, 2, 0, 0, 0, 0, 0],
            // Both dial; a newer hello takes the place of an older one.
            vec![0x23, 0, 0x22, 0x20, 0x0a, 0, 2, 0, 5, 0, 0, 9, 0x20, 0x0a, 0, 2, 0, 6, 2, 0, 9],
            // Altered, of another network, of another version, cut off, late.
            vec![0, 0x0a, 0, 2, 0xff, 0, 0, 0, 0, 0, 0x0a, 0, 2, 0xfe, 0, 0, 0, 0, 0x00, 0x0a, 0],
            vec![0, 0x0a, 0, 2, 0, 0, 0, 0xe0, 0, 99, 1, 3, 0x10, 0x09, 0xff, 0xff, 7, 0, 3, 1, 2],
        ],
        "entries" => vec![
            // Entries of all, lists, probes, suspicions, and the answers to the node's own sync.
            vec![0, 2, 4, 0, 0, 0, 1, 1, 0, 2, 2, 0, 3, 3, 0, 0, 9, 10, 0, 2, 1, 5, 7, 0, 0],
            vec![0, 0, 5, 0, 0, 1, 0x7f, 0, 0, 1, 1, 2, 2, 0, 3, 0, 0, 10, 0x80, 3, 1, 0, 0],
            vec![12, 0, 0, 1, 1, 3, 1, 2, 3, 0, 0, 0, 4, 1, 0, 0, 0x8a, 14, 9, 9],
            vec![0, 6, 0, 7, 0, 5, 3, 0, 0, 0, 0, 5, 5, 1, 0, 0, 13, 7, 2, 1, 15, 0xf1, 0xff, 0],
        ],
        "stream_frames" => vec![
            // Subscribe, credit, offers, drained.
            vec![0, 0, 1, 1, 0, 64, 64, 64, 64, 0, 0, 0, 7, 0, 20, 0, 9, 6, 0, 7, 0, 9, 0, 9],
            vec![0, 0, 1, 1, 1, 8, 8, 4, 4, 0, 0, 0, 0, 7, 0, 200, 0, 3, 0, 0, 2, 99, 99, 0, 0, 5],
            // Accept, then items; the application takes them.
            vec![0x80, 0, 3, 0xc0, 1, 0, 0, 0, 0, 0x80, 0, 4, 0, 9, 5, 0, 0, 0, 0, 9, 0, 0],
            vec![0x80, 0, 3, 0xc0, 7, 7, 0, 0, 0, 0x80, 0, 5, 0, 19, 50, 0, 0, 0, 7, 8, 0, 0, 8, 0],
            // Producers that come and go, with new numbering.
            vec![0, 0, 1, 1, 0, 9, 9, 9, 9, 0, 0, 0, 12, 0, 2, 10, 0, 14, 0, 9, 9, 7, 0, 5, 0, 5],
        ],
        "group_frames" => vec![
            // Both bond; time passes, the node founds or follows; commands, reads.
            vec![0, 0, 0, 0, 1, 0, 0, 0, 11, 0, 1, 1, 1, 1, 0, 0, 0, 0x1f, 0x1f, 21, 3, 9, 23, 19],
            // A leader of the node's lineage, its entries, a vote, a snapshot.
            vec![0, 1, 1, 1, 7, 0, 0, 0, 0, 0x1f, 0, 0, 0, 5, 1, 0, 0, 1, 1, 1, 2, 1, 3, 9, 0, 0],
            vec![0, 2, 1, 1, 3, 0, 0, 0, 0, 10, 0, 0, 1, 0, 14, 1, 1, 1, 1, 1, 0, 9, 9, 24, 0x1f],
            vec![
                0xc2, 1, 1, 1, 15, 2, 0, 0, 0, 13, 12, 0x8c, 13, 0x8d, 8, 0, 1, 1, 1, 31, 31, 0, 27,
            ],
        ],
        "node" => vec![
            vec![3, 0, 4, 0, 1, 0, 0, 1, 0, 17, 9, 18, 0, 5, 0, 0, 0, 28, 9, 9, 20, 5, 0, 5],
            vec![18, 3, 0, 4, 0, 1, 0, 0, 1, 0, 4, 2, 6, 3, 0xc0, 1, 0, 0, 0, 4, 2, 6, 4, 0, 9, 5],
            vec![25, 3, 0, 0, 0, 0, 1, 0, 3, 28, 4, 4, 27, 5, 1, 27, 9, 0, 31, 0, 28, 9, 9],
            vec![17, 4, 3, 2, 4, 0, 2, 0, 0, 0, 0, 6, 0, 1, 6, 1, 6, 0, 1, 0, 64, 64, 64, 64, 0, 0],
        ],
        _ => Vec::new(),
    }
}

/// Real frames, behind the table and the cuts.
fn wire() -> Vec<Vec<u8>> {
    let hello = recipe::hello(&mut Input::new(&[0, 3, 2]), 0);
    let entry = mosaik_proto::wire::encode(&peer(1).entries[2]).to_vec();
    let tombstone = mosaik_proto::wire::encode(&peer(1).tombstones[0]).to_vec();
    let list = recipe::discovery(
        &mut Input::new(&[0, 5, 0, 0, 1, 0x7f, 0, 0, 1, 1, 2, 2]),
        recipe::Heard::default(),
    );
    let items = recipe::batch(3, 40);
    let long = [&item::long(3)[..], &[7; 3]].concat();
    [hello, entry, tombstone, list, items, long]
        .into_iter()
        .zip([2, 2, 2, 0, 1, 1])
        .map(|(bytes, table)| [&[table, 0, 30, 3, 200][..], &bytes].concat())
        .collect()
}
