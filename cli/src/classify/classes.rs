//! Which classes may be answers: lists of names that are allowed or denied.

use std::path::{Path, PathBuf};

use clap::Args;
use mobilenet::{Classifier, Labels};

use crate::failure::Failure;

/// Largest file of class names, in bytes; ImageNet's has 22 kB.
const MAX_LIST: u64 = 16 << 20;

/// Probabilities are those among all classes.
#[derive(Args)]
#[command(next_help_heading = "Classes")]
pub struct ClassArgs {
    /// Answer only with these classes: a name or number, several with commas between, or a file with one a line;
    /// may be given again
    #[arg(long, value_name = "NAMES|FILE")]
    allow: Vec<String>,
    /// Never answer with these classes; given as for --allow, and stronger
    #[arg(long, value_name = "NAMES|FILE")]
    deny: Vec<String>,
}

impl ClassArgs {
    /// Holds the classifier to these classes.
    pub fn restrict(&self, classifier: &mut Classifier) -> Result<(), Failure> {
        if self.allow.is_empty() && self.deny.is_empty() {
            return Ok(());
        }
        let labels = classifier.labels();
        let mut is_answer = vec![self.allow.is_empty(); labels.len()];
        for (flag, lists, answers) in [("--allow", &self.allow, true), ("--deny", &self.deny, false)] {
            for list in lists {
                find(list, labels, flag)?.into_iter().for_each(|class| is_answer[class] = answers);
            }
        }
        if !is_answer.contains(&true) {
            return Err(Failure::bad("no class is left to answer with: --deny takes away all that there are"));
        }
        classifier.answer_only(|class| is_answer[class]);
        Ok(())
    }
}

/// The classes that an argument of `flag` names. Names of classes may hold commas, and be those of files: what is a class
/// as a whole is that class, what is a file is a list, and all else is cut at its commas.
fn find(list: &str, labels: &Labels, flag: &str) -> Result<Vec<usize>, Failure> {
    let whole = labels.find(list);
    if let Ok(classes) = whole {
        return Ok(classes);
    }
    let path = PathBuf::from(list);
    if path.is_file() {
        return of_file(&path, labels);
    }
    let names: Vec<&str> = list.split(',').map(str::trim).collect();
    // Without a comma, or where no part is a class, the whole was meant to be one.
    if names.len() == 1 || names.iter().all(|name| labels.find(name).is_err()) {
        return whole.map_err(|e| Failure::bad(format!("{flag}: {e} (nor is there such a file)")));
    }
    let found: Result<Vec<_>, _> = names.into_iter().map(|name| labels.find(name)).collect();
    Ok(found.map_err(|e| Failure::bad(format!("{flag}: {e}")))?.concat())
}

fn of_file(path: &Path, labels: &Labels) -> Result<Vec<usize>, Failure> {
    let shown = path.display();
    let failed = |e: std::io::Error| Failure::bad(format!("{shown}: {e}"));
    if path.metadata().map_err(failed)?.len() > MAX_LIST {
        return Err(Failure::bad(format!("{shown}: larger than {} MiB, which no list of names is", MAX_LIST >> 20)));
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let mut classes = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let name = line.trim();
        if !name.is_empty() {
            let found = labels.find(name);
            classes.extend(found.map_err(|e| Failure::bad(format!("{shown}: line {}: {e}", number + 1)))?);
        }
    }
    if classes.is_empty() {
        return Err(Failure::bad(format!("{shown}: no class is named in it; give one a line")));
    }
    Ok(classes)
}
