//! What the members of a soak run agree on.

use std::{collections::BTreeMap, fmt, str::FromStr};

use super::protocol::{Command, NoLine, Update};

/// Commands that were applied twice and are remembered; one is enough to fail.
const REMEMBERED: usize = 16;

/// Keys with their values, and which command of which client was applied. Its text form holds all of
/// it, so that it serves as a snapshot too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Store {
    values: BTreeMap<u64, u64>,
    clients: BTreeMap<u64, Client>,
    /// Applied again: client and number.
    twice: Vec<(u64, u64)>,
}

/// What was applied of one client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Client {
    /// Numbers from, to, both included; sorted.
    applied: Vec<(u64, u64)>,
    /// The last swap, and whether it happened.
    swapped: Option<(u64, bool)>,
}

impl Client {
    /// False if it was there already.
    fn insert(&mut self, number: u64) -> bool {
        let at = self.applied.partition_point(|(_, to)| *to < number);
        if self.applied.get(at).is_some_and(|(from, _)| *from <= number) {
            return false;
        }
        let joins_before = at > 0 && self.applied[at - 1].1 + 1 == number;
        let joins_behind = self.applied.get(at).is_some_and(|(from, _)| *from == number + 1);
        match (joins_before, joins_behind) {
            (true, true) => {
                self.applied[at - 1].1 = self.applied[at].1;
                self.applied.remove(at);
            }
            (true, false) => self.applied[at - 1].1 = number,
            (false, true) => self.applied[at].0 = number,
            (false, false) => self.applied.insert(at, (number, number)),
        }
        true
    }
}

impl Store {
    /// Applies a command, also one that was applied before: hiding that is not its affair.
    pub fn apply(&mut self, command: &Command) {
        let Command { client, number, key, update } = *command;
        let of = self.clients.entry(client).or_default();
        if !of.insert(number) && self.twice.len() < REMEMBERED {
            self.twice.push((client, number));
        }
        match update {
            Update::Put(value) => {
                self.values.insert(key, value);
            }
            Update::Cas(expected, new) => {
                let swaps = self.values.get(&key).copied() == expected;
                if swaps {
                    self.values.insert(key, new);
                }
                of.swapped = Some((number, swaps));
            }
        }
    }

    /// What a key holds.
    #[must_use]
    pub fn value(&self, key: u64) -> Option<u64> {
        self.values.get(&key).copied()
    }

    /// Whether a swap happened, as long as its client did no other.
    #[must_use]
    pub fn swapped(&self, client: u64, number: u64) -> Option<bool> {
        let (last, swapped) = self.clients.get(&client)?.swapped?;
        (last == number).then_some(swapped)
    }

    /// True if this command of this client was applied.
    #[must_use]
    pub fn is_applied(&self, client: u64, number: u64) -> bool {
        let Some(Client { applied, .. }) = self.clients.get(&client) else { return false };
        let at = applied.partition_point(|(_, to)| *to < number);
        applied.get(at).is_some_and(|(from, _)| *from <= number)
    }

    /// Some of the commands that were applied more than once: client and number.
    #[must_use]
    pub fn twice(&self) -> &[(u64, u64)] {
        &self.twice
    }

    /// Commands that were applied, each counted once.
    #[must_use]
    pub fn commands(&self) -> u64 {
        let ranges = self.clients.values().flat_map(|client| &client.applied);
        ranges.map(|(from, to)| to - from + 1).sum()
    }
}

impl fmt::Display for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |parts: Vec<String>, with| parts.join(with);
        let values = self.values.iter().map(|(key, value)| format!("{key}={value}"));
        let client = |(client, Client { applied, swapped }): (&u64, &Client)| {
            let ranges = applied.iter().map(|(from, to)| format!("{from}-{to}"));
            let last = swapped.map_or_else(String::new, |(number, did)| format!("!{number}={did}"));
            format!("{client}:{}{last}", join(ranges.collect(), ","))
        };
        let twice = self.twice.iter().map(|(client, number)| format!("{client}={number}"));
        let clients = self.clients.iter().map(client).collect();
        let (values, twice) = (join(values.collect(), ","), join(twice.collect(), ","));
        write!(f, "{values}/{}/{twice}", join(clients, ";"))
    }
}

/// Reads what stands between separators; nothing is no part.
fn list<T>(text: &str, separator: char, read: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(separator).filter(|part| !part.is_empty()).map(read).collect()
}

fn pair<A: FromStr, B: FromStr>(text: &str, separator: char) -> Option<(A, B)> {
    let (a, b) = text.split_once(separator)?;
    Some((a.parse().ok()?, b.parse().ok()?))
}

fn client(text: &str) -> Option<(u64, Client)> {
    let (id, rest) = text.split_once(':')?;
    let (ranges, last) = rest.split_once('!').map_or((rest, None), |(a, b)| (a, Some(b)));
    let swapped = match last {
        Some(last) => Some(pair(last, '=')?),
        None => None,
    };
    let applied = list(ranges, ',', |range| pair(range, '-'))?;
    Some((id.parse().ok()?, Client { applied, swapped }))
}

fn store(text: &str) -> Option<Store> {
    let (values, rest) = text.split_once('/')?;
    let (clients, twice) = rest.split_once('/')?;
    Some(Store {
        values: list(values, ',', |part| pair(part, '='))?.into_iter().collect(),
        clients: list(clients, ';', client)?.into_iter().collect(),
        twice: list(twice, ',', |part| pair(part, '='))?,
    })
}

impl FromStr for Store {
    type Err = NoLine;

    fn from_str(text: &str) -> Result<Self, NoLine> {
        store(text).ok_or_else(|| NoLine(text.chars().take(80).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(numbers: &[u64]) -> Store {
        let mut store = Store::default();
        for &number in numbers {
            store.apply(&Command { client: 1, number, key: 2, update: Update::Put(number) });
        }
        store
    }

    #[test]
    fn each_command_counts_once_in_any_order() {
        let store = applied(&[3, 0, 1, 2, 7, 5, 6, 1]);
        assert_eq!(store.clients[&1].applied, [(0, 3), (5, 7)]);
        assert_eq!((store.commands(), store.twice()), (7, &[(1, 1)][..]));
        assert!(store.is_applied(1, 3) && !store.is_applied(1, 4) && !store.is_applied(2, 0));
        assert_eq!(store.value(2), Some(1));
    }

    #[test]
    fn swaps_are_remembered_until_the_next() {
        let mut store = Store::default();
        let cas = |number, expected, new| Command {
            client: 1,
            number,
            key: 2,
            update: Update::Cas(expected, new),
        };
        store.apply(&cas(0, None, 5));
        assert_eq!((store.swapped(1, 0), store.value(2)), (Some(true), Some(5)));
        store.apply(&cas(1, None, 6));
        assert_eq!((store.swapped(1, 0), store.swapped(1, 1)), (None, Some(false)));
        assert_eq!(store.value(2), Some(5));
    }
}
