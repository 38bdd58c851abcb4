//! A transport whose links can be cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    future::Future,
    net::SocketAddr,
    pin::pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use mosaik_proto::{
    PeerId,
    links::{DialError, DownReason, LinkLimits},
    wire::{CloseCode, Head},
};

use crate::{
    sync::cell::{Watched, lock},
    transport::{ChunkRead, ChunkWrite, Link, Refused, Transport},
};

/// All links of a bench, both ends of each. Clones are handles of the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Wires(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    cut: BTreeSet<(PeerId, PeerId)>,
    ends: BTreeMap<u64, Arc<End>>,
    last: u64,
}

/// One end of a link.
#[derive(Debug)]
struct End {
    local: PeerId,
    remote: PeerId,
    cut: Watched<bool>,
}

impl Wires {
    /// Breaks all links between two nodes and lets no new ones come up.
    pub(super) fn cut(&self, a: PeerId, b: PeerId) {
        let broken: Vec<_> = {
            let mut state = lock(&self.0);
            state.cut.extend([(a, b), (b, a)]);
            state.ends.values().filter(|end| end.is_of(a, b)).cloned().collect()
        };
        broken.iter().for_each(|end| end.cut.change(|cut| *cut = true));
    }

    /// Lets links come up again.
    pub(super) fn mend(&self, a: PeerId, b: PeerId) {
        lock(&self.0).cut.retain(|pair| *pair != (a, b) && *pair != (b, a));
    }

    /// The ends of links between two nodes that are up: two for each link.
    pub(super) fn ends(&self, a: PeerId, b: PeerId) -> usize {
        lock(&self.0).ends.values().filter(|end| end.is_of(a, b)).count()
    }

    fn is_cut(&self, a: PeerId, b: PeerId) -> bool {
        lock(&self.0).cut.contains(&(a, b))
    }

    /// Takes a new end, unless there is a cut.
    fn add(&self, local: PeerId, remote: PeerId) -> Option<Entry> {
        let mut state = lock(&self.0);
        if state.cut.contains(&(local, remote)) {
            return None;
        }
        state.last += 1;
        let end = Arc::new(End { local, remote, cut: Watched::new(false) });
        let number = state.last;
        state.ends.insert(number, Arc::clone(&end));
        Some(Entry { wires: self.clone(), number, end })
    }
}

impl End {
    fn is_of(&self, a: PeerId, b: PeerId) -> bool {
        (self.local, self.remote) == (a, b) || (self.local, self.remote) == (b, a)
    }
}

/// Keeps an end in the list while the link is up.
#[derive(Debug)]
struct Entry {
    wires: Wires,
    number: u64,
    end: Arc<End>,
}

impl Entry {
    fn forget(&self) {
        lock(&self.wires.0).ends.remove(&self.number);
    }

    /// Runs until the link is cut.
    async fn or_cut<T>(
        &self,
        what: impl Future<Output = Result<T, DownReason>>,
    ) -> Result<T, DownReason> {
        let cut = pin!(self.end.cut.until(|cut| cut.then_some(())));
        match select(cut, pin!(what)).await {
            Either::Left(_) => Err(DownReason::Lost),
            Either::Right((result, _)) => result,
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.forget();
    }
}

/// A transport on a [`Bench`](super::Bench).
pub struct BenchTransport<T> {
    inner: T,
    me: PeerId,
    wires: Wires,
}

impl<T: Transport> BenchTransport<T> {
    pub(super) const fn new(inner: T, me: PeerId, wires: Wires) -> Self {
        Self { inner, me, wires }
    }
}

impl<T> fmt::Debug for BenchTransport<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BenchTransport").field("me", &self.me).finish_non_exhaustive()
    }
}

impl<T: Transport> Transport for BenchTransport<T> {
    type Link = BenchLink<T::Link>;

