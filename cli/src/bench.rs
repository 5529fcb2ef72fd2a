//! `mobilenet bench`: latencies of a network.

use clap::Args;

use crate::failure::Failure;

/// Measure latencies of a network
#[derive(Args)]
pub struct Bench {}

impl Bench {
    pub fn run(self) -> Result<(), Failure> {
        Ok(())
    }
}
