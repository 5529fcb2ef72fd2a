//! Which files are being written, and which are ready.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use mobilenet::data::folder::is_photo_file;
use notify::event::{AccessKind, AccessMode, ModifyKind, RenameMode};
use notify::{Event, EventKind};

use crate::inputs::is_hidden;

/// A file whose writer does not say that it is done counts as written when it has not changed for this long.
const QUIET: Duration = Duration::from_secs(2);

/// Length and time of the last change: a file's state. One that is written anew has another.
type State = (u64, Option<SystemTime>);

/// Photos on their way. Memory: a path for each that is not ready, and a few bytes for each that lies in the folders.
#[derive(Default)]
pub struct Arriving {
    pending: HashMap<PathBuf, Pending>,
    /// States of files that were ready, by the hash of their path.
    seen: HashMap<u64, State>,
    hasher: RandomState,
    /// Folders to look into, as word of their files may have been missed.
    folders: HashSet<PathBuf>,
    /// Whether word of anything may have been missed.
    is_unsure: bool,
}

struct Pending {
    state: Option<State>,
    /// When it was last seen to change.
    changed: Instant,
    /// Whether its writer has said that it is done.
    is_closed: bool,
}

impl Arriving {
    /// Takes the system's word.
    pub fn heard(&mut self, event: notify::Result<Event>) {
        let Ok(event) = event else {
            self.is_unsure = true;
            return;
        };
        self.is_unsure |= event.need_rescan();
        match event.kind {
            EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(RenameMode::From)) => {
                event.paths.iter().for_each(|path| self.gone(path));
            }
            EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => {
                if let [from, to] = &event.paths[..] {
                    self.gone(from);
                    self.changed(to, true);
                }
            }
            // Whole under its new name, or half-written under a name that only now is a photo's: where the system tells of
            // the end of writing, it will tell.
            EventKind::Modify(ModifyKind::Name(RenameMode::To))
            | EventKind::Access(AccessKind::Close(AccessMode::Write)) => {
                event.paths.iter().for_each(|path| self.changed(path, true));
            }
            EventKind::Access(_) => {}
            _ => event.paths.iter().for_each(|path| self.changed(path, false)),
        }
    }

    /// Takes a file that was found and not heard of. Where it is old, nobody writes it any more.
    pub fn found(&mut self, file: &Path) {
        if is_photo_file(file) && !self.pending.contains_key(file) {
            let age = state(file).and_then(|(_, time)| time?.elapsed().ok());
            self.changed(file, age.is_some_and(|age| age >= QUIET));
        }
    }

    /// Counts a file as seen that nobody wants.
    pub fn pass_over(&mut self, file: &Path) {
        if let Some(state) = state(file).filter(|_| is_photo_file(file)) {
            self.seen.insert(self.hasher.hash_one(file), state);
        }
    }

    /// Folders to look into, `all` where anything may have been missed.
    pub fn take_folders(&mut self, all: &[PathBuf]) -> Vec<PathBuf> {
        let new = std::mem::take(&mut self.folders);
        if std::mem::take(&mut self.is_unsure) { all.to_vec() } else { new.into_iter().collect() }
    }

    /// The photos that are written by now and were not taken as they are before, by name.
    pub fn take_written(&mut self) -> Vec<PathBuf> {
        let (seen, hasher) = (&mut self.seen, &self.hasher);
        let mut written = Vec::new();
        self.pending.retain(|path, pending| {
            let hash = hasher.hash_one(path);
            let Some(now) = state(path) else {
                seen.remove(&hash);
                return false;
            };
            if seen.get(&hash) == Some(&now) {
                return false;
            }
            if pending.state != Some(now) {
                // A writer that is done and whose last state is seen only now has not changed it since.
                (pending.state, pending.changed) = (Some(now), Instant::now());
            }
            // Nobody has begun to write an empty file.
            if now.0 == 0 || !(pending.is_closed || pending.changed.elapsed() >= QUIET) {
                return true;
            }
            seen.insert(hash, now);
            written.push(path.clone());
            false
        });
        written.sort();
        written
    }

    fn changed(&mut self, path: &Path, is_closed: bool) {
        if is_hidden(path) {
            return;
        }
        if path.is_dir() {
            self.folders.insert(path.to_owned());
        } else if is_photo_file(path) {
            let pending = Pending { state: None, changed: Instant::now(), is_closed };
            self.pending.insert(path.to_owned(), pending);
        }
    }

    fn gone(&mut self, path: &Path) {
        self.pending.remove(path);
        self.seen.remove(&self.hasher.hash_one(path));
    }
}

