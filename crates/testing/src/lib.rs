//! What the tests of several crates share: where the test data lie, photos to train on, a file server, and how far two
//! results are apart.

pub mod allocations;
pub mod photos;
pub mod server;

use std::io::Write;
use std::path::{Path, PathBuf};

/// The variable that names the folder of test data.
pub const VARIABLE: &str = "MOBILENET_TEST_DATA";

/// The folder of test data: the one that [`VARIABLE`] names, or `shared` beside the repository. `None`, with a loud
/// line, where there is none.
///
/// # Panics
/// Where the variable names a folder that is none, or has no reference files: whoever sets it wants the tests to run.
pub fn data() -> Option<PathBuf> {
    let given = std::env::var_os(VARIABLE);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let folder = given.as_ref().map_or_else(beside, PathBuf::from);
    let there = folder.join("golden").is_dir();
    assert!(there || given.is_none(), "{VARIABLE}={} has no folder golden", folder.display());
    if !there {
        skipped(&format!("no test data at {} (set {VARIABLE})", folder.display()));
    }
    there.then_some(folder)
}

/// Says that the running test is skipped, and why. Written to standard error itself, past the test harness: it shows
/// the output of macros only where a test fails.
pub fn skipped(reason: &str) {
    let thread = std::thread::current();
    // Where nobody listens there is nobody to tell.
    let _ = writeln!(std::io::stderr(), "SKIPPED: {}: {reason}", thread.name().unwrap_or("a test"));
}

/// The largest difference over the largest of `want`; infinite where a value is not a number.
///
/// # Panics
/// Where the lengths differ.
pub fn difference(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len(), "values");
    // Not `f32::max`, which takes no notice of a NaN.
    let larger = |most: f64, value: f64| if most.is_nan() || value <= most { most } else { value };
    let largest = want.iter().fold(f64::MIN_POSITIVE, |most, v| larger(most, f64::from(v.abs())));
    let apart = got.iter().zip(want).map(|(g, w)| f64::from(*g) - f64::from(*w));
    let difference = apart.fold(0.0, |most, d| larger(most, d.abs())) / largest;
    if difference.is_nan() { f64::INFINITY } else { difference }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn difference_is_relative_to_the_largest_value() {
        assert_eq!(difference(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(difference(&[], &[]), 0.0);
    }

    #[test]
    fn a_value_that_is_no_number_is_infinitely_far_away() {
        for values in [[f32::NAN, 1.0], [1.0, f32::NAN], [f32::INFINITY, 1.0]] {
            assert_eq!(difference(&values, &[1.0, 1.0]), f64::INFINITY, "{values:?}");
        }
        assert_eq!(difference(&[1.0], &[f32::NAN]), f64::INFINITY);
    }
}
