//! Photos as they arrive in folders.

mod arriving;
mod mounts;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::sleep;
use std::time::Duration;

use clap::{Args, ValueEnum};
use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};

use crate::failure::Failure;
use crate::inputs::{is_hidden, walk};
use arriving::Arriving;

/// How often files that arrive are looked at.
const TICK: Duration = Duration::from_millis(100);
/// How often a folder is listed where the system does not tell what happens in it.
const POLL: Duration = Duration::from_secs(2);

/// Photos that are yet to come.
#[derive(Args)]
#[command(next_help_heading = "Watching")]
pub struct WatchArgs {
    /// Wait for photos to arrive in the folders, until Ctrl-C, after those that lie there; `--watch=new` without those
    #[arg(long, value_name = "all|new", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    watch: Option<Which>,
    /// List the folders every 2 seconds, as is done for network drives, and do not wait for the system's word
    #[arg(long, requires = "watch")]
    poll: bool,
}

/// Which photos are classified.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Which {
    /// Those that lie there, and those that arrive
    All,
    /// Those that arrive
    New,
}

impl WatchArgs {
    /// Whether folders are to be watched.
    pub fn is_on(&self) -> bool {
        self.watch.is_some()
    }
}

/// The photos that arrive in some folders, each when it is written, until a flag is set.
pub struct Arrivals {
    folders: Vec<PathBuf>,
    arriving: Arc<Mutex<Arriving>>,
    /// Written, and not yet asked for.
    ready: VecDeque<PathBuf>,
    stop: Arc<AtomicBool>,
    lost: Arc<OnceLock<PathBuf>>,
    /// Alive as long as there is to be word of files.
    _watchers: Vec<Box<dyn Watcher + Send>>,
}

impl Arrivals {
    /// Begins to watch.
    ///
    /// # Errors
    /// A path that is no folder, or that the system cannot watch.
    pub fn new(folders: &[PathBuf], args: &WatchArgs, stop: Arc<AtomicBool>) -> Result<Arrivals, Failure> {
        if let Some(path) = folders.iter().find(|path| !path.is_dir()) {
            return Err(Failure::bad(format!("{}: no folder; --watch waits for photos in folders", path.display())));
        }
        let folders = apart(folders).map_err(Failure::bad)?;
        let arriving = Arc::new(Mutex::new(Arriving::default()));
        // Before the first look, so that nothing falls between.
        let watchers = folders.iter().map(|folder| watcher(folder, args.poll, &arriving)).collect::<Result<_, _>>()?;
        for folder in &folders {
            let mut arriving = lock(&arriving);
            let take = |arriving: &mut Arriving, file: &Path| match args.watch {
                Some(Which::New) => arriving.pass_over(file),
                _ => arriving.found(file),
            };
            walk(folder, &mut |file| take(&mut arriving, file)).map_err(Failure::bad)?;
        }
        note!(
            "watching {}; Ctrl-C ends it",
            folders.iter().map(|f| f.display().to_string()).collect::<Vec<_>>().join(", ")
        );
        Ok(Arrivals { folders, arriving, ready: VecDeque::new(), stop, lost: Arc::default(), _watchers: watchers })
    }

    /// Whether a file would be heard of.
    pub fn hear_of(&self, file: &Path) -> bool {
        let folder = file.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
        let Ok(place) = folder.canonicalize() else { return false };
        self.folders.iter().any(|folder| folder.canonicalize().is_ok_and(|folder| place.starts_with(folder)))
    }

    /// Where the folder will be named that was removed or cannot be read, which ends the arrivals.
    pub fn lost(&self) -> Arc<OnceLock<PathBuf>> {
        self.lost.clone()
    }
}

impl Iterator for Arrivals {
    type Item = PathBuf;

    /// Waits for the next photo; none when the flag is set or a folder is gone.
    fn next(&mut self) -> Option<PathBuf> {
        while !self.stop.load(Ordering::Relaxed) {
            if let Some(path) = self.ready.pop_front() {
                return Some(path);
            }
            let mut arriving = lock(&self.arriving);
            for folder in arriving.take_folders(&self.folders) {
                // One that is gone already has no photos, and the roots are looked at below.
                _ = walk(&folder, &mut |file| arriving.found(file));
            }
            self.ready.extend(arriving.take_written());
            drop(arriving);
            if self.ready.is_empty() {
                if let Some(folder) = self.folders.iter().find(|folder| !folder.is_dir()) {
                    _ = self.lost.set(folder.clone());
                    return None;
                }
                sleep(TICK);
            }
        }
        None
    }
}

