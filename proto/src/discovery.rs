//! Who is there: signed entries, the catalog, and how they spread.

mod address;
mod catalog;
mod config;
mod entry;
mod info;
mod local;
mod tombstone;
mod vocabulary;

pub use self::{
    address::{EndpointAddr, ParseEndpointAddrError},
    catalog::Catalog,
    config::Config,
    entry::{PeerEntry, PeerEntryVersion, SignedPeerEntry, UnverifiedEntry},
    info::PeerInfo,
    local::{Draft, EntryError, LocalEntry},
    tombstone::Tombstone,
    vocabulary::{Action, Change, Command, CommandError, Env, Event, News, View},
};
