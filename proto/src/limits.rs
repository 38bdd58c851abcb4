//! Every bound, with its unit and its reason. A queue whose limit is not here is a defect.

use core::time::Duration;

// --- node -------------------------------------------------------------------------------------

/// Internal events that one step may pass between siblings before we call it a loop.
pub const HOPS: usize = 100_000;
/// Requests of the application that may wait for their reply at once.
pub const REQUESTS: usize = 4_096;

// --- links ------------------------------------------------------------------------------------

/// Admitted links of one node. A link costs tens of KiB in the transport.
pub const LINKS: usize = 1_024;
/// The most admitted links that an operator may allow.
pub const LINKS_MOST: usize = 65_536;
/// Links that are not admitted yet. Bounds what strangers can make us hold, at about 256 KiB each.
/// One source can have half of them: enough for a few hundred processes of one host that start at
/// once.
pub const HANDSHAKES: usize = 512;
/// The most of them that an operator may allow.
pub const HANDSHAKES_MOST: usize = 4_096;
/// Time for the handshake of the transport, and again from there to admission.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// The shortest such time that an operator may set: a round trip around the earth must fit.
pub const HANDSHAKE_TIMEOUT_LEAST: Duration = Duration::from_millis(100);
/// The longest one.
pub const HANDSHAKE_TIMEOUT_MOST: Duration = Duration::from_secs(60);
/// Payload of a hello: an entry, and what stands before it.
pub const HELLO_BYTES: u32 = ENTRY_BYTES as u32 + 256;
/// The lowest limit on it that an operator may set: an entry with some addresses and streams.
pub const HELLO_BYTES_LEAST: u64 = 1_024;
/// Channels that one peer may have open with us.
pub const CHANNELS_PER_LINK: usize = 1_024;
/// Channels of one peer whose first byte has not arrived.
pub const UNNAMED_CHANNELS_PER_LINK: usize = 64;
/// Bytes handed to a channel and not yet drained by the transport. A core never exceeds it by more
/// than one frame. Enough for the transport not to run dry until the core's next turn (0006-hot-path).
pub const CHANNEL_DEBT: u64 = 256 * 1024;
/// Bytes of grants on one stream channel that the transport has not taken. Twice what a driver may
/// keep to itself before it reports `Drained`, or a grant could wait for ever.
pub const CREDIT_DEBT: u64 = 2 * DRAIN_REPORT;
/// Bytes that a driver may have drained from a channel without reporting them.
pub const DRAIN_REPORT: u64 = 32 * 1024;
/// First wait before a peer is dialled again; doubles up to [`REDIAL_MAX`].
pub const REDIAL_MIN: Duration = Duration::from_millis(250);
/// Longest wait between dials while somebody wants the peer.
pub const REDIAL_MAX: Duration = Duration::from_secs(5);
/// Addresses tried for one peer.
pub const ADDRS_PER_PEER: usize = 16;
/// Peers with a dial in progress. Others wait their turn.
pub const DIALS: usize = 128;
/// Dials in progress to peers that we know from hearsay alone: invented ones must not keep us from
/// coming back to those whom we know.
pub const STRANGER_DIALS: usize = 96;
/// Peers whose link was lost and that are therefore dialled before strangers.
pub const LOST_PEERS: usize = LINKS;

// --- discovery --------------------------------------------------------------------------------

