//! Cores and caches. On Linux they are text files of the kernel; the parsers
//! are functions over that text, so that machines we do not have are tested.

use std::thread::available_parallelism;

const CPUS: &str = "/sys/devices/system/cpu";

/// Threads to use unless told otherwise: the least of the cgroup quota
/// (rounded down, at least 1; of nested groups the tightest), the affinity
/// mask and the physical cores in it.
///
/// A thread more than the quota allows is stopped for the rest of a period of
/// 100 ms; a second thread on a core shares the units that a kernel keeps full.
///
/// The standard library's `available_parallelism` covers quota (versions 1 and
/// 2, along the whole path) and mask on Linux. Elsewhere it is the answer.
pub fn default_threads() -> usize {
    let parallelism = available_parallelism().map_or(1, |n| n.get());
    match physical_cores() {
        Some(cores) => parallelism.min(cores).max(1),
        None => parallelism,
    }
}

/// Sizes of the data caches that one core sees, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caches {
    /// First level, data.
    pub l1: usize,
    /// Second level.
    pub l2: usize,
    /// Third level, shared by several cores.
    pub l3: usize,
}

impl Caches {
    /// Assumed where the system does not tell: small enough for most.
    pub const FALLBACK: Caches = Caches { l1: 32 << 10, l2: 512 << 10, l3: 4 << 20 };

    /// Those of the first processor; [`Caches::FALLBACK`] for each unknown.
    pub fn detect() -> Caches {
        /// No processor has more caches than this.
        const MAX_INDEX: usize = 16;
        Caches::from_texts((0..MAX_INDEX).map_while(|index| {
            let text = |file| read(&format!("{CPUS}/cpu0/cache/index{index}/{file}"));
            Some([text("level")?, text("type")?, text("size")?])
        }))
    }

    /// From the `(level, type, size)` texts of each cache.
    fn from_texts<S: AsRef<str>>(indices: impl IntoIterator<Item = [S; 3]>) -> Caches {
        let mut caches = Caches::FALLBACK;
        for [level, kind, size] in indices {
            let Some(size) = parse_size(size.as_ref()) else {
                continue;
            };
            match (level.as_ref().trim(), kind.as_ref().trim()) {
                (_, "Instruction") => {}
                ("1", _) => caches.l1 = size,
                ("2", _) => caches.l2 = size,
                ("3", _) => caches.l3 = size,
                _ => {}
            }
        }
        caches
    }
}

/// Bytes of `32K`, `1024K`, `16M` or `4096`; none for zero or anything else.
fn parse_size(text: &str) -> Option<usize> {
    let text = text.trim();
    let (digits, shift) = match text.as_bytes().last()? {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        _ => (text, 0),
    };
    let count: usize = digits.parse().ok()?;
    count.checked_mul(1 << shift).filter(|&bytes| bytes > 0)
}

/// Processor numbers of a list like `0-3,8,10-11`; none if it is malformed.
fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    /// Beyond any kernel's limit (8192), so that a broken file cannot make us
    /// fill memory.
    const MAX_CPU: usize = 1 << 16;
    let mut cpus = Vec::new();
    for range in text.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > MAX_CPU {
            return None;
        }
        cpus.extend(first..=last);
    }
    Some(cpus)
}

/// The affinity mask in the text of `/proc/self/status`.
fn allowed_cpus(status: &str) -> Option<Vec<usize>> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    parse_cpu_list(list)
}

/// Counts the cores under the `allowed` processors, given the text of each
/// one's `thread_siblings_list`; one without such a file counts as a core.
///
/// That list names a core uniquely, which `core_id` does not: it repeats in
/// every package, and on some machines in every die.
fn count_cores(allowed: &[usize], siblings: impl Fn(usize) -> Option<String>) -> usize {
    let mut cores: Vec<usize> = allowed
        .iter()
        .map(|&cpu| {
            siblings(cpu).and_then(|text| parse_cpu_list(&text)).and_then(|list| list.into_iter().min()).unwrap_or(cpu)
        })
        .collect();
    cores.sort_unstable();
    cores.dedup();
    cores.len()
}

/// Cores within the affinity mask of this thread, where the system tells.
fn physical_cores() -> Option<usize> {
    let status = read("/proc/thread-self/status")?;
    let cores =
        count_cores(&allowed_cpus(&status)?, |cpu| read(&format!("{CPUS}/cpu{cpu}/topology/thread_siblings_list")));
    Some(cores)
}

