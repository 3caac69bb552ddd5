//! Three routings to begin with; keep the one that is nearest and throw the others away.
//!
//! For: the binary (`main.rs`), which runs one of them, and the tests, which drive all.

pub mod edge;
pub mod least_cost;
pub mod registrar;
