//! TensorBoard's event files: a run's figures as scalars by its global step, steps thinned out.

use std::time::{SystemTime, UNIX_EPOCH};

use super::records::{scalars, start, version};
use super::{Event, Format, Thinned};
use crate::evaluate::Evaluation;
use crate::trainer::Origin;

/// The file's name, which TensorBoard knows by its beginning and sorts by the second in it. What stands for the host there
/// tells apart runs that begin in the same second.
pub fn name() -> String {
    format!("events.out.tfevents.{:010.0}.mobilenet.{}", now().floor(), std::process::id())
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

#[derive(Default)]
pub struct TensorBoard {
    steps: Thinned,
    steps_per_epoch: u64,
}

impl TensorBoard {
    /// Steps that lie behind an epoch, counted from the run's beginning.
    fn steps(&self, epoch: f64) -> i64 {
        (epoch * self.steps_per_epoch as f64).round() as i64
    }
}

impl Format for TensorBoard {
    fn beginning(&self) -> Vec<u8> {
        version(now())
    }

    fn event(&mut self, event: &Event) -> Vec<u8> {
        match event {
            Event::Start(plan) => {
                self.steps_per_epoch = plan.steps_per_epoch;
                let made = if let Origin::Checkpoint { epoch, .. } = plan.weights { self.steps(epoch) } else { 0 };
                start(now(), made + 1)
            }
            Event::Step { epoch, loss, top1, lr, images_per_second, .. } if self.steps.picks() => scalars(
                now(),
                self.steps(*epoch) + 1,
                &[
                    ("loss/step", Some(*loss)),
                    ("top1/step", Some(*top1)),
                    ("lr", Some(*lr)),
                    ("images_per_second", Some(*images_per_second)),
                ],
            ),
            Event::Epoch { epoch, training_loss, training_top1, validation, .. } => {
                let Evaluation { top1, top5, mean_average_precision, loss, .. } = validation.unwrap_or_default();
                let figures = [
                    ("epoch", Some(*epoch)),
                    ("loss/training", *training_loss),
                    ("loss/validation", validation.map(|_| loss)),
                    ("top1/training", *training_top1),
                    ("top1/validation", top1),
                    ("top5/validation", top5),
                    ("mean_average_precision/validation", mean_average_precision),
                ];
                scalars(now(), self.steps(*epoch), &figures)
            }
            _ => Vec::new(),
        }
    }
}
