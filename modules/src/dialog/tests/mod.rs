//! Tests of the dialog module as callers, callees, routings and operators see it.

mod calls;
mod ends;
mod rig;
