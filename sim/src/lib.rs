//! The seeded world (being built).
