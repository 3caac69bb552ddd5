//! Tests of the dialog module as callers, callees, routings and operators see it.

mod bridges;
mod calls;
mod ends;
mod limits;
mod promises;
mod rig;
mod sessions;
mod storage;
