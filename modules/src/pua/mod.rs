//! Presence user agent: publications and subscriptions of this node (Kamailio's `pua`).
//!
//! For: the documents of its event packages.

pub mod bodies;
