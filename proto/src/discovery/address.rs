//! Where a peer can be reached.

use alloc::collections::BTreeSet;
use core::{fmt, net::SocketAddr, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::ids::PeerId;

/// A peer and the socket addresses under which it may answer, possibly none: a bare id is resolved
/// through the address books when it is dialled.
///
/// As text: the id, or `id@addr`, or `id@addr,addr`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EndpointAddr {
    /// The peer.
    pub id: PeerId,
    /// Its socket addresses.
    pub addrs: BTreeSet<SocketAddr>,
}

impl EndpointAddr {
    /// A peer at these addresses.
    #[must_use]
    pub fn new(id: PeerId, addrs: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self { id, addrs: addrs.into_iter().collect() }
    }
}

impl From<PeerId> for EndpointAddr {
    fn from(id: PeerId) -> Self {
        Self { id, addrs: BTreeSet::new() }
    }
}

impl From<(PeerId, SocketAddr)> for EndpointAddr {
    fn from((id, addr): (PeerId, SocketAddr)) -> Self {
        Self::new(id, [addr])
    }
}

impl From<&Self> for EndpointAddr {
    fn from(address: &Self) -> Self {
        address.clone()
    }
}

/// The text is not `peer` or `peer@addr[,addr]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an endpoint address: expected <peer id> or <peer id>@<ip:port>[,<ip:port>]")]
pub struct ParseEndpointAddrError;

impl FromStr for EndpointAddr {
    type Err = ParseEndpointAddrError;

    fn from_str(text: &str) -> Result<Self, ParseEndpointAddrError> {
        let (id, addrs) = text.split_once('@').map_or((text, None), |(id, a)| (id, Some(a)));
        let id = id.parse().map_err(|_| ParseEndpointAddrError)?;
        let addrs = addrs.map_or_else(
            || Ok(BTreeSet::new()),
            |addrs| {
                addrs.split(',').map(|a| a.parse().map_err(|_| ParseEndpointAddrError)).collect()
            },
        )?;
        Ok(Self { id, addrs })
    }
}

impl fmt::Display for EndpointAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.id, f)?;
        self.addrs
            .iter()
            .enumerate()
            .try_for_each(|(i, addr)| write!(f, "{}{addr}", if i == 0 { '@' } else { ',' }))
    }
}

#[cfg(test)]
mod tests {
    use alloc::{format, string::ToString};

    use super::*;

    #[test]
    fn text_round_trips() {
        let id = PeerId::from_bytes([9; 32]);
        for text in [format!("{id}"), format!("{id}@1.2.3.4:5"), format!("{id}@1.2.3.4:5,[::1]:6")]
        {
            assert_eq!(text.parse::<EndpointAddr>().unwrap().to_string(), text);
        }
        assert!(format!("{id}@").parse::<EndpointAddr>().is_err());
    }
}
