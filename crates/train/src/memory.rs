//! How much of the forward pass is kept: the recipe's word, or what fits into the memory that is free.

use std::path::{Path, PathBuf};

use mobilenet_net::{Graph, Params};
use mobilenet_run::MemoryUse;
use mobilenet_run::measure::proc_bytes;

use crate::error::Error;
use crate::program::{TrainOptions, TrainProgram};
use crate::recipe::{MemoryChoice, Recipe};
use crate::trainer::Machine;

/// The program that a recipe wants, for batches at its largest resolution.
pub(crate) fn compile(
    recipe: &Recipe,
    graph: &Graph,
    params: &Params,
    machine: &Machine,
) -> Result<TrainProgram, Error> {
    let with = |memory| {
        TrainProgram::compile(graph, params, TrainOptions { memory, isa: machine.isa, ..TrainOptions::default() })
    };
    match recipe.memory {
        MemoryChoice::Fast => with(MemoryUse::Fast),
        MemoryChoice::Low => with(MemoryUse::Low),
        MemoryChoice::Auto => {
            let fast = with(MemoryUse::Fast)?;
            let wanted = bytes(recipe, &fast, machine)?;
            if free_bytes().is_none_or(|free| wanted as u64 <= free / 2) { Ok(fast) } else { with(MemoryUse::Low) }
        }
    }
}

/// Bytes of a step's tensors at the recipe's largest resolution.
pub(crate) fn bytes(recipe: &Recipe, program: &TrainProgram, machine: &Machine) -> Result<usize, Error> {
    let side = recipe.sides().max().unwrap_or(recipe.resolution);
    program.arena_bytes(recipe.batch.div_ceil(machine.ranks()), side, side, machine.pool.threads())
}

/// Memory that this process may still take: what Linux estimates to be free, or what the control group leaves; `None` on
/// other systems.
pub(crate) fn free_bytes() -> Option<u64> {
    let free = proc_bytes("/proc/meminfo", "MemAvailable:")?;
    Some(group_bytes().map_or(free, |left| left.min(free)))
}

/// What the tightest of this process's control groups leaves, of either version; `None` without a limit.
fn group_bytes() -> Option<u64> {
    let number = |path: PathBuf| std::fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mut least = None;
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let (root, limit, usage) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max", "memory.current"),
            "memory" => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes"),
            _ => continue,
        };
        for group in Path::new(path.trim_start_matches('/')).ancestors() {
            let folder = Path::new(root).join(group);
            // `max`, and a group without the file, are no limit.
            if let (Some(limit), Some(used)) = (number(folder.join(limit)), number(folder.join(usage))) {
                let left = limit.saturating_sub(used);
                least = Some(least.map_or(left, |least: u64| least.min(left)));
            }
        }
    }
    least
}
