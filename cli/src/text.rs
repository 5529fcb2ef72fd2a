//! Tables and numbers for people.

use std::fmt;

/// Which end of a column's cells is flush.
#[derive(Clone, Copy)]
pub enum Side {
    Left,
    Right,
}

/// Rows of cells under a header, each column as wide as its widest cell.
pub struct Grid<const N: usize> {
    header: [&'static str; N],
    sides: [Side; N],
    rows: Vec<[String; N]>,
}

impl<const N: usize> Grid<N> {
    pub fn new(columns: [(&'static str, Side); N]) -> Grid<N> {
        Grid { header: columns.map(|c| c.0), sides: columns.map(|c| c.1), rows: Vec::new() }
    }

    pub fn row(&mut self, cells: [String; N]) {
        self.rows.push(cells);
    }
}

impl<const N: usize> fmt::Display for Grid<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = self.header.map(str::to_owned);
        let widest = |i: usize| self.rows.iter().chain([&header]).map(|r| r[i].chars().count()).max().unwrap_or(0);
        let widths: [usize; N] = std::array::from_fn(widest);
        let rule = widths.map(|w| "─".repeat(w));
        for (at, row) in [&header, &rule].into_iter().chain(&self.rows).enumerate() {
            let cells = row.iter().zip(widths).zip(self.sides).map(|((cell, width), side)| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            write!(f, "{}{}", if at == 0 { "" } else { "\n" }, line.trim_end())?;
        }
        Ok(())
    }
}

/// `1234567` as `1,234,567`.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// In millions, with two digits behind the point.
pub fn millions(number: u64) -> String {
    format!("{:.2}", number as f64 / 1e6)
}

/// `share` percent as a bar of up to ten cells, in eighths of a cell.
pub fn bar(share: f64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (share.clamp(0.0, 100.0) / 100.0 * 80.0).round() as usize;
    "█".repeat(eighths / 8) + PARTS[eighths % 8]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut grid = Grid::new([("layer", Side::Left), ("M", Side::Right), ("note", Side::Left)]);
        grid.row(["stem".into(), "10.84".into(), String::new()]);
        grid.row(["block1".into(), "1".into(), "7²".into()]);
        assert_eq!(grid.to_string(), "layer       M  note\n──────  ─────  ────\nstem    10.84\nblock1      1  7²");
    }

    #[test]
    fn thousands_are_separated() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (4_231_976, "4,231,976")] {
            assert_eq!(thousands(number), text);
        }
    }

    #[test]
    fn bars_stay_within_ten_cells() {
        for (share, cells) in [(-1.0, ""), (0.0, ""), (5.0, "▌"), (50.0, "█████"), (250.0, "██████████")]
        {
            assert_eq!(bar(share), cells);
        }
        assert_eq!(bar(f64::NAN), "");
    }
}
