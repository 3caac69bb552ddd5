//! The simulation is a test, `sim.rs`; a package wants a library or a binary.
