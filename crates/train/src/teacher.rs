//! A network to learn from.

use std::path::Path;
use std::sync::Arc;

use mobilenet_data::Batch;
use mobilenet_kernels::Pool;
use mobilenet_run::{Arena, Program};

use crate::error::Error;
use crate::loss::Distillation;
use crate::recipe::{self, Recipe};

/// A teacher's program, and how its word counts.
pub(crate) struct Teacher {
    program: Program,
    arena: Option<([usize; 3], Arena)>,
    pub distillation: Distillation,
    /// From the student's pixels to the teacher's: a factor and a summand a channel.
    pixels: [(f32, f32); 3],
}

impl Teacher {
    /// Opens a teacher of `classes` classes for the photos of `student`.
    pub fn open(recipe: &recipe::Teacher, student: &Recipe, classes: usize) -> Result<Teacher, Error> {
        let loaded = mobilenet_net::load(&recipe.weights, &Default::default())?;
        let has = loaded.recognised.spec.classes;
        if has != classes {
            let reason = format!("the teacher has {has} classes, and the data {classes}");
            return Err(mobilenet_net::Error::format(Path::new(&recipe.weights), reason).into());
        }
        let (own, theirs) = (student.preprocessing(), loaded.recognised.preprocessing);
        let pixels = [0, 1, 2].map(|c| {
            let factor = own.std[c] / theirs.std[c];
            (factor, (own.mean[c] - theirs.mean[c]) / theirs.std[c])
        });
        let program = Program::compile(&loaded.graph, loaded.params, &Default::default())?;
        let distillation = Distillation { temperature: recipe.temperature as f32, mix: recipe.mix as f32 };
        Ok(Teacher { program, arena: None, distillation, pixels })
    }

    /// The teacher's logits for a batch.
    pub fn logits(&mut self, batch: &Batch, pool: &Arc<Pool>) -> Result<&[f32], Error> {
        let [h, w] = batch.size;
        let size = [batch.len(), h, w];
        if self.arena.as_ref().is_none_or(|(of, _)| *of != size) {
            // The old one's memory is given back first.
            self.arena = None;
            self.arena = Some((size, self.program.arena(batch.len(), h, w, pool)?));
        }
        let Some((_, arena)) = &mut self.arena else { unreachable!("made above") };
        let planes = arena.input_mut().chunks_exact_mut(h * w).zip(batch.images.chunks_exact(h * w));
        for (plane, (to, from)) in planes.enumerate() {
            let (factor, summand) = self.pixels[plane % 3];
            to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor + summand);
        }
        self.program.run(arena);
        Ok(arena.output("logits").unwrap_or_default())
    }
}
