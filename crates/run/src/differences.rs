//! What two descriptions of a network say otherwise.

use std::fmt;

use mobilenet_net::Recognised;
use mobilenet_net::preprocessing::Preprocessing;

/// A point on which two descriptions differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// What it is about: `mean`, `padding`, …
    pub what: &'static str,
    /// The first one's word.
    pub first: String,
    /// The second one's.
    pub second: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} against {}", self.what, self.first, self.second)
    }
}

/// Everything that changes a result, weights aside.
pub fn between(a: &Recognised, b: &Recognised) -> Vec<Difference> {
    let mut found = Differences(Vec::new());
    found.compare("network", &a.table.name, &b.table.name);
    found.compare("width", a.spec.width, b.spec.width);
    found.compare("classes", a.spec.classes, b.spec.classes);
    found.compare("padding", a.spec.padding, b.spec.padding);
    found.compare("batch-norm epsilon", a.spec.bn_epsilon, b.spec.bn_epsilon);
    found.compare("total stride", a.spec.total_stride, b.spec.total_stride);
    found.compare("output stride", a.spec.output_stride, b.spec.output_stride);
    let activation = |r: &Recognised| r.spec.activation.map_or("the table's".to_owned(), |a| a.to_string());
    found.compare("activation", activation(a), activation(b));
    if a.table.name == b.table.name && a.table.rows != b.table.rows {
        let rows = a.table.rows.iter().zip(&b.table.rows);
        let row = rows.take_while(|(a, b)| a == b).count() + 1;
        found.0.push(Difference { what: "table", first: format!("its row {row}"), second: "another".into() });
    }
    found.compare("outputs", a.outputs, b.outputs);
    found.preprocessing(&a.preprocessing, &b.preprocessing);
    if let (Some(a), Some(b)) = (&a.labels, &b.labels) {
        found.labels(a, b);
    }
    found.0
}

struct Differences(Vec<Difference>);

impl Differences {
    fn compare(&mut self, what: &'static str, first: impl fmt::Display, second: impl fmt::Display) {
        let (first, second) = (first.to_string(), second.to_string());
        if first != second {
            self.0.push(Difference { what, first, second });
        }
    }

    fn preprocessing(&mut self, a: &Preprocessing, b: &Preprocessing) {
        let list = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(", ");
        let size = |p: &Preprocessing| format!("{}×{}", p.size[0], p.size[1]);
        self.compare("mean", list(&a.mean), list(&b.mean));
        self.compare("deviation", list(&a.std), list(&b.std));
        self.compare("input size", size(a), size(b));
        self.compare("resize", a.resize, b.resize);
        self.compare("filter", a.filter, b.filter);
        self.compare("channel order", a.channel_order, b.channel_order);
        self.compare("background class", a.background_class, b.background_class);
    }

    /// The first output that is called otherwise, and by how many places all names moved.
    fn labels(&mut self, a: &[String], b: &[String]) {
        let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else { return };
        let called = |names: &[String]| format!("output {at} is {:?}", names[at]);
        let moved = shift(a, b).map_or(String::new(), |by| format!(" (all names are shifted by {by})"));
        self.compare("labels", called(a), called(b) + &moved);
    }
}

/// By how many places, one to either side, the names of `a` stand elsewhere in `b`.
fn shift(a: &[String], b: &[String]) -> Option<isize> {
    let stands = |i: usize, by: isize| i.checked_add_signed(by).and_then(|to| b.get(to)).is_none_or(|b| *b == a[i]);
    [1, -1].into_iter().find(|&by| a.len() > 2 && (0..a.len()).all(|i| stands(i, by)))
}
