//! Keeps the kernel from waking a worker on its caller's processor.
//!
//! In a virtual machine Linux takes an idle processor for one that the host
//! has withdrawn, and puts a thread that wakes up next to the one that woke
//! it. Caller and worker then share a processor, until the balancer looks some
//! milliseconds later: longer than a whole inference. Measured on two quiet
//! virtual processors, the median of 100 forks of 2 × 10 µs after 15 ms of
//! idleness: 2.02 ms as the kernel places them, 1.11 with this (one thread 2.0,
//! ideal 1.0). The price is a true wake of another processor in the first fork:
//! 12 to 25 µs there instead of 3 to 7.
//!
//! So the caller takes its processor from the mask of a *sleeping* worker (of
//! which a migration costs nothing), and the worker restores its mask as soon
//! as it runs. All of it is a hint: whatever fails leaves things as they were.

pub(super) use imp::{Mask, avoid, this_processor, thread_id};

#[cfg(any(target_os = "linux", target_os = "android"))]
mod imp {
    use std::ffi::{c_int, c_ulong};

    const WORDS: usize = 1024 / c_ulong::BITS as usize;

    /// The processors that a thread may run on (`cpu_set_t`).
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(in crate::pool) struct Mask([c_ulong; WORDS]);

    // The C library, which the standard library links in any case.
    unsafe extern "C" {
        fn sched_getcpu() -> c_int;
        fn sched_getaffinity(tid: c_int, bytes: usize, mask: *mut c_ulong) -> c_int;
        fn sched_setaffinity(tid: c_int, bytes: usize, mask: *const c_ulong) -> c_int;
    }

    impl Mask {
        /// The mask of thread `tid`; 0 is the calling thread.
        pub(in crate::pool) fn of(tid: i32) -> Option<Mask> {
            let mut mask = [0; WORDS];
            // SAFETY: the pointer is good for the number of bytes given.
            let status = unsafe { sched_getaffinity(tid, size_of_val(&mask), mask.as_mut_ptr()) };
            (status == 0).then_some(Mask(mask))
        }

        /// Makes this the mask of thread `tid`; 0 is the calling thread.
        pub(in crate::pool) fn apply(&self, tid: i32) {
            // SAFETY: the pointer is good for the number of bytes given. A
            // refusal leaves the old mask, which is as good as no hint.
            unsafe { sched_setaffinity(tid, size_of_val(&self.0), self.0.as_ptr()) };
        }

        /// Without processor `cpu`, if others remain.
        pub(super) fn without(mut self, cpu: usize) -> Option<Mask> {
            let bits = c_ulong::BITS as usize;
            let word = self.0.get_mut(cpu / bits)?;
            *word &= !(1 << (cpu % bits));
            self.0.iter().any(|&word| word != 0).then_some(self)
        }
    }

    /// The processor that the calling thread is on; negative if unknown.
    pub(in crate::pool) fn this_processor() -> i32 {
        // SAFETY: takes nothing, and returns a number or -1.
        unsafe { sched_getcpu() }
    }

    /// Takes processors from the mask of the sleeping thread `tid`.
    pub(in crate::pool) fn avoid(tid: i32, cpus: [i32; 2]) {
        let without = |mask: Mask, cpu| mask.without(usize::try_from(cpu).ok()?);
        if let Some(mask) = Mask::of(tid) {
            let narrowed = cpus.into_iter().fold(mask, |mask, cpu| without(mask, cpu).unwrap_or(mask));
            if narrowed != mask {
                narrowed.apply(tid);
            }
        }
    }

    /// The kernel's number of the calling thread, never 0; none without `/proc`.
    pub(in crate::pool) fn thread_id() -> Option<i32> {
        let link = std::fs::read_link("/proc/thread-self").ok()?;
        let tid = link.file_name()?.to_str()?.parse().ok()?;
        (tid > 0).then_some(tid)
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_mask_loses_one_processor_but_never_the_last() {
            let mut words = [0; WORDS];
            words[0] = 0b101;
            let mask = Mask(words);
            words[0] = 0b100;
            assert!(mask.without(0) == Some(Mask(words)));
            assert!(mask.without(1) == Some(mask));
            assert!(Mask(words).without(2).is_none());
            assert!(mask.without(1 << 20).is_none());
        }

        #[test]
        fn this_thread_has_an_id_and_a_mask_by_either_name() {
            let tid = thread_id().expect("/proc is mounted");
            assert!(Mask::of(0) == Mask::of(tid) && Mask::of(0).is_some());
        }
    }
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
mod imp {
    //! Systems where a thread cannot be told where to run, or need not be.

    pub(in crate::pool) struct Mask;

    impl Mask {
        pub(in crate::pool) fn of(_tid: i32) -> Option<Mask> {
            None
        }

        pub(in crate::pool) fn apply(&self, _tid: i32) {}
    }

    pub(in crate::pool) fn this_processor() -> i32 {
        -1
    }

    pub(in crate::pool) fn avoid(_tid: i32, _cpus: [i32; 2]) {}

    pub(in crate::pool) fn thread_id() -> Option<i32> {
        None
    }
}
