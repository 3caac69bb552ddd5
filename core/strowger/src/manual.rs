//! Shell completions and man pages, made of the command line itself.
//!
//! For: packages, and whoever installs the binary by hand.
//! Not here: what the arguments mean (`arguments.rs`).

use crate::start::EXIT_SYSTEM;
use clap_complete::Shell;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Prints completions for a shell.
pub(crate) fn completions(mut command: clap::Command, shell: Shell) -> ExitCode {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, name, &mut script);
    // A reader that went away wants no more.
    let _ = io::stdout().write_all(&script);
    ExitCode::SUCCESS
}

/// Writes a page for the command and one for each of its subcommands.
pub(crate) fn pages(command: clap::Command, folder: &Path) -> ExitCode {
    match clap_mangen::generate_to(command, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("strowger: {}: {cause}", folder.display());
            ExitCode::from(EXIT_SYSTEM)
        }
    }
}
