//! Tests of the module in a node of one shard, against a presence server of the test's own.

mod acceptance;
mod operation;
mod rig;
mod server;
mod shards;
mod simulation;
mod subscriptions;