/// A signed entry with everything in it. A TDX quote is 5–8 kB, so several fit.
pub const ENTRY_BYTES: usize = 64 * 1024;
/// Tags, streams, functions and groups that one entry lists, each.
pub const ENTRY_LIST: usize = 1_024;
/// Tickets in one entry.
pub const ENTRY_TICKETS: usize = 64;
/// Peers in the catalog, tombstones included.
pub const CATALOG_PEERS: usize = 16_384;
/// Unsigned entries that the application inserted.
pub const UNSIGNED_PEERS: usize = 4_096;
/// A tombstone outlives every copy of the entry that it ends.
pub const TOMBSTONE_LIFE: Duration = Duration::from_secs(24 * 3600);
/// An entry whose wall time is further ahead of ours than this is refused, on every path.
pub const DRIFT_MAX: Duration = Duration::from_secs(50);
/// Payload of one control frame that carries catalog items or their versions.
pub const SYNC_FRAME_BYTES: u32 = 128 * 1024;
/// Peers to whom a node keeps a link only because it knows them: everybody up to this number.
pub const FULL_MESH_PEERS: usize = 32;
/// Links to random peers (besides the neighbours on the ring) beyond [`FULL_MESH_PEERS`].
pub const RANDOM_LINKS: usize = 6;
/// How long a peer that cannot be reached any more stays in the catalog.
pub const SILENCE_MAX: Duration = Duration::from_secs(4);
/// Shortest first wait before a peer that was given up is dialled again: a second for each peer that
/// is known, from here up to [`REVIVE_MANY`]; doubles up to [`REVIVE_MAX`].
pub const REVIVE_MIN: Duration = Duration::from_secs(5);
/// Longest first wait: in a large network the deaths of an hour must not cost much.
pub const REVIVE_MANY: Duration = Duration::from_secs(60);
/// Longest wait between dials to a peer that was given up.
pub const REVIVE_MAX: Duration = Duration::from_secs(600);
/// Suspicions of others that a node checks per second, by dialling the suspect itself.
pub const CHECKS_PER_SECOND: u32 = 64;
/// A peer is not checked again on hearsay, whatever its outcome, for this long.
pub const CHECK_MEMORY: Duration = Duration::from_secs(10);
/// Wait between dials to peers given up while most links were lost at once: it was probably us.
pub const REVIVE_STORM: Duration = Duration::from_secs(10);
/// Peers that were given up and are tried again at the same time.
pub const REVIVALS: usize = 32;
/// How long one attempt to revive a peer, or to reach one that an address book names, may take.
pub const ATTEMPT: Duration = Duration::from_secs(8);
/// Peers named by address books that are tried at once.
pub const HINTS: usize = 256;
/// Peers that the application asked to stay in touch with.
pub const DIALED_PEERS: usize = 4_096;
/// Catalog records that one link may make us walk per second by starting sync rounds.
pub const SYNC_WALK: u64 = 1024 * 1024;
/// Items new to us that one link may bring at once: two whole catalogs.
pub const NEWS_AT_ONCE: u64 = 2 * CATALOG_PEERS as u64;
/// Such items per second beyond that. Each costs a signature check, about 40 µs.
pub const NEWS_PER_SECOND: u64 = 4_096;
/// Answers that wait for one link's transport: beyond it the link asks faster than it reads.
pub const SYNC_MARKS: usize = 256;
/// Payload bytes at which a frame of catalog items or of versions is full enough to send.
pub const SYNC_BATCH: usize = 16 * 1024;
/// Catalog records from which on a sync that nobody waits for begins with a fingerprint.
pub const SYNC_PROBE: usize = 64;
/// Timers of discovery that one step serves; the others wait for the next step.
pub const TIMERS_PER_STEP: usize = 1_024;
/// Age at which a node that is still alone starts to look for its network by itself.
pub const LONELY_AFTER: Duration = Duration::from_secs(8);
/// Time for `sync_with`, from the call to its reply.
pub const SYNC_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that a shutdown gives to farewells before links are cut.
pub const FAREWELL: Duration = Duration::from_secs(1);

// --- streams ----------------------------------------------------------------------------------

/// One encoded item. Larger ones are refused at the sender.
pub const ITEM_BYTES: usize = 8 * 1024 * 1024;
/// Bytes at which the taker closes a batch. Small writes are slow (`datapath.md` §3, rule 4).
pub const BATCH_BYTES: u32 = 64 * 1024;
/// Items of one producer that wait in its lane, unless `with_buffer_size` says otherwise.
pub const BUFFER_ITEMS: usize = 8_192;
/// Bytes that wait in a producer's lane. One item may exceed it when the lane is empty. Enough for a
/// sender on another core not to stop while the loop comes round (0006-hot-path).
pub const LANE_BYTES: usize = 512 * 1024;
/// Items that a producer keeps: not yet sent to the slowest consumer, and the tail for resuming. By
/// whole batches, so up to one batch more.
pub const TAIL_ITEMS: u64 = 128 * 1024;
/// Bytes that a producer keeps, as above.
pub const TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// Items that a consumer lets each producer send ahead of what the application took.
pub const WINDOW_ITEMS: u64 = 32 * 1024;
/// Bytes that a consumer lets each producer send ahead. With half of it free, one larger item may.
pub const WINDOW_BYTES: u64 = 2 * 1024 * 1024;
/// Items that a consumer may let a producer send ahead. What is really under way is bounded by
/// [`CHANNEL_DEBT`]; this only keeps sums far from overflow.
pub const GRANT_ITEMS: u64 = 1 << 24;
/// Bytes that a consumer may let a producer send ahead, as above.
pub const GRANT_BYTES: u64 = 1 << 30;
/// A consumer that keeps its window full for longer than this is cut off (`STREAM_TOO_SLOW`).
pub const LAG_TIMEOUT: Duration = Duration::from_secs(5);
/// Shortest wait of a refused consumer, whatever its back-off says: it must not spin.
pub const RESUBSCRIBE_FLOOR: Duration = Duration::from_millis(1);
/// First wait of a refused consumer; doubles up to [`RESUBSCRIBE_MAX`].
pub const RESUBSCRIBE_MIN: Duration = Duration::from_millis(50);
/// Longest wait of a refused consumer.
pub const RESUBSCRIBE_MAX: Duration = Duration::from_secs(1);
/// Time from the opening of a stream channel to the producer's answer.
pub const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(5);
/// Producers that left, of whom a consumer remembers where they stopped.
pub const REMEMBERED_PRODUCERS: usize = 256;
/// Tickets whose end is remembered by the monotonic clock.
pub const LEASES: usize = 1_024;
/// Local producers and consumers, each.
pub const STREAMS: usize = 16_384;

