//! How much of the forward pass is kept: the recipe's word, or what fits into the memory that is free.

use mobilenet_net::{Graph, Params};

use crate::error::Error;
use crate::program::{MemoryUse, TrainOptions, TrainProgram};
use crate::recipe::{MemoryChoice, Recipe};

/// The program that a recipe wants, for batches at its largest resolution.
pub(crate) fn compile(recipe: &Recipe, graph: &Graph, params: &Params, threads: usize) -> Result<TrainProgram, Error> {
    let with = |memory| TrainProgram::compile(graph, params, TrainOptions { memory, ..TrainOptions::default() });
    match recipe.memory {
        MemoryChoice::Fast => with(MemoryUse::Fast),
        MemoryChoice::Low => with(MemoryUse::Low),
        MemoryChoice::Auto => {
            let fast = with(MemoryUse::Fast)?;
            let side = recipe.resolutions.iter().map(|[_, side]| *side).chain([recipe.resolution]).max();
            let side = side.unwrap_or(recipe.resolution);
            let wanted = fast.arena_bytes(recipe.batch, side, side, threads)?;
            if free_bytes().is_none_or(|free| wanted as u64 <= free / 2) { Ok(fast) } else { with(MemoryUse::Low) }
        }
    }
}

/// Memory that programs may still take, as Linux estimates it; `None` on other systems.
fn free_bytes() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}
