//! One routing for all cores, with state that only one may touch.
//!
//! Says: cannot be shared between threads safely

use strowger::prelude::*;

use std::cell::Cell;
use std::rc::Rc;

struct Mine {
    calls: Rc<Cell<u64>>,
}

// What `strowger::main` asks of the function that makes a routing on each shard.
fn main_of<F: Fn() -> Mine + Send + Sync + 'static>(_: F) {}

fn start() {
    let calls = Rc::new(Cell::new(0));
    main_of(move || Mine { calls: Rc::clone(&calls) });
}

fn main() {}
