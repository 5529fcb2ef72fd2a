//! A network to learn from.

use std::path::Path;
use std::sync::Arc;

use mobilenet_data::Batch;
use mobilenet_kernels::{Isa, Pool};
use mobilenet_net::recognise::Outputs;
use mobilenet_run::program::Options;
use mobilenet_run::{Arena, Program};

use crate::error::Error;
use crate::kept::Kept;
use crate::loss::Distillation;
use crate::recipe::{self, Recipe};

/// A teacher's program, and how its word counts.
pub(crate) struct Teacher {
    program: Program,
    arena: Kept<Arena>,
    pub distillation: Distillation,
    /// From the student's pixels to the teacher's, a channel each.
    pixels: [Plane; 3],
    /// The teacher's place of each class, where it has an order of its own.
    order: Option<Vec<usize>>,
    /// Logits in the student's order.
    logits: Vec<f32>,
}

/// How a channel of the teacher's input follows from the student's.
struct Plane {
    /// The student's channel.
    from: usize,
    factor: f32,
    summand: f32,
}

impl Teacher {
    /// Opens a teacher of `classes` for the photos of `student`. Classes that the teacher's file names may stand in another
    /// order there.
    pub fn open(recipe: &recipe::Teacher, student: &Recipe, classes: &[String], isa: Isa) -> Result<Teacher, Error> {
        let loaded = mobilenet_net::load(&recipe.weights, &Default::default())?;
        loaded.expect_classifier(Path::new(&recipe.weights))?;
        let mobilenet_net::Loaded { recognised, graph, params } = loaded;
        let refuse = |reason: String| Err(mobilenet_net::Error::format(Path::new(&recipe.weights), reason).into());
        let (has, count) = (recognised.spec.classes, classes.len());
        if has != count {
            return refuse(format!("the teacher has {has} classes, and the data {count}"));
        }
        if recognised.outputs == Outputs::Independent {
            return refuse(
                "the teacher's outputs are independent of each other, where a student needs one class".into(),
            );
        }
        let order = match &recognised.labels {
            None => None,
            Some(labels) => {
                let place = |class: &String| labels.iter().position(|label| label == class);
                if let Some(class) = classes.iter().find(|class| place(class).is_none()) {
                    return refuse(format!("the teacher does not know the class {class:?}"));
                }
                Some(classes.iter().filter_map(place).collect::<Vec<_>>()).filter(|order| !order.is_sorted())
            }
        };
        let (own, theirs) = (student.preprocessing(), recognised.preprocessing);
        let channel = own.channel_order.colors();
        let pixels = theirs.channel_order.colors().map(|c| Plane {
            from: channel[c],
            factor: own.std[c] / theirs.std[c],
            summand: (own.mean[c] - theirs.mean[c]) / theirs.std[c],
        });
        let program = Program::compile(&graph, params, &Options { isa, ..Options::default() })?;
        let distillation = Distillation { temperature: recipe.temperature as f32, mix: recipe.mix as f32 };
        Ok(Teacher { program, arena: Kept::none(), distillation, pixels, order, logits: Vec::new() })
    }

    /// The teacher's logits for a batch.
    pub fn logits(&mut self, batch: &Batch, pool: &Arc<Pool>) -> Result<&[f32], Error> {
        let [h, w] = batch.size;
        let arena = self.arena.of([batch.len(), h, w], |[n, h, w]| self.program.arena(n, h, w, pool))?;
        let images = arena.input_mut().chunks_exact_mut(3 * h * w).zip(batch.images.chunks_exact(3 * h * w));
        for (to, photo) in images {
            for (to, Plane { from, factor, summand }) in to.chunks_exact_mut(h * w).zip(&self.pixels) {
                let from = &photo[from * h * w..][..h * w];
                to.iter_mut().zip(from).for_each(|(to, from)| *to = from * factor + summand);
            }
        }
        self.program.run(arena);
        let logits = arena.output("logits").unwrap_or_default();
        let Some(order) = &self.order else { return Ok(logits) };
        self.logits.clear();
        for row in logits.chunks_exact(order.len()) {
            self.logits.extend(order.iter().map(|&place| row[place]));
        }
        Ok(&self.logits)
    }
}

#[cfg(test)]
mod tests {
    use mobilenet_net::arch::{self, Spec};
    use mobilenet_net::{Recognised, init, model_file};

    use super::*;

    #[test]
    fn a_teachers_classes_are_found_by_their_names() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("teacher.safetensors");
        let (table, spec) = (arch::find("mobilenet_v2").unwrap(), Spec { width: 0.25, classes: 3, ..Spec::default() });
        let names = |names: [&str; 3]| names.map(String::from);
        let student = Recipe { resolution: 32, ..Recipe::default() };
        let graph = table.graph(&spec).unwrap();
        let what = Recognised {
            labels: Some(names(["red", "green", "blue"]).into()),
            ..Recognised::ours(table, spec, student.preprocessing())
        };
        model_file::save(&path, init::random(&graph, 1), &graph, &what, Default::default()).unwrap();

        let recipe = recipe::Teacher { weights: path.to_string_lossy().into(), ..Default::default() };
        let batch = Batch {
            images: vec![0.5; 3 * 32 * 32],
            size: [32; 2],
            targets: vec![mobilenet_data::Target::Class(0)],
            ..Default::default()
        };
        let pool = Arc::new(Pool::new(1));
        let open = |classes: [&str; 3]| Teacher::open(&recipe, &student, &names(classes), Isa::detect());
        let logits = |classes| open(classes).unwrap().logits(&batch, &pool).unwrap().to_vec();
        let [red, green, blue] = logits(["red", "green", "blue"])[..] else { panic!("three logits") };
        assert_eq!(logits(["blue", "red", "green"]), [blue, red, green]);
        let error = open(["blue", "red", "grey"]).err().unwrap().to_string();
        assert!(error.ends_with("the teacher does not know the class \"grey\""), "{error}");
    }
}
