//! mosaik on tokio (being built).
