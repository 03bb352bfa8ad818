//! `neisse`: parses the command line and hands over to `cli`.

use clap::Parser;
use neisse::cli::{self, Arguments};
use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run(Arguments::parse())
}
