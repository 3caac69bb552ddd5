//! The binary `strowger-load`: see the library beside it.

use std::process::ExitCode;

fn main() -> ExitCode {
    strowger_load::main()
}
