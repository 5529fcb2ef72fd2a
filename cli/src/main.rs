//! The command line of mobilenet: one file a subcommand, each arguments → library → print.
//!
//! Exit codes: 0 done, 1 some inputs failed, 2 wrong usage or bad input.

/// A line on standard error. Where nobody listens any more there is nobody to tell, and no reason to panic. Of several
/// processes that train together one speaks.
macro_rules! note {
    ($($text:tt)*) => {{
        use std::io::Write as _;
        if !$crate::ranks::is_silent() {
            let _ = writeln!(std::io::stderr(), $($text)*);
        }
    }};
}

mod args;
mod bench;
mod check;
mod classify;
mod completions;
mod convert;
mod embed;
mod eval;
mod explain;
mod failure;
mod info;
mod inputs;
mod man;
mod models;
mod print;
mod profile;
mod pull;
mod ranks;
mod run;
mod similar;
mod summary;
mod text;
mod train;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// MobileNet V1, V2 and V3: look at networks, train them, run them, measure them.
#[derive(Parser)]
#[command(name = "mobilenet", version, propagate_version = true, max_term_width = 100)]
#[command(after_help = "Example:
  mobilenet classify photo.jpg --weights mobilenet_v2.pth

Exit codes: 0 done, 1 some inputs failed, 2 wrong usage or bad input, 130 ended by Ctrl-C.
MOBILENET_ISA=avx2 or portable forces a lower instruction set.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Classify(classify::Classify),
    Check(check::Check),
    Train(train::Train),
    Eval(eval::Eval),
    Embed(embed::Embed),
    Similar(similar::Similar),
    Explain(explain::Explain),
    Info(info::Info),
    Verify(verify::Verify),
    Convert(convert::Convert),
    Run(run::Run),
    Summary(summary::Summary),
    Models(models::Models),
    Pull(pull::Pull),
    Bench(bench::Bench),
    Profile(profile::Profile),
    Completions(completions::Completions),
    Man(man::Man),
}

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Classify(command) => command.run(),
        Command::Check(command) => command.run(),
        Command::Train(command) => command.run(),
        Command::Eval(command) => command.run(),
        Command::Embed(command) => command.run(),
        Command::Similar(command) => command.run(),
        Command::Explain(command) => command.run(),
        Command::Info(command) => command.run(),
        Command::Verify(command) => command.run(),
        Command::Convert(command) => command.run(),
        Command::Run(command) => command.run(),
        Command::Summary(command) => command.run(),
        Command::Models(command) => command.run(),
        Command::Pull(command) => command.run(),
        Command::Bench(command) => command.run(),
        Command::Profile(command) => command.run(),
        Command::Completions(command) => command.run(),
        Command::Man(command) => command.run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