/// The folders without those that lie in another of them, whose photos would come twice.
fn apart(folders: &[PathBuf]) -> Result<Vec<PathBuf>, String> {
    let place = |folder: &PathBuf| folder.canonicalize().map_err(|e| format!("{}: {e}", folder.display()));
    let places = folders.iter().map(place).collect::<Result<Vec<_>, _>>()?;
    let lies_in_another = |i: usize| {
        let in_it = |(j, other): (usize, &PathBuf)| match places[i].strip_prefix(other) {
            Ok(rest) if rest.as_os_str().is_empty() => j < i,
            // Hidden folders are only watched by their own name.
            Ok(rest) => !leads_into_hidden(rest),
            Err(_) => false,
        };
        places.iter().enumerate().any(in_it)
    };
    Ok((0..folders.len()).filter(|&i| !lies_in_another(i)).map(|i| folders[i].clone()).collect())
}

/// Whether a path below a folder is hidden or leads through a hidden folder.
fn leads_into_hidden(rest: &Path) -> bool {
    rest.components().any(|part| is_hidden(part.as_ref()))
}

/// Nothing under the lock can panic half-way.
fn lock(arriving: &Mutex<Arriving>) -> MutexGuard<'_, Arriving> {
    arriving.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hears of files in a folder and those in it: from the system, or by listing them where it would not tell.
fn watcher(folder: &Path, poll: bool, arriving: &Arc<Mutex<Arriving>>) -> Result<Box<dyn Watcher + Send>, Failure> {
    let failed = |e: std::io::Error| Failure::bad(format!("{}: {e}", folder.display()));
    // Watchers name files by absolute paths, each system's in its own way; we name them as the user named the folder.
    let root = folder.canonicalize().map_err(failed)?;
    let (arriving, below, named) = (arriving.clone(), root.clone(), folder.to_owned());
    let heard = move |event: notify::Result<notify::Event>| {
        let event = event.map(|mut event| {
            // As a walk through the folder: nothing in hidden ones.
            let rest = |path: &PathBuf| path.strip_prefix(&below).unwrap_or(path).to_owned();
            event.paths.retain(|path| !leads_into_hidden(&rest(path)));
            event.paths.iter_mut().for_each(|path| *path = named.join(rest(path)));
            event
        });
        lock(&arriving).heard(event);
    };
    let failed = |e: notify::Error| {
        let reason = match &e.kind {
            notify::ErrorKind::MaxFilesWatch => {
                "the system watches no more folders (fs.inotify.max_user_watches)".into()
            }
            notify::ErrorKind::Io(e) => e.to_string(),
            _ => e.to_string(),
        };
        Failure::bad(format!("{}: cannot be watched: {reason}; try --poll", folder.display()))
    };
    let config = Config::default().with_poll_interval(POLL).with_follow_symlinks(false);
    let mut watcher: Box<dyn Watcher + Send> = if poll || mounts::is_remote(folder) {
        Box::new(PollWatcher::new(heard, config).map_err(failed)?)
    } else {
        Box::new(RecommendedWatcher::new(heard, config).map_err(failed)?)
    };
    watcher.watch(&root, RecursiveMode::Recursive).map_err(failed)?;
    Ok(watcher)
}

#[cfg(test)]
mod tests {
    use super::apart;

    #[test]
    fn folders_within_others_are_left_out() {
        let root = tempfile::tempdir().unwrap();
        let folder = |name: &str| root.path().join(name);
        for name in ["a/b", "a/.c", "ab"] {
            std::fs::create_dir_all(folder(name)).unwrap();
        }
        let given = [folder("a/b"), folder("a"), folder("ab"), folder("a/../a"), folder("a/.c")];
        assert_eq!(apart(&given).unwrap(), [folder("a"), folder("ab"), folder("a/.c")]);
        assert!(apart(&[folder("none")]).is_err());
    }
}