// --- raft -------------------------------------------------------------------------------------

/// Voters in one set: what a peer may name.
pub const VOTERS: usize = 15;
/// Voters that a leader fills seats for, unless the group says otherwise.
pub const MAX_VOTERS: usize = 5;
/// Bytes of entries in one message to a follower; one larger entry goes alone.
pub const APPEND_BYTES: usize = 256 * 1024;
/// Bytes of entries under way to one follower.
pub const APPEND_WINDOW: usize = 4 * 1024 * 1024;
/// Messages with entries under way to one follower: what comes meanwhile shares the next.
pub const APPENDS_IN_FLIGHT: usize = 64;
/// How long a leader waits for an entry that tells a member of a commit, before it does so by itself.
pub const COMMIT_WORD: Duration = Duration::from_millis(1);
/// Bytes of entries that a leader keeps before it refuses more: a snapshot makes room.
pub const LOG_BYTES: u64 = 256 * 1024 * 1024;
/// Linearizable reads that wait at one member.
pub const READS: usize = 16 * 1024;

// --- snapshots --------------------------------------------------------------------------------

/// Bytes of entries behind the last snapshot at which the leader asks for another, unless the group
/// says otherwise.
pub const SNAPSHOT_AFTER_BYTES: u64 = 32 * 1024 * 1024;
/// So many times as much, or so many [`FETCH_WINDOW`]s, and the bytes of the snapshot while a member
/// fetches that: a new one would make it begin anew.
pub const SNAPSHOT_PATIENCE: u64 = 4;
/// Bytes of entries that a snapshot covers and that are kept nevertheless, for members that are only
/// a little behind, unless the group says otherwise.
pub const LOG_TAIL_BYTES: u64 = 4 * 1024 * 1024;
/// This core's part of a snapshot: the sessions.
pub const SNAPSHOT_HEAD_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of a snapshot that are asked for and not yet kept by the host. Fills a path of 1 Gbit/s and
/// 30 ms.
pub const FETCH_WINDOW: usize = 4 * 1024 * 1024;
/// Members from whom a snapshot is fetched at once.
pub const FETCH_SOURCES: usize = 8;
/// Silence after which a member is not asked for chunks any more. Any byte of it counts: no timeout
/// depends on the size of what is sent.
pub const FETCH_SILENCE: Duration = Duration::from_secs(5);
/// Chunks that one member may ask for before the first is on its way: its whole window.
pub const FETCH_ASKS: usize = FETCH_WINDOW / SNAPSHOT_CHUNK;
/// Chunks that are being read for others, of one group. Bounds what a slow disk makes us hold.
pub const CHUNK_READS: usize = 4;
/// Commands after which members compare what their machines hold.
pub const DIGEST_EVERY: u64 = 4_096;
/// Digests of one member's machine that wait for those of the others.
pub const DIGESTS: usize = 16;

// --- applying --------------------------------------------------------------------------------

/// Bytes of commands handed to the machine and not yet applied.
pub const APPLY_BYTES: usize = 4 * 1024 * 1024;
/// How long a machine applies commands before queries, and the other tasks of its thread, have their
/// turn. One command may take longer.
pub const APPLY_SLICE: Duration = Duration::from_millis(1);

// --- store ------------------------------------------------------------------------------------

