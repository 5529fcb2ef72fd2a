//! Comma-separated values: RFC 4180, with LF or CRLF and an optional byte order mark.

/// A line's number, counted from 1, and its fields.
pub(crate) type Record = (usize, Vec<String>);

/// A file's records. Empty lines are left out.
///
/// # Errors
/// The line number and what is wrong with it: a quote that is never closed, or text beside a quoted field.
pub(crate) fn parse(text: &str) -> Result<Vec<Record>, (usize, &'static str)> {
    let mut records = Vec::new();
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut line = 1;
    while !rest.is_empty() {
        let (fields, after) = record(rest).map_err(|reason| (line, reason))?;
        let used = &rest[..rest.len() - after.len()];
        if !(fields.len() == 1 && fields[0].is_empty()) {
            records.push((line, fields));
        }
        line += used.matches('\n').count();
        rest = after;
    }
    Ok(records)
}

/// The fields of the first record, and what follows its line end.
fn record(mut rest: &str) -> Result<(Vec<String>, &str), &'static str> {
    let mut fields = Vec::new();
    loop {
        let (field, after) = if let Some(quoted) = rest.strip_prefix('"') { unquote(quoted)? } else { plain(rest) };
        fields.push(field);
        if let Some(next) = after.strip_prefix(',') {
            rest = next;
        } else if let Some(next) = after.strip_prefix('\n').or_else(|| after.strip_prefix("\r\n")) {
            return Ok((fields, next));
        } else if after.is_empty() || after == "\r" {
            return Ok((fields, ""));
        } else {
            return Err("text follows a closing quote");
        }
    }
}

fn plain(rest: &str) -> (String, &str) {
    let end = rest.find([',', '\n']).unwrap_or(rest.len());
    // A carriage return is part of the line end, not of the field.
    let end = if !rest[end..].starts_with(',') && rest[..end].ends_with('\r') { end - 1 } else { end };
    (rest[..end].to_owned(), &rest[end..])
}

/// A field after its opening quote; two quotes inside stand for one.
fn unquote(mut rest: &str) -> Result<(String, &str), &'static str> {
    let mut field = String::new();
    loop {
        let end = rest.find('"').ok_or("a quote is opened and never closed")?;
        field.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('"') {
            Some(after) => {
                field.push('"');
                rest = after;
            }
            None => return Ok((field, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn quotes_protect_commas_quotes_and_line_ends() {
        let records = parse("\u{feff}a,\"b, \"\"c\"\"\"\r\n\r\n\"x\ny\",\n1,2").unwrap();
        let expected: [(usize, &[&str]); 3] = [(1, &["a", "b, \"c\""]), (3, &["x\ny", ""]), (5, &["1", "2"])];
        assert_eq!(records.len(), 3);
        for (found, expected) in records.iter().zip(expected) {
            assert_eq!(
                (found.0, found.1.iter().map(String::as_str).collect::<Vec<_>>()),
                (expected.0, expected.1.into())
            );
        }
    }

    #[test]
    fn errors_name_the_line() {
        assert_eq!(parse("a\n\"b"), Err((2, "a quote is opened and never closed")));
        assert_eq!(parse("a\n\n\"b\"c"), Err((3, "text follows a closing quote")));
    }

    proptest! {
        #[test]
        fn any_fields_survive_quoting(fields in prop::collection::vec("[a\",\n\r ü]{0,6}", 2..5)) {
            let line: Vec<String> = fields.iter().map(|f| format!("\"{}\"", f.replace('"', "\"\""))).collect();
            prop_assert_eq!(parse(&line.join(",")).unwrap(), [(1, fields)]);
        }

        #[test]
        fn no_text_makes_it_panic(text in "[a\",\n\r\u{feff}]{0,20}") {
            let _ = parse(&text);
        }
    }
}
