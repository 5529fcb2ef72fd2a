//! Numbers as people read them.

use std::time::Duration;

/// A share of 1 in percent; a dash where there is none.
pub fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "–".into(), |share| format!("{:.1} %", 100.0 * share))
}

/// A count, short: 241,955 is 242 k.
pub fn count(number: u64) -> String {
    let units = [(1e9, "G"), (1e6, "M"), (1e3, "k")];
    let Some((size, unit)) = units.into_iter().find(|(size, _)| number as f64 >= *size) else {
        return number.to_string();
    };
    let value = number as f64 / size;
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

/// `one` thing, or so many `others`.
pub fn counted(number: usize, one: &str, others: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {others}") }
}

/// Milliseconds with three digits.
pub fn milliseconds(value: f64) -> String {
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} ms")
}

/// Whole seconds, as 1h 2m 3s.
pub fn duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_have_their_units() {
        assert_eq!([percent(Some(0.8754)), percent(None)], ["87.5 %", "–"]);
        assert_eq!([7, 1_500, 241_955, 3_504_872, 300_774_272].map(count), ["7", "1.50 k", "242 k", "3.50 M", "301 M"]);
        assert_eq!([1.234, 12.34, 123.4].map(milliseconds), ["1.23 ms", "12.3 ms", "123 ms"]);
        assert_eq!([0.4, 3723.2, f64::NAN, -1.0].map(duration), ["0s", "1h 2m 3s", "0s", "0s"]);
        assert_eq!([counted(1, "class", "classes"), counted(0, "class", "classes")], ["1 class", "0 classes"]);
    }
}
