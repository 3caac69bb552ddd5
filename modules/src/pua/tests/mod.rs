//! Tests of the module in a node of one shard, against a presence server of the test's own.

mod acceptance;
mod rig;
mod server;
mod simulation;
