//! `log.csv`: an epoch a line, for spreadsheets and plots. Its columns are the same in every run; what a run has no figure
//! for is empty.

use csv::{Terminator, WriterBuilder};
use serde::Serialize;

use super::{Event, Format};
use crate::evaluate::Evaluation;

#[derive(Default)]
pub struct Table {
    /// The last step's rate, and images a second.
    step: Option<[f64; 2]>,
}

/// The columns.
#[derive(Serialize)]
struct Row {
    epoch: f64,
    training_loss: Option<f64>,
    training_top1: Option<f64>,
    validation_loss: Option<f64>,
    validation_top1: Option<f64>,
    validation_top5: Option<f64>,
    validation_mean_average_precision: Option<f64>,
    lr: Option<f64>,
    images_per_second: Option<f64>,
    seconds: f64,
}

/// The names of [`Row`]'s columns.
const HEADER: &str = "epoch,training_loss,training_top1,validation_loss,validation_top1,validation_top5,\
validation_mean_average_precision,lr,images_per_second,seconds\n";

impl Format for Table {
    fn beginning(&self) -> Vec<u8> {
        HEADER.into()
    }

    fn event(&mut self, event: &Event) -> Vec<u8> {
        match event {
            Event::Step { lr, images_per_second, .. } => {
                self.step = Some([*lr, *images_per_second]);
                Vec::new()
            }
            Event::Epoch { epoch, training_loss, training_top1, validation, seconds } => {
                let Evaluation { top1, top5, mean_average_precision, loss, .. } = validation.unwrap_or_default();
                line(&Row {
                    epoch: *epoch,
                    training_loss: *training_loss,
                    training_top1: *training_top1,
                    validation_loss: validation.map(|_| loss),
                    validation_top1: top1,
                    validation_top5: top5,
                    validation_mean_average_precision: mean_average_precision,
                    lr: self.step.map(|[lr, _]| lr),
                    images_per_second: self.step.map(|[_, speed]| speed),
                    seconds: *seconds,
                })
            }
            _ => Vec::new(),
        }
    }
}

fn line(row: &Row) -> Vec<u8> {
    let mut writer = WriterBuilder::new().has_headers(false).terminator(Terminator::Any(b'\n')).from_writer(Vec::new());
    writer.serialize(row).and_then(|()| Ok(writer.flush()?)).expect("numbers are CSV, and memory takes them");
    writer.into_inner().expect("it is flushed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_names_the_columns_of_a_row() {
        let row = Row {
            epoch: 1.0,
            training_loss: None,
            training_top1: None,
            validation_loss: None,
            validation_top1: None,
            validation_top5: None,
            validation_mean_average_precision: None,
            lr: None,
            images_per_second: None,
            seconds: 2.5,
        };
        let mut writer = csv::Writer::from_writer(Vec::new());
        writer.serialize(row).unwrap();
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        assert_eq!(text, format!("{HEADER}1.0,,,,,,,,,2.5\n"));
    }
}
