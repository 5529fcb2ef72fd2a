//! A flag for every key of a recipe.

use clap::{Arg, ArgMatches, Command, Error, FromArgMatches};
use mobilenet::train::Recipe;

/// Keys and values that flags give. A key's flag is its name with dashes, `augmentation.mixup` being
/// `--augmentation-mixup`, but for [`OWN`].
#[derive(Default)]
pub struct Settings(pub Vec<(String, String)>);

const HEADING: &str = "Every other key of a recipe; docs/training.md explains them";

/// Keys whose flags the command itself has, some of them shorter.
const OWN: [&str; 13] = [
    "model",
    "width",
    "total_stride",
    "resolution",
    "batch",
    "epochs",
    "optimizer.kind",
    "lr",
    "schedule.kind",
    "memory",
    "seed",
    "checkpoint_every",
    "teacher.weights",
];

/// All other keys, each with its flag.
fn flags() -> impl Iterator<Item = (String, String)> {
    let keys = Recipe::keys().into_iter().filter(|key| !OWN.contains(&key.as_str()));
    keys.map(|key| (key.replace(['.', '_'], "-"), key))
}

impl clap::Args for Settings {
    fn augment_args(command: Command) -> Command {
        let defaults = Recipe::default();
        flags().fold(command, |command, (flag, key)| {
            let default = defaults.get(&key).unwrap_or_default();
            let argument = Arg::new(flag.clone()).long(flag).value_name("VALUE").help_heading(HEADING);
            // `-h` shows the command's own flags alone.
            command.arg(argument.hide_short_help(true).help(format!("{key} [default: {default}]")))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Settings::augment_args(command)
    }
}

impl FromArgMatches for Settings {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Settings, Error> {
        let given = |(flag, key): (String, String)| Some((key, matches.get_one::<String>(&flag)?.clone()));
        Ok(Settings(flags().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = Settings::from_arg_matches(matches)?;
        Ok(())
    }
}
