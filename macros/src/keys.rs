//! The keys of `stream!`, and which side's builder the call of each lands on.
//!
//! | key | builder call | no prefix | `producer` | `consumer` |
//! |---|---|---|---|---|
//! | `require` | `require` | both | consumer | producer |
//! | `require_ticket` | `require_ticket` | both | consumer | producer |
//! | `online_when` | `online_when` | both | producer | consumer |
//! | `max_consumers` | `with_max_consumers` | producer | producer | – |
//! | `buffer_size` | `with_buffer_size` | producer | producer | – |
//! | `disconnect_lagging` | `disconnect_lagging` | producer | producer | – |
//! | `criteria` | `with_criteria` | consumer | – | consumer |
//! | `backoff` | `with_backoff` | consumer | – | consumer |
//! | `kind` | `with_kind` | producer | producer | – |
//! | `replay` | `with_replay` | consumer | – | consumer |
//!
//! The prefix of a requirement names who must satisfy it, so the other side checks it. With
//! `producer` or `consumer` in front of the stream's name, calls that land on the side that is
//! not generated are dropped, even those that no builder has.

use proc_macro2::TokenStream;
use quote::quote_spanned;

use crate::declaration::{Declaration, Entry, Side};

/// Which sides a key is for.
#[derive(Clone, Copy)]
enum Scope {
    /// A demand on the peer: the prefix names who must satisfy it.
    Demand,
    /// A setting that both sides have.
    Both,
    /// A setting that one side has.
    Only(Side),
}

struct Key {
    name: &'static str,
    method: &'static str,
    scope: Scope,
}

const KEYS: [Key; 10] = [
    key("require", "require", Scope::Demand),
    key("require_ticket", "require_ticket", Scope::Demand),
    key("online_when", "online_when", Scope::Both),
    key("max_consumers", "with_max_consumers", Scope::Only(Side::Producer)),
    key("buffer_size", "with_buffer_size", Scope::Only(Side::Producer)),
    key("disconnect_lagging", "disconnect_lagging", Scope::Only(Side::Producer)),
    key("criteria", "with_criteria", Scope::Only(Side::Consumer)),
    key("backoff", "with_backoff", Scope::Only(Side::Consumer)),
    key("kind", "with_kind", Scope::Only(Side::Producer)),
    key("replay", "with_replay", Scope::Only(Side::Consumer)),
];

const fn key(name: &'static str, method: &'static str, scope: Scope) -> Key {
    Key { name, method, scope }
}

impl Key {
    /// Whether an entry with this key and `prefix` makes a call on the builder of `side`.
    fn lands_on(&self, side: Side, prefix: Option<Side>) -> bool {
        match (self.scope, prefix) {
            (Scope::Demand, Some(satisfier)) => satisfier != side,
            (Scope::Demand | Scope::Both, None) => true,
            (Scope::Both | Scope::Only(_), Some(named)) => named == side,
            (Scope::Only(owner), None) => owner == side,
        }
    }

    fn call(&self, entry: &Entry) -> TokenStream {
        let method = syn::Ident::new(self.method, entry.key.span());
        let value = &entry.value;
        quote_spanned!(entry.key.span()=> .#method(#value))
    }
}

/// The calls to make on the builder of each side, and what is wrong with the entries.
#[derive(Default)]
pub(crate) struct Calls {
    producer: Vec<TokenStream>,
    consumer: Vec<TokenStream>,
    error: Option<syn::Error>,
}

impl Calls {
    /// Routes all entries of `declaration`, in order.
    pub(crate) fn of(declaration: &Declaration) -> Self {
        let mut calls = Self::default();
        for entry in &declaration.entries {
            if let Some(key) = KEYS.iter().find(|key| entry.key == key.name) {
                calls.route(key, entry, declaration.mode);
            } else {
                let known = KEYS.map(|key| key.name).join("`, `");
                calls.refuse(syn::Error::new(
                    entry.key.span(),
                    format_args!("unknown stream config key `{}`; known: `{known}`", entry.key),
                ));
            }
        }
        calls
    }

    /// The calls to make on the builder of `side`.
    pub(crate) fn on(&self, side: Side) -> &[TokenStream] {
        match side {
            Side::Producer => &self.producer,
            Side::Consumer => &self.consumer,
        }
    }

    /// `compile_error!` for each entry that cannot be, else nothing.
    pub(crate) fn errors(&self) -> Option<TokenStream> {
        self.error.as_ref().map(syn::Error::to_compile_error)
    }

