//! `mobilenet completions`: scripts for shells.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::Cli;
use crate::failure::Failure;
use crate::print;

const EXAMPLES: &str = "\
Examples:
  mobilenet completions bash > ~/.local/share/bash-completion/completions/mobilenet
  mobilenet completions zsh > ~/.zfunc/_mobilenet
  mobilenet completions fish > ~/.config/fish/completions/mobilenet.fish";

/// Print a script that completes commands and flags in a shell
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub struct Completions {
    /// Whose script
    shell: Shell,
}

impl Completions {
    pub fn run(self) -> Result<(), Failure> {
        // Written to memory first: clap_complete panics where its output is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "mobilenet", &mut script);
        print::line(String::from_utf8_lossy(&script).trim_end())
    }
}
