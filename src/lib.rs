//! mosaik (being built).
