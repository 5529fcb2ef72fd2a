//! `log.jsonl`: every event as a JSON object a line, steps thinned out.

use super::{Event, Format, Thinned};

/// Steps at a run's beginning that have a line each: what goes wrong shows there first.
const FIRST: u64 = 20;

pub struct JsonLines {
    steps: Thinned,
}

impl Default for JsonLines {
    fn default() -> JsonLines {
        JsonLines { steps: Thinned { first: FIRST, ..Thinned::default() } }
    }
}

impl Format for JsonLines {
    fn beginning(&self) -> Vec<u8> {
        Vec::new()
    }

    fn event(&mut self, event: &Event) -> Vec<u8> {
        let is_passed_over = match event {
            Event::Step { .. } => !self.steps.picks(),
            Event::Features { .. } => true,
            _ => false,
        };
        if is_passed_over {
            return Vec::new();
        }
        let mut line = serde_json::to_vec(event).expect("numbers and names are JSON");
        line.push(b'\n');
        line
    }
}
