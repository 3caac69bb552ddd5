//! Calls, challenges, requests of one's own and registrations on a bench, one behaviour each.

mod auth;
mod calls;
mod registrar;
mod registrations;
mod rig;
mod send;
mod simulation;
