//! A node is made with something that decides nothing.
//!
//! Says: `Mine` is not a routing

use strowger::prelude::*;

struct Mine;

fn node<R: Routing>(_: R) {}

fn start() {
    node(Mine);
}

fn main() {}