    fn route(&mut self, key: &Key, entry: &Entry, mode: Option<Side>) {
        for side in [Side::Producer, Side::Consumer] {
            if mode.is_some_and(|only| only != side) || !key.lands_on(side, entry.prefix) {
                continue;
            }
            match (key.scope, side) {
                (Scope::Only(owner), _) if owner != side => {
                    let (name, owner, side) = (key.name, owner.word(), side.word());
                    self.refuse(syn::Error::new(
                        entry.start,
                        format_args!("`{name}` is a key of the {owner}, the {side} has none"),
                    ));
                }
                (_, Side::Producer) => self.producer.push(key.call(entry)),
                (_, Side::Consumer) => self.consumer.push(key.call(entry)),
            }
        }
    }

    fn refuse(&mut self, error: syn::Error) {
        match &mut self.error {
            Some(errors) => errors.combine(error),
            none => *none = Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(input: &str) -> Calls {
        Calls::of(&syn::parse_str(input).expect(input))
    }

    fn text(calls: &[TokenStream]) -> String {
        calls.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }

    fn errors(input: &str) -> Vec<String> {
        calls(input).error.into_iter().flatten().map(|error| error.to_string()).collect()
    }

    /// Key, method, and where it lands without prefix, with `producer`, with `consumer`.
    const TABLE: [(&str, &str, [&str; 3]); 10] = [
        ("require", "require", ["pc", "c", "p"]),
        ("require_ticket", "require_ticket", ["pc", "c", "p"]),
        ("online_when", "online_when", ["pc", "p", "c"]),
        ("max_consumers", "with_max_consumers", ["p", "p", "error"]),
        ("buffer_size", "with_buffer_size", ["p", "p", "error"]),
        ("disconnect_lagging", "disconnect_lagging", ["p", "p", "error"]),
        ("criteria", "with_criteria", ["c", "error", "c"]),
        ("backoff", "with_backoff", ["c", "error", "c"]),
        ("kind", "with_kind", ["p", "p", "error"]),
        ("replay", "with_replay", ["c", "error", "c"]),
    ];

    #[test]
    fn every_row_of_the_table() {
        for (key, method, columns) in TABLE {
            for (prefix, lands) in ["", "producer", "consumer"].into_iter().zip(columns) {
                let input = format!("X = u8, {prefix} {key}: value");
                let calls = calls(&input);
                let expected = |side| {
                    let call = format!(". {method} (value)");
                    if lands.contains(side) && lands != "error" { call } else { String::new() }
                };
                assert_eq!(text(calls.on(Side::Producer)), expected('p'), "{input}");
                assert_eq!(text(calls.on(Side::Consumer)), expected('c'), "{input}");
                assert_eq!(calls.errors().is_some(), lands == "error", "{input}");
            }
        }
    }

    #[test]
    fn one_sided_declarations_drop_the_other_side() {
        for (key, _, columns) in TABLE {
            for (prefix, lands) in ["", "producer", "consumer"].into_iter().zip(columns) {
                for (mode, only, other) in [
                    ("producer", Side::Producer, "consumer"),
                    ("consumer", Side::Consumer, "producer"),
                ] {
                    let input = format!("{mode} X = u8, {prefix} {key}: value");
                    let calls = calls(&input);
                    let kept = lands != "error" && lands.contains(&mode[..1]);
                    assert_eq!(calls.on(only).len(), usize::from(kept), "{input}");
                    let refused = lands == "error" && prefix != other;
                    assert_eq!(calls.errors().is_some(), refused, "{input}");
                }
            }
        }
    }

    #[test]
    fn keys_repeat_and_keep_their_order() {
        let calls = calls("X = u8, require: a, buffer_size: 1, consumer require: b, require: c");
        assert_eq!(
            text(calls.on(Side::Producer)),
            ". require (a) . with_buffer_size (1) . require (b) . require (c)"
        );
        assert_eq!(text(calls.on(Side::Consumer)), ". require (a) . require (c)");
    }

    #[test]
    fn every_bad_entry_is_named() {
        let errors =
            errors("X = u8, nope: 1, consumer max_consumers: 2, type: 3, producer backoff: 4");
        assert!(errors[0].starts_with("unknown stream config key `nope`; known: `require`, "));
        assert_eq!(errors[1], "`max_consumers` is a key of the producer, the consumer has none");
        assert!(errors[2].starts_with("unknown stream config key `type`"));
        assert_eq!(errors[3], "`backoff` is a key of the consumer, the producer has none");
        assert_eq!(errors.len(), 4);
    }
}
