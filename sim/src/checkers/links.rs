//! After quiet there is one link per pair of hosts.

use std::collections::BTreeSet;

use crate::net::HostId;

/// Looks at the ends of all links.
///
/// # Errors
/// The first pair with two links.
pub fn check(links: impl Iterator<Item = (HostId, HostId)>) -> Result<(), String> {
    let mut pairs = BTreeSet::new();
    for (a, b) in links {
        if !pairs.insert((a.min(b), a.max(b))) {
            return Err(format!("{a} and {b} have two links"));
        }
    }
    Ok(())
}
