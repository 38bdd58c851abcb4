//! Where a producer's items go that went to nobody.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use bytes::Bytes;
use mosaik_proto::streams::item;

use super::shared::Shared;
use crate::datum::Datum;

type TakeItem = dyn Fn(&[u8]) + Send + Sync;

/// Takes items apart and hands them to the application's function.
pub(crate) struct UndeliveredSink(Box<TakeItem>);

impl UndeliveredSink {
    pub(crate) fn new<D: Datum>(sink: impl Fn(D) + Send + Sync + 'static) -> Self {
        Self(Box::new(move |bytes| match D::decode(bytes) {
            Ok(datum) => sink(datum),
            Err(error) => tracing::warn!(%error, "an undelivered datum cannot be decoded"),
        }))
    }

    /// Hands over a batch, item by item. A panic costs that item; the loop must survive it.
    pub(crate) fn take(&self, batch: &Bytes, shared: &Shared) {
        for bytes in item::Items::new(batch.clone()).flatten() {
            if catch_unwind(AssertUnwindSafe(|| (self.0)(&bytes))).is_err() {
                tracing::error!("the sink of undelivered items panicked");
                shared.metrics.panics.increment(1);
            }
        }
    }
}

impl fmt::Debug for UndeliveredSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UndeliveredSink")
    }
}
