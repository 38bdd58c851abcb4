//! Nobody receives more than it gave credit for.
//!
//! From outside: what was delivered through a subscription and not yet consumed is within the
//! consumer's window. With half the window's bytes free, one item above what is left may come (STR-06).

use std::collections::BTreeMap;

use mosaik_proto::ids::ConsumerId;

use super::{Place, order::Arrived};
use crate::net::Process;

#[derive(Clone, Copy, Debug, Default)]
struct Account {
    delivered: (u64, u64),
    consumed: (u64, u64),
}

/// The checker.
#[derive(Debug, Default)]
pub struct Credit {
    windows: BTreeMap<(Process, ConsumerId), (u64, u64)>,
    accounts: BTreeMap<Place, Account>,
    most: (u64, u64),
}

impl Credit {
    /// The most items and bytes that ever waited in one subscription.
    #[must_use]
    pub const fn most(&self) -> (u64, u64) {
        self.most
    }

    /// A consumer was opened with this window.
    pub fn opened(&mut self, consumer: (Process, ConsumerId), items: u64, bytes: u64) {
        self.windows.insert(consumer, (items, bytes));
    }

    /// The application has taken this much in all.
    pub fn consumed(&mut self, place: Place, items: u64, bytes: u64) {
        self.accounts.entry(place).or_default().consumed = (items, bytes);
    }

    /// Items arrive.
    ///
    /// # Errors
    /// If they exceed the window.
    pub fn delivered(&mut self, place: Place, items: &[Arrived]) -> Result<(), String> {
        let window = self.windows.get(&(place.process, place.consumer));
        let (max_items, max_bytes) =
            *window.ok_or_else(|| format!("{place:?}: items for a consumer that is not open"))?;
        let (batch, last) = (items.len(), items.last().map_or(0, |item| item.size as u64));
        let account = self.accounts.entry(place).or_default();
        account.delivered.0 += items.len() as u64;
        account.delivered.1 += items.iter().map(|item| item.size as u64).sum::<u64>();
        let waiting = |all: u64, taken: u64| all.checked_sub(taken).ok_or("more taken than came");
        let items = waiting(account.delivered.0, account.consumed.0)?;
        let bytes = waiting(account.delivered.1, account.consumed.1)?;
        self.most = (self.most.0.max(items), self.most.1.max(bytes));
        // One item alone in its batch, on top of at most half a window.
        let alone = items == 1 || batch == 1 && bytes - last <= max_bytes - max_bytes.div_ceil(2);
        if items > max_items || (bytes > max_bytes && !alone) {
            return Err(format!(
                "{place:?}: {items} items, {bytes} B wait in a window of {max_items}, {max_bytes} B"
            ));
        }
        Ok(())
    }
}
