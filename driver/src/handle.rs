//! Application handles: `Clone`-able values without a runtime type, behind which the loop works.

pub(crate) mod admission;
pub(crate) mod bonds;
pub(crate) mod catalog;
pub(crate) mod channels;
pub(crate) mod consumer;
pub(crate) mod discovery;
pub(crate) mod framing;
pub(crate) mod group;
pub(crate) mod group_calls;
pub(crate) mod group_error;
pub(crate) mod group_when;
pub(crate) mod groups;
pub(crate) mod network;
pub(crate) mod network_on;
pub(crate) mod producer;
pub(crate) mod send_error;
pub(crate) mod shared;
pub(crate) mod streams;
pub(crate) mod undelivered;
pub(crate) mod when;