    async fn dial(
        &self,
        peer: PeerId,
        addrs: Vec<SocketAddr>,
    ) -> Result<BenchLink<T::Link>, DialError> {
        if self.wires.is_cut(self.me, peer) {
            return Err(DialError::Timeout);
        }
        let inner = self.inner.dial(peer, addrs).await?;
        match self.wires.add(self.me, peer) {
            Some(entry) => Ok(BenchLink { inner, entry: Arc::new(entry) }),
            None => Err(DialError::Timeout),
        }
    }

    async fn accept(&self) -> Option<BenchLink<T::Link>> {
        loop {
            let inner = self.inner.accept().await?;
            if let Some(entry) = self.wires.add(self.me, inner.peer()) {
                return Some(BenchLink { inner, entry: Arc::new(entry) });
            }
        }
    }

    fn local_addrs(&self) -> BTreeSet<SocketAddr> {
        self.inner.local_addrs()
    }

    fn set_limits(&self, limits: LinkLimits) {
        self.inner.set_limits(limits);
    }

    fn on_refused(&self, told: Refused) {
        self.inner.on_refused(told);
    }

    fn close(&self, code: CloseCode) {
        self.inner.close(code);
    }

    async fn drained(&self) {
        self.inner.drained().await;
    }
}

/// A link that can be cut: then it is [lost](DownReason::Lost) at both ends.
#[derive(Clone, Debug)]
pub struct BenchLink<L> {
    inner: L,
    entry: Arc<Entry>,
}

impl<L: Link> BenchLink<L> {
    fn halves(
        &self,
        (read, write): (L::Read, L::Write),
    ) -> (BenchRead<L::Read>, BenchWrite<L::Write>) {
        let entry = || Arc::clone(&self.entry);
        (BenchRead { inner: read, entry: entry() }, BenchWrite { inner: write, entry: entry() })
    }
}

impl<L: Link> Link for BenchLink<L> {
    type Read = BenchRead<L::Read>;
    type Write = BenchWrite<L::Write>;

    fn peer(&self) -> PeerId {
        self.inner.peer()
    }

    fn binding(&self) -> [u8; 32] {
        self.inner.binding()
    }

    fn rtt(&self) -> Duration {
        self.inner.rtt()
    }

    fn admitted(&self) {
        self.inner.admitted();
    }

    async fn open(&self) -> Result<(Self::Read, Self::Write), DownReason> {
        Ok(self.halves(self.entry.or_cut(self.inner.open()).await?))
    }

    async fn accept(&self) -> Result<(Self::Read, Self::Write), DownReason> {
        Ok(self.halves(self.entry.or_cut(self.inner.accept()).await?))
    }

    fn close(&self, code: CloseCode) {
        self.entry.forget();
        self.inner.close(code);
    }

    async fn closed(&self) -> DownReason {
        let closed = async { Ok(self.inner.closed().await) };
        let reason = self.entry.or_cut(closed).await.unwrap_or_else(|reason| {
            // Nothing may be left of it below, where it is still up.
            self.inner.close(CloseCode::UNEXPECTED);
            reason
        });
        self.entry.forget();
        reason
    }
}

/// The receiving half of a channel of a [`BenchLink`].
#[derive(Debug)]
pub struct BenchRead<R> {
    inner: R,
    entry: Arc<Entry>,
}

impl<R: ChunkRead> ChunkRead for BenchRead<R> {
    async fn read(&mut self, into: &mut Vec<Bytes>) -> Result<bool, DownReason> {
        self.entry.or_cut(self.inner.read(into)).await
    }

    fn stop(&mut self, code: CloseCode) {
        self.inner.stop(code);
    }
}

/// The sending half of a channel of a [`BenchLink`].
#[derive(Debug)]
pub struct BenchWrite<W> {
    inner: W,
    entry: Arc<Entry>,
}

impl<W: ChunkWrite> ChunkWrite for BenchWrite<W> {
    async fn write(&mut self, head: Head, body: Bytes) -> Result<(), DownReason> {
        self.entry.or_cut(self.inner.write(head, body)).await
    }

    fn finish(&mut self) {
        self.inner.finish();
    }

    fn reset(&mut self, code: CloseCode) {
        self.inner.reset(code);
    }
}
