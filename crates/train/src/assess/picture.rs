//! A confusion matrix as a picture (SVG).
//!
//! A row is a class, a column what was answered: the colour is the share of the row's photos, the number how many they
//! are. Of more classes than fit with names and numbers, only the colours are drawn; a pointer over a place shows the rest.

use std::fmt::Write as _;

use mobilenet_run::picture::escaped;

use super::{Cell, Confusion};

/// Most classes with names and numbers.
const MAX_NAMED: usize = 50;

/// Pixels of a place with a number in it, and the longest side of a matrix without.
const PLACE: f64 = 28.0;
const LONGEST: f64 = 1000.0;

/// Pixels around all, above the matrix for the title, a letter's width on average and in the title, and between a name and the
/// matrix.
const MARGIN: f64 = 24.0;
const HEADING: f64 = 64.0;
const LETTER: f64 = 6.6;
const LARGE_LETTER: f64 = 10.0;
const GAP: f64 = 8.0;

/// Pixels of the heading's second line.
const LEAST: f64 = 500.0;

/// Letters of a name that are drawn.
const MAX_LETTERS: usize = 28;

/// Shares from which a number is drawn light on dark.
const DARK: f64 = 0.5;

impl Confusion {
    /// The picture, with `title` above it. `names` are the classes' names.
    ///
    /// # Panics
    /// Where there is not a name for each class.
    pub fn svg(&self, names: &[String], title: &str) -> String {
        assert_eq!(names.len(), self.classes(), "every class needs a name");
        let mut picture = Picture::new(self, names);
        picture.heading(title);
        if picture.is_named {
            picture.names();
        }
        self.cells().for_each(|cell| picture.place(cell));
        picture.frame();
        picture.finish(title)
    }
}

struct Picture<'a> {
    text: String,
    names: &'a [String],
    row_sums: Vec<usize>,
    is_named: bool,
    /// Pixels of a place.
    place: f64,
    /// Where the matrix begins, and how long its sides are.
    left: f64,
    top: f64,
    side: f64,
}

impl Picture<'_> {
    fn new<'a>(confusion: &Confusion, names: &'a [String]) -> Picture<'a> {
        let classes = names.len();
        let is_named = classes <= MAX_NAMED;
        let place = if is_named { PLACE } else { LONGEST / classes as f64 };
        let letters = names.iter().map(|name| name.chars().count().min(MAX_LETTERS)).max().unwrap_or(0);
        let beside = if is_named { letters as f64 * LETTER + GAP } else { 0.0 };
        Picture {
            text: String::new(),
            names,
            row_sums: confusion.row_sums(),
            is_named,
            place,
            left: MARGIN + beside,
            top: HEADING + beside,
            side: place * classes as f64,
        }
    }

    fn line(&mut self, line: std::fmt::Arguments) {
        // Writing into a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    fn heading(&mut self, title: &str) {
        let title = escaped(title);
        self.line(format_args!("<text x=\"{MARGIN}\" y=\"30\" font-size=\"16\" font-weight=\"bold\">{title}</text>"));
        let what = "rows: what photos show; columns: what was answered; colour: share of the row";
        self.line(format_args!("<text x=\"{MARGIN}\" y=\"50\">{what}</text>"));
    }

    /// Around the matrix.
    fn frame(&mut self) {
        let Picture { left, top, side, .. } = *self;
        self.line(format_args!(
            "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{side:.1}\" height=\"{side:.1}\" fill=\"none\" stroke=\"#bbb\"/>"
        ));
    }

    /// Names before the rows and, turned, above the columns.
    fn names(&mut self) {
        for (class, name) in self.names.iter().enumerate() {
            let name = escaped(&shortened(name));
            let middle = (class as f64 + 0.5) * self.place + 4.0;
            let (x, y) = (self.left - GAP, self.top + middle);
            self.line(format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"end\">{name}</text>"));
            let (x, y) = (self.left + middle, self.top - GAP);
            self.line(format_args!("<text transform=\"translate({x:.1} {y:.1}) rotate(-90)\">{name}</text>"));
        }
    }

    fn place(&mut self, cell: Cell) {
        let Cell { class, answered, photos } = cell;
        let share = photos as f64 / self.row_sums[class] as f64;
        let color = colorous::BLUES.eval_continuous(share);
        let (x, y) = (self.left + answered as f64 * self.place, self.top + class as f64 * self.place);
        let side = self.place;
        let told = format!(
            "{photos} of {} {} → {}: {:.1} %",
            self.row_sums[class],
            self.names[class],
            self.names[answered],
            share * 100.0
        );
        let told = escaped(&told);
        self.line(format_args!(
            "<g><title>{told}</title><rect x=\"{x:.2}\" y=\"{y:.2}\" width=\"{side:.2}\" height=\"{side:.2}\" \
             fill=\"#{color:x}\"/>"
        ));
        if self.is_named {
            let ink = if share > DARK { "#fff" } else { "#222" };
            let (x, y) = (x + side / 2.0, y + side / 2.0 + 4.0);
            self.line(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\" fill=\"{ink}\">{photos}</text>"
            ));
        }
        self.line(format_args!("</g>"));
    }

    fn finish(self, title: &str) -> String {
        // As wide as the heading at least, whose letters are larger.
        let heading = (title.chars().count() as f64 * LARGE_LETTER).max(LEAST) + 2.0 * MARGIN;
        let (width, height) = ((self.left + self.side + MARGIN).max(heading), self.top + self.side + MARGIN);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
             viewBox=\"0 0 {width:.0} {height:.0}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" \
             fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n{}</svg>\n",
            self.text
        )
    }
}

/// A name that fits, with an ellipsis where it was cut.
fn shortened(name: &str) -> String {
    if name.chars().count() <= MAX_LETTERS {
        return name.to_owned();
    }
    name.chars().take(MAX_LETTERS - 1).chain(['…']).collect()
}
