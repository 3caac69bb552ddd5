//! The module with location, registrar and `pua`, on two shards; a presence server beside it.

mod import;
mod publish;
pub(crate) mod rig;
mod sync;