/// The text of a file of the Linux kernel; none on other systems.
fn read(path: &str) -> Option<String> {
    if cfg!(any(target_os = "linux", target_os = "android")) { std::fs::read_to_string(path).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cores(allowed: &str, siblings: &[(&str, &str)]) -> usize {
        let allowed = parse_cpu_list(allowed).expect("a valid list");
        count_cores(&allowed, |cpu| {
            let (_, list) = siblings.iter().find(|(cpus, _)| parse_cpu_list(cpus).is_some_and(|c| c.contains(&cpu)))?;
            Some((*list).to_owned())
        })
    }

    #[test]
    fn amd_siblings_are_counted_once() {
        // Ryzen 7 7840U: 8 cores, sibling of processor n is n + 1 or n - 1.
        let zen4: Vec<String> = (0..8).map(|c| format!("{}-{}", 2 * c, 2 * c + 1)).collect();
        let zen4: Vec<(&str, &str)> = zen4.iter().map(|s| (s.as_str(), s.as_str())).collect();
        assert_eq!(cores("0-15", &zen4), 8);
        // Four threads, and the mask leaves both siblings of one core.
        assert_eq!(cores("0-1,4,6", &zen4), 3);
        assert_eq!(cores("5", &zen4), 1);
        // EPYC 7763, two packages: siblings are 128 apart.
        let text = |cpu: usize| Some(format!("{},{}\n", cpu % 128, cpu % 128 + 128));
        assert_eq!(count_cores(&(0..256).collect::<Vec<_>>(), text), 128);
        assert_eq!(count_cores(&[3, 131, 7], text), 2);
    }

    #[test]
    fn intel_hybrid_counts_both_kinds_of_core() {
        // Core i5-1240P: four cores with two threads, eight with one.
        let mut alder = vec![("0-1", "0-1"), ("2-3", "2-3"), ("4-5", "4-5"), ("6-7", "6-7")];
        for cpu in ["8", "9", "10", "11", "12", "13", "14", "15"] {
            alder.push((cpu, cpu));
        }
        assert_eq!(cores("0-15", &alder), 12);
        assert_eq!(cores("0-7", &alder), 4);
    }

    #[test]
    fn processors_without_topology_are_cores() {
        assert_eq!(cores("0-3", &[]), 4);
        assert_eq!(count_cores(&[0, 1], |_| Some("garbage\n".into())), 2);
        assert_eq!(count_cores(&[0, 1], |_| Some(String::new())), 2);
    }

    #[test]
    fn processor_lists_parse_or_are_refused() {
        assert_eq!(parse_cpu_list("0-3,8,10-11\n"), Some(vec![0, 1, 2, 3, 8, 10, 11]));
        assert_eq!(parse_cpu_list("\t0"), Some(vec![0]));
        for text in ["", "\n", "3-1", "a", "1-", "-1", "1,,2", "0-4294967295", "1-2-3"] {
            assert_eq!(parse_cpu_list(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_mask_is_read_from_status() {
        let status = "Name:\tmobilenet\nThreads:\t1\nCpus_allowed:\tf0\n\
                      Cpus_allowed_list:\t4-7\nMems_allowed:\t1\n";
        assert_eq!(allowed_cpus(status), Some(vec![4, 5, 6, 7]));
        assert_eq!(allowed_cpus("Name:\tmobilenet\n"), None);
        assert_eq!(allowed_cpus(""), None);
    }

    #[test]
    fn caches_of_a_zen4_are_read() {
        let caches = Caches::from_texts([
            ["1\n", "Data\n", "32K\n"],
            ["1\n", "Instruction\n", "64K\n"],
            ["2\n", "Unified\n", "1024K\n"],
            ["3\n", "Unified\n", "32768K\n"],
        ]);
        let expected = Caches { l1: 32 << 10, l2: 1 << 20, l3: 32 << 20 };
        assert_eq!(caches, expected);
    }

    #[test]
    fn unknown_caches_fall_back() {
        assert_eq!(Caches::from_texts::<&str>([]), Caches::FALLBACK);
        // A Raspberry Pi 4 has no third level; broken sizes are ignored.
        let caches = Caches::from_texts([
            ["1", "Data", "0K"],
            ["2", "Unified", "1024K"],
            ["4", "Unified", "64M"],
            ["3", "Unified", "99999999999999999999K"],
        ]);
        let expected = Caches { l2: 1 << 20, ..Caches::FALLBACK };
        assert_eq!(caches, expected);
    }

    #[test]
    fn sizes_parse_or_are_refused() {
        assert_eq!(parse_size("48K\n"), Some(48 << 10));
        assert_eq!(parse_size("16M"), Some(16 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        for text in ["", "K", "-1K", "é", "18446744073709551615K"] {
            assert_eq!(parse_size(text), None, "{text:?}");
        }
    }

    #[test]
    fn this_machine_has_threads_and_caches() {
        let threads = default_threads();
        assert!(threads >= 1 && threads <= available_parallelism().map_or(1, |n| n.get()));
        let caches = Caches::detect();
        assert!(caches.l1 > 0 && caches.l2 > 0 && caches.l3 > 0);
    }
}
