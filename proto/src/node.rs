//! One participant: links, discovery and streams, put together.

mod vocabulary;

pub use self::vocabulary::{Action, Event};
