//! Declaration macros (being built).