/// A log segment on disk ends with the batch that reaches this many bytes.
pub const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
/// A segment's file grows in such steps, so that most syncs leave its length alone.
pub const SEGMENT_STEP: u64 = 64 * 1024;
/// Bytes that one sync covers; one larger write goes alone.
pub const STORE_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Tasks that wait for the store's thread.
pub const STORE_TASKS: usize = 16 * 1024;
/// Bytes of entries that wait for the store's thread; one larger write may wait alone.
pub const STORE_QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of a snapshot that are read, checked and sent as one.
pub const SNAPSHOT_CHUNK: usize = 256 * 1024;
/// Seats whose boot number is remembered; beyond it the one that was raised longest ago goes.
pub const REMEMBERED_BOOTS: usize = 1_024;
/// How long an idle store leaves its last mark to the operating system before it syncs it.
pub const STORE_SETTLE: Duration = Duration::from_millis(200);
/// How long a store waits for a directory that another one has: whose program was ended a moment ago.
pub const STORE_LOCK: Duration = Duration::from_secs(5);
/// How often it looks whether the directory is free.
pub const STORE_LOCK_RETRY: Duration = Duration::from_millis(50);
/// How long the end of a handle waits for a disk that does not answer.
pub const STORE_CLOSE: Duration = Duration::from_secs(5);

// --- groups -----------------------------------------------------------------------------------

/// Groups that one node takes part in.
pub const GROUPS: usize = 4_096;
/// Members of one group with whom a node is bonded, or tries to.
pub const BONDS: usize = 1_024;
/// Time for the handshake of a bond, and for the first frame of a channel.
pub const BOND_TIMEOUT: Duration = Duration::from_secs(2);
/// First wait before a bond that was refused or ended is tried again; doubles up to [`BOND_RETRY_MAX`].
pub const BOND_RETRY_MIN: Duration = Duration::from_millis(50);
/// Longest such wait. A bond that lived for as long begins with the first wait again.
pub const BOND_RETRY_MAX: Duration = Duration::from_secs(1);
/// Bytes handed to the channel of a bond and not yet drained: a window of entries, the largest command,
/// and room for heartbeats and votes. A member that does not take them is not bonded with any more.
pub const BOND_DEBT: u64 = APPEND_WINDOW as u64 + 2 * COMMAND_BYTES as u64;
/// Runs in one message to a follower: each counts as [`RUN_COST`] bytes besides its own.
pub const APPEND_RUNS: usize = APPEND_BYTES / RUN_COST + 1;
/// What a run costs besides its bytes, in messages and in memory.
pub const RUN_COST: usize = 64;
/// One encoded command. Larger ones are refused at the caller.
pub const COMMAND_BYTES: usize = 8 * 1024 * 1024;
/// Commands of one node in one group without an outcome.
pub const COMMANDS_IN_FLIGHT: u64 = 16 * 1024;
/// Their bytes, lengths included; one larger command may go alone.
pub const COMMANDS_BYTES: u64 = 16 * 1024 * 1024;
/// So long at most the next commands are left to gather, while they are fewer than those under way.
pub const COMMANDS_HOLD: Duration = Duration::from_millis(1);
/// Commands of one session whose places are remembered, and between the first without an outcome
/// and the last that was sent.
pub const SESSION_WINDOW: u64 = COMMANDS_IN_FLIGHT;
/// Stretches of such commands: beyond it the oldest places are forgotten, and a member that gets
/// over them by a snapshot cannot say how they ended.
pub const SESSION_RANGES: usize = 1_024;
/// Entries of the log after which a session that nobody uses is over.
pub const SESSION_IDLE: u64 = 4_000_000;
/// Sessions of one lineage; the one that was used longest ago goes.
pub const SESSIONS: usize = 4_096;
/// Sessions of one peer among them: it needs one for each of its lives that may still be spoken of.
pub const SESSIONS_PER_PEER: usize = 16;
/// How long a member waits before it asks a leader again that refused its commands.
pub const COMMAND_RETRY: Duration = Duration::from_millis(50);
/// Linearizable reads of one node in one group that wait.
pub const GROUP_READS: usize = 64 * 1024;
/// Bytes of writes that wait for a store which falls behind, besides those in its thread's queue:
/// with more the store counts as failed.
pub const STORE_BACKLOG_BYTES: usize = 64 * 1024 * 1024;
/// Events of a group that a slow reader of its notices may be behind.
pub const GROUP_NOTICES: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// A window that a tail cannot hold would make resuming without a gap impossible.
    #[test]
    fn the_tail_holds_a_window() {
        const { assert!(TAIL_ITEMS >= 2 * WINDOW_ITEMS && TAIL_BYTES >= 2 * WINDOW_BYTES) };
    }
}
