//! The procedural half of `unique_id!`, `id!` and `stream!`.
//!
//! Nobody calls the macros of this crate by hand. The facade `mosaik` wraps each of them in a
//! `macro_rules!` that puts `@$crate;` in front of the input, so that generated code finds the
//! facade under whatever name the caller depends on it:
//!
//! ```text
//! stream!(pub Ticks = u64, "ticks")  →  __stream_impl! { @$crate; pub Ticks = u64, "ticks" }
//! ```
//!
//! The path of a `stream!` through the crate: `declaration` parses the grammar and knows no
//! key, `keys` is the table of keys and decides which side a call lands on, `expand` writes
//! the struct and the two impls. `unique_id` is the rule that makes ids of text.
//!
//! What generated code names of the facade: `UniqueId::from_bytes`, and in `streams` the traits
//! `StreamProducer` and `StreamConsumer`, the handles `Producer` and `Consumer`, and
//! `producer::BuilderError`; `__private::NetworkHandle` is the argument of the traits' functions.
//! It relies on neither the caller's prelude nor its edition.

mod declaration;
mod expand;
mod facade;
mod keys;
mod unique_id;

use proc_macro::TokenStream;

use self::facade::Invocation;

/// `@<path of the facade>; "text"` → a constant expression of type `UniqueId`.
#[doc(hidden)]
#[proc_macro]
pub fn __unique_id_impl(input: TokenStream) -> TokenStream {
    Invocation::run(input.into(), unique_id::expand).into()
}

/// `@<path of the facade>; <declaration>` → a struct and its stream traits.
#[doc(hidden)]
#[proc_macro]
pub fn __stream_impl(input: TokenStream) -> TokenStream {
    Invocation::run(input.into(), expand::stream).into()
}
