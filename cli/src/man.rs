//! `mobilenet man`: the manual's pages.

use std::path::PathBuf;

use clap::{Args, CommandFactory};
use clap_mangen::Man as Page;
use mobilenet::net::file;

use crate::Cli;
use crate::failure::Failure;
use crate::print;

/// Write the manual's pages, one a command
#[derive(Args)]
#[command(after_help = "Example:
  mobilenet man ~/.local/share/man/man1 && man mobilenet-classify")]
pub struct Man {
    /// A folder that exists
    #[arg(value_hint = clap::ValueHint::DirPath)]
    folder: PathBuf,
}

impl Man {
    pub fn run(self) -> Result<(), Failure> {
        let mut cli = Cli::command();
        cli.build();
        let name = cli.get_name().to_owned();
        let mut pages = 0;
        for command in std::iter::once(&cli).chain(cli.get_subcommands().filter(|command| !command.is_hide_set())) {
            let title =
                if std::ptr::eq(command, &cli) { name.clone() } else { format!("{name}-{}", command.get_name()) };
            let mut text = Vec::new();
            Page::new(command.clone().name(title.clone())).render(&mut text)?;
            file::write(self.folder.join(format!("{title}.1")), &text)?;
            pages += 1;
        }
        print::line(format!("{}: {pages} pages", self.folder.display()))
    }
}
