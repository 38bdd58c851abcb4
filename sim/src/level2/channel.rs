//! The two halves of a channel.

use std::{fmt, future::poll_fn, sync::Arc, task::Poll};

use bytes::Bytes;
use mosaik_driver::transport::{ChunkRead, ChunkWrite};
use mosaik_proto::{
    ids::ChannelId,
    links::DownReason,
    wire::{CloseCode, Head},
};

use super::{
    kernel::{Kernel, State},
    port::ChannelPort,
    transport::SimLink,
};
use crate::net::Process;

/// What both halves hold: the link stays up as long as one of its channels is held.
pub(super) struct Handle {
    pub(super) kernel: Kernel,
    pub(super) process: Process,
    pub(super) channel: ChannelId,
    pub(super) link: SimLink,
}

impl Handle {
    /// The end of the link, or of the process.
    fn down(&self, state: &mut State) -> Option<DownReason> {
        match state.port(self.process) {
            None => Some(DownReason::Lost),
            Some(port) => port.links.get(&self.link.id()).and_then(|link| link.down),
        }
    }

    fn port<'a>(&self, state: &'a mut State) -> Option<&'a mut ChannelPort> {
        state.port(self.process)?.channels.get_mut(&self.channel)
    }

    /// Changes the channel, unless it is gone.
    fn change(&self, change: impl FnOnce(&mut State)) {
        self.kernel.with(|state| {
            if self.port(state).is_some() {
                change(state);
            }
        });
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let port = self.kernel.with(|state| {
            state.port(self.process).and_then(|port| port.channels.remove(&self.channel))
        });
        drop(port);
    }
}

/// The receiving half of a simulated channel.
pub struct SimRead {
    handle: Arc<Handle>,
    ended: bool,
}

impl SimRead {
    pub(super) const fn new(handle: Arc<Handle>) -> Self {
        Self { handle, ended: false }
    }
}

impl ChunkRead for SimRead {
    async fn read(&mut self, into: &mut Vec<Bytes>) -> Result<bool, DownReason> {
        let handle = &self.handle;
        let result = poll_fn(|cx| {
            handle.kernel.with(|state| {
                let down = handle.down(state);
                let Some(port) = handle.port(state) else {
                    return Poll::Ready(Err(down.unwrap_or(DownReason::Lost)));
                };
                if let Some(reason) = down {
                    // What was not read is lost with its link.
                    return Poll::Ready(Err(reason));
                }
                let before: usize = into.len();
                into.extend(port.chunks.drain(..));
                let bytes: usize = into[before..].iter().map(Bytes::len).sum();
                if bytes > 0 {
                    let host = handle.process.host;
                    state.net.credit(state.now, host, handle.channel, bytes);
                    return Poll::Ready(Ok(true));
                }
                match port.end {
                    Some(DownReason::Finished) => Poll::Ready(Ok(false)),
                    Some(reason) => Poll::Ready(Err(reason)),
                    None => {
                        port.reader = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
        })
        .await;
        self.ended |= !matches!(result, Ok(true));
        result
    }

    fn stop(&mut self, code: CloseCode) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let handle = &self.handle;
        handle.kernel.with(|state| {
            let Some(port) = handle.port(state) else { return };
            port.deaf = true;
            let unread: usize = port.chunks.drain(..).map(|chunk| chunk.len()).sum();
            let (now, host) = (state.now, handle.process.host);
            state.net.credit(now, host, handle.channel, unread);
            state.net.stop(now, host, handle.channel, code);
        });
    }
}

impl Drop for SimRead {
    fn drop(&mut self) {
        self.stop(CloseCode::CANCELLED);
    }
}

impl fmt::Debug for SimRead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimRead").field("channel", &self.handle.channel).finish_non_exhaustive()
    }
}

/// The sending half of a simulated channel.
pub struct SimWrite {
    handle: Arc<Handle>,
    ended: bool,
}

impl SimWrite {
    pub(super) const fn new(handle: Arc<Handle>) -> Self {
        Self { handle, ended: false }
    }
}

impl ChunkWrite for SimWrite {
    async fn write(&mut self, head: Head, body: Bytes) -> Result<(), DownReason> {
        let handle = &self.handle;
        let size = (head.len() + body.len()) as u64;
        let mut what = (size > 0).then_some((head, body));
        poll_fn(|cx| {
            handle.kernel.with(|state| {
                if let Some(reason) = handle.down(state) {
                    return Poll::Ready(Err(reason));
                }
                let Some(port) = handle.port(state) else {
                    return Poll::Ready(Err(DownReason::Lost));
                };
                if let Some(code) = port.stopped {
                    return Poll::Ready(Err(DownReason::Closed(code)));
                }
                if port.drained >= port.written && what.is_none() {
                    return Poll::Ready(Ok(()));
                }
                port.writer = Some(cx.waker().clone());
                if let Some((head, body)) = what.take() {
                    port.written += size;
                    state.net.write(handle.process.host, handle.channel, head, body);
                }
                Poll::Pending
            })
        })
        .await
    }

    fn finish(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            let (host, channel) = (self.handle.process.host, self.handle.channel);
            self.handle.change(|state| state.net.finish(host, channel));
        }
    }

    fn reset(&mut self, code: CloseCode) {
        if !std::mem::replace(&mut self.ended, true) {
            let (host, channel) = (self.handle.process.host, self.handle.channel);
            self.handle.change(|state| state.net.reset(state.now, host, channel, code));
        }
    }
}

impl Drop for SimWrite {
    fn drop(&mut self) {
        self.reset(CloseCode::CANCELLED);
    }
}

impl fmt::Debug for SimWrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimWrite").field("channel", &self.handle.channel).finish_non_exhaustive()
    }
}
