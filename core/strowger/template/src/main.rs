//! The proxy: a routing, and Strowger around it.

use my_proxy::least_cost::LeastCost;
use std::process::ExitCode;

fn main() -> ExitCode {
    strowger::main(LeastCost::from_config)
}
