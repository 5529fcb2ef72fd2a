//! Training by several processes that `mpirun` has started: the first alone talks and writes, all of them end together.

#[cfg(not(feature = "mpi"))]
use std::env;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mobilenet::train::Group;
#[cfg(feature = "mpi")]
use mobilenet_mpi::World;

use crate::failure::Failure;

/// Whether another process says what this one would say.
static SILENT: AtomicBool = AtomicBool::new(false);

/// Whether another process says what this one would say on standard error.
pub fn is_silent() -> bool {
    SILENT.load(Ordering::Relaxed)
}

/// The processes of this launch; one alone where no launcher has started it.
pub struct Ranks {
    #[cfg(feature = "mpi")]
    world: Option<Arc<World>>,
}

impl Ranks {
    /// Meets the others. From here on only the first one's notes are written.
    pub fn meet() -> Result<Ranks, Failure> {
        #[cfg(feature = "mpi")]
        let ranks = Ranks { world: World::join().map(Arc::new) };
        #[cfg(not(feature = "mpi"))]
        let ranks = Ranks::alone()?;
        SILENT.store(!ranks.is_first(), Ordering::Relaxed);
        Ok(ranks)
    }

    /// Refuses a launch of several: they would all train the same, into one folder.
    #[cfg(not(feature = "mpi"))]
    fn alone() -> Result<Ranks, Failure> {
        match env::var("OMPI_COMM_WORLD_SIZE") {
            Ok(size) if size != "1" => Err(Failure::bad(format!(
                "mpirun has started {size} processes, and this program was built without MPI: build it with `cargo build \
                 --release --features mpi` (docs/many-machines.md)"
            ))),
            _ => Ok(Ranks {}),
        }
    }

    /// The others, for the trainer.
    pub fn group(&self) -> Option<Arc<dyn Group>> {
        #[cfg(feature = "mpi")]
        return self.world.clone().map(|world| world as Arc<dyn Group>);
        #[cfg(not(feature = "mpi"))]
        None
    }

    /// Whether this is the process that writes.
    pub fn is_first(&self) -> bool {
        self.group().is_none_or(|group| group.rank() == 0)
    }

    /// Refuses several processes, for this reason.
    pub fn expect_one(&self, reason: &str) -> Result<(), Failure> {
        match self.group() {
            Some(group) if group.size() > 1 => {
                Err(Failure::bad(format!("mpirun has started {} processes; {reason}", group.size())))
            }
            _ => Ok(()),
        }
    }

    /// Goes on where all processes can; else all end in good order, and the first that cannot says why.
    pub fn all<T>(&self, own: Result<T, Failure>) -> Result<T, Failure> {
        let Some(group) = self.group() else { return own };
        let mut failed = vec![0.0; group.size()];
        failed[group.rank()] = f64::from(own.is_err());
        group.sum(&mut failed);
        match failed.iter().position(|&failed| failed > 0.0) {
            None => own,
            Some(rank) if rank == group.rank() => own.map_err(|failure| named(failure, rank)),
            Some(_) => Err(Failure::Reported),
        }
    }

    /// How this process ends where it fails on its own: the others, which wait for it, are ended too.
    pub fn fail(&self, failure: Failure) -> Failure {
        #[cfg(feature = "mpi")]
        if let Some(world) = &self.world {
            named(failure, world.rank()).report();
            world.abort(2);
        }
        failure
    }

    /// Does what every process has to say for itself.
    pub fn aloud(&self, say: impl FnOnce()) {
        let was_silent = SILENT.swap(false, Ordering::Relaxed);
        say();
        SILENT.store(was_silent, Ordering::Relaxed);
    }
}

/// The failure as this process tells it, for the others may have none.
fn named(failure: Failure, rank: usize) -> Failure {
    SILENT.store(false, Ordering::Relaxed);
    match failure {
        Failure::Bad(reason) if rank > 0 => Failure::Bad(format!("rank {rank}: {reason}")),
        other => other,
    }
}