/// A file's state; none where there is no such file.
fn state(path: &Path) -> Option<State> {
    let found = path.metadata().ok().filter(|found| found.is_file())?;
    Some((found.len(), found.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange, RemoveKind};

    /// A folder, and word of what happens in it.
    struct Scene(tempfile::TempDir, Arriving);

    impl Scene {
        fn new() -> Scene {
            Scene(tempfile::tempdir().unwrap(), Arriving::default())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn write(&mut self, name: &str, bytes: &[u8], kinds: &[EventKind]) {
            std::fs::write(self.path(name), bytes).unwrap();
            self.hear(name, kinds);
        }

        fn hear(&mut self, name: &str, kinds: &[EventKind]) {
            for kind in kinds {
                let event = Event::new(*kind).add_path(self.path(name));
                self.1.heard(Ok(event));
            }
        }

        fn written(&mut self) -> Vec<String> {
            let name = |path: PathBuf| path.strip_prefix(self.0.path()).unwrap().to_str().unwrap().to_owned();
            self.1.take_written().into_iter().map(name).collect()
        }
    }

    const CREATED: EventKind = EventKind::Create(CreateKind::File);
    const WROTE: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const MOVED_HERE: EventKind = EventKind::Modify(ModifyKind::Name(RenameMode::To));
    const REMOVED: EventKind = EventKind::Remove(RemoveKind::File);

    #[test]
    fn a_file_is_ready_when_its_writer_is_done_and_only_once() {
        let mut scene = Scene::new();
        scene.write("b.jpg", b"ha", &[CREATED, WROTE]);
        assert!(scene.written().is_empty());
        scene.write("b.jpg", b"half", &[WROTE, CLOSED]);
        scene.write("a.png", b"whole", &[MOVED_HERE]);
        assert_eq!(scene.written(), ["a.png", "b.jpg"]);
        scene.hear("b.jpg", &[EventKind::Modify(ModifyKind::Any), CLOSED]);
        assert!(scene.written().is_empty());
    }

    #[test]
    fn a_file_of_a_silent_writer_is_ready_when_it_has_not_changed_for_a_while() {
        let mut scene = Scene::new();
        scene.write("a.jpg", b"linked", &[CREATED]);
        assert!(scene.written().is_empty());
        std::thread::sleep(QUIET);
        assert_eq!(scene.written(), ["a.jpg"]);
    }

    #[test]
    fn a_file_that_is_written_anew_is_another_photo() {
        let mut scene = Scene::new();
        scene.write("latest.jpg", b"first", &[CREATED, WROTE, CLOSED]);
        assert_eq!(scene.written(), ["latest.jpg"]);
        scene.write("latest.jpg", b"the second", &[WROTE, CLOSED]);
        assert_eq!(scene.written(), ["latest.jpg"]);
        std::fs::remove_file(scene.path("latest.jpg")).unwrap();
        scene.hear("latest.jpg", &[REMOVED]);
        assert!(scene.written().is_empty());
    }

    #[test]
    fn empty_hidden_and_other_files_are_no_photos_yet() {
        let mut scene = Scene::new();
        scene.write("empty.jpg", b"", &[CREATED, CLOSED]);
        scene.write(".hidden.jpg", b"x", &[CREATED, CLOSED]);
        scene.write("photo.jpg.part", b"x", &[CREATED, CLOSED]);
        assert!(scene.written().is_empty());
        scene.write("empty.jpg", b"no longer", &[WROTE, CLOSED]);
        assert_eq!(scene.written(), ["empty.jpg"]);
    }

    #[test]
    fn what_is_gone_before_it_is_ready_is_forgotten() {
        let mut scene = Scene::new();
        scene.write("a.jpg", b"x", &[CREATED, CLOSED]);
        std::fs::remove_file(scene.path("a.jpg")).unwrap();
        assert!(scene.written().is_empty() && scene.1.pending.is_empty() && scene.1.seen.is_empty());
    }

    #[test]
    fn new_folders_are_looked_into_and_all_where_word_was_lost() {
        let mut scene = Scene::new();
        std::fs::create_dir(scene.path("day")).unwrap();
        scene.hear("day", &[EventKind::Create(CreateKind::Folder)]);
        let roots = [scene.0.path().to_owned()];
        assert_eq!(scene.1.take_folders(&roots), [scene.path("day")]);
        assert!(scene.1.take_folders(&roots).is_empty());
        scene.1.heard(Err(notify::Error::generic("lost")));
        assert_eq!(scene.1.take_folders(&roots), roots);
    }

    #[test]
    fn old_files_that_are_found_are_ready_and_those_passed_over_never_are() {
        let mut scene = Scene::new();
        for name in ["old.jpg", "unwanted.jpg"] {
            scene.write(name, b"x", &[]);
            let file = std::fs::File::options().write(true).open(scene.path(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap();
        }
        let (old, unwanted) = (scene.path("old.jpg"), scene.path("unwanted.jpg"));
        scene.1.pass_over(&unwanted);
        scene.1.found(&old);
        scene.1.found(&unwanted);
        assert_eq!(scene.written(), ["old.jpg"]);
    }
}
