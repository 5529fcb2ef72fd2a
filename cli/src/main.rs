//! The command line of mobilenet: one file a subcommand, each arguments → library → print.
//!
//! Exit codes: 0 done, 1 some inputs failed, 2 wrong usage or bad input.

mod args;
mod bench;
mod classify;
mod failure;
mod print;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// MobileNet V1, V2 and V3: look at networks, run them, measure them.
#[derive(Parser)]
#[command(name = "mobilenet", version, propagate_version = true, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Classify(classify::Classify),
    Run(run::Run),
    Bench(bench::Bench),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Classify(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Bench(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
