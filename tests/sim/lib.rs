//! The simulation is a test, `tests/sim.rs`; a package wants a library or a binary.
