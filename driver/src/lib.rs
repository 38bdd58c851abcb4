//! Application handles and the event loop (being built).
pub mod book;
pub mod quic;
pub mod runtime;
pub mod transport;
