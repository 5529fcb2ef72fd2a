//! MPI as a trainer's [`Group`]: the processes that `mpirun` has started sum what they compute.
//!
//! Gradients are summed by MPI 3's non-blocking collectives (`MPI_Iallreduce`), which make progress whenever the way back
//! sums up a batch norm; all other sums block. Building needs an MPI library: `apt-get install libopenmpi-dev openmpi-bin
//! libclang-dev` on Debian.

use std::env;
use std::slice::IterMut;
use std::sync::{Mutex, PoisonError};

use mobilenet_train::Group;
use mobilenet_train::group::Sums;
use mpi::Threading;
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::request::{LocalScope, Request, scope};
use mpi::topology::SimpleCommunicator;
use mpi::traits::*;

/// What Open MPI, and other launchers by PMIx or PMI, tell the processes that they start.
const LAUNCHED: [&str; 3] = ["OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"];

/// All processes that a launcher has started together. When it is dropped, MPI waits for all of them.
pub struct World {
    universe: Universe,
    rank: usize,
    size: usize,
    /// Where sums arrive; kept, for every step has as many.
    arrived: Mutex<Vec<Vec<f32>>>,
}

impl World {
    /// The processes of this launch, MPI being initialised; `None` where no launcher has started this process, or it alone.
    ///
    /// # Panics
    /// When called twice.
    pub fn join() -> Option<World> {
        if !LAUNCHED.iter().any(|name| env::var_os(name).is_some()) {
            return None;
        }
        // The trainer sums from one thread at a time, be it which it may.
        let (universe, _) = mpi::initialize_with_threading(Threading::Multiple).expect("MPI is initialised once");
        let world = universe.world();
        let [rank, size] = [world.rank(), world.size()].map(|n| n.unsigned_abs() as usize);
        (size > 1).then(|| World { universe, rank, size, arrived: Mutex::default() })
    }

    /// Ends all processes at once, with this exit code.
    pub fn abort(&self, code: u8) -> ! {
        self.universe.world().abort(code.into())
    }
}

impl Group for World {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum(&self, values: &mut [f64]) {
        let own = values.to_vec();
        self.universe.world().all_reduce_into(&own[..], values, SystemOperation::sum());
    }

    fn sum_while(&self, buckets: &mut [Vec<f32>], work: &mut dyn FnMut(&mut dyn Sums)) {
        let mut arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.resize_with(buckets.len(), Vec::new);
        arrived.iter_mut().zip(&*buckets).for_each(|(to, bucket)| to.resize(bucket.len(), 0.0));
        let (world, free, places) = (self.universe.world(), buckets.iter_mut(), arrived.iter_mut());
        scope(|scope| {
            let requests = Vec::new();
            let mut sums = InFlight { world, scope, free, places, requests };
            work(&mut sums);
            sums.requests.into_iter().for_each(Request::wait_without_status);
        });
        buckets.iter_mut().zip(&mut *arrived).for_each(|(bucket, sum)| std::mem::swap(bucket, sum));
    }
}

impl Drop for World {
    /// A process that panics must not wait for the others, which wait for its sums.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.abort(101);
        }
    }
}

/// Sums of buckets that have been started.
struct InFlight<'a, 's> {
    world: SimpleCommunicator,
    scope: &'s LocalScope<'a>,
    /// Buckets that have not.
    free: IterMut<'a, Vec<f32>>,
    /// Where their sums will arrive.
    places: IterMut<'a, Vec<f32>>,
    requests: Vec<Request<'a, [f32], &'s LocalScope<'a>>>,
}

impl Sums for InFlight<'_, '_> {
    fn start(&mut self, fill: &mut dyn FnMut(&mut [f32])) {
        let (Some(bucket), Some(place)) = (self.free.next(), self.places.next()) else {
            panic!("a bucket more than there are was started")
        };
        fill(bucket);
        let sum = SystemOperation::sum();
        self.requests.push(self.world.immediate_all_reduce_into(self.scope, &bucket[..], &mut place[..], sum));
    }
}
