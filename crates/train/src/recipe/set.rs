//! Single settings by their keys, for flags.

use mobilenet_net::Error;
use toml::{Table, Value};

use super::{Recipe, Teacher};

/// What switches an optional setting off.
const NONE: &str = "none";

impl Recipe {
    /// Sets the value of a key such as `lr` or `optimizer.momentum`, written as in a recipe; quotes around text and
    /// brackets around lists may be left out, and `none` switches off what is optional.
    ///
    /// Contradictions between keys are left to [`Recipe::check`], to be called when all are set.
    ///
    /// ```
    /// let mut recipe = mobilenet_train::recipe::Recipe::default();
    /// recipe.set("optimizer.kind", "adamw")?;
    /// recipe.set("augmentation.scale", "0.25,1")?;
    /// assert_eq!(recipe.augmentation.scale, [0.25, 1.0]);
    /// # Ok::<(), mobilenet_net::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Config`], naming the key; the recipe is unchanged then.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), Error> {
        let keys = Recipe::keys();
        if !keys.iter().any(|known| known == key) {
            return Err(Error::Config(unknown(key, &keys)));
        }
        if (key, value) == ("teacher.weights", NONE) {
            self.teacher = None;
            return Ok(());
        }
        self.check_bounds()?;
        let root = Table::try_from(&*self).expect("a recipe is made of what TOML has");
        let mut first = None;
        for reading in readings(value) {
            let mut changed = root.clone();
            place(&mut changed, key, reading);
            match changed.try_into::<Recipe>() {
                Ok(recipe) => {
                    recipe.check_bounds()?;
                    *self = recipe;
                    return Ok(());
                }
                Err(error) => _ = first.get_or_insert(error),
            }
        }
        let reason = first.expect("there is always a reading").message().trim_end().to_owned();
        Err(Error::Config(format!("{key} cannot be {value:?}: {reason}")))
    }

    /// The keys of all settings, in alphabetical order; those of a table have its name and a dot before them.
    pub fn keys() -> Vec<String> {
        // Optional settings appear in TOML only where they have a value.
        let mut all = Recipe {
            clip_norm: Some(1.0),
            average: Some(0.5),
            dropout: Some(0.5),
            patience: Some(1.0),
            refused: Some(0.5),
            teacher: Some(Teacher::default()),
            ..Recipe::default()
        };
        (all.optimizer.alpha, all.optimizer.beta2, all.optimizer.eps) = (Some(0.5), Some(0.5), Some(0.5));
        collect(&all).into_iter().map(|(key, _)| key).collect()
    }

    /// The value of a key, as [`Recipe::set`] takes it; `none` for what is off. No value for a key that is none.
    pub fn get(&self, key: &str) -> Option<String> {
        let known = Recipe::keys().iter().any(|known| known == key);
        known.then(|| entry(&collect(self), key))
    }

    /// The keys whose values differ, each with this recipe's value and the other's.
    pub fn differences(&self, other: &Recipe) -> Vec<(String, String, String)> {
        let [ours, theirs] = [self, other].map(collect);
        let both = Recipe::keys().into_iter().map(|key| {
            let [a, b] = [&ours, &theirs].map(|entries| entry(entries, &key));
            (key, a, b)
        });
        both.filter(|(_, a, b)| a != b).collect()
    }
}

/// Appends the keys of `table` with their values as text, `prefix` before the keys.
fn walk(prefix: &str, table: &Table, entries: &mut Vec<(String, String)>) {
    for (key, value) in table {
        let key = format!("{prefix}{key}");
        match value {
            Value::Table(inner) => walk(&format!("{key}."), inner, entries),
            Value::String(text) => entries.push((key, text.clone())),
            // Without TOML's `.0`.
            Value::Float(x) => entries.push((key, x.to_string())),
            value => entries.push((key, value.to_string())),
        }
    }
}

/// Every key with its value as text, in alphabetical order.
fn collect(recipe: &Recipe) -> Vec<(String, String)> {
    let mut entries = Vec::new();
    walk("", &Table::try_from(recipe).expect("a recipe is made of what TOML has"), &mut entries);
    entries
}

/// The value of `key` among `entries`.
fn entry(entries: &[(String, String)], key: &str) -> String {
    let found = entries.iter().find(|(known, _)| known == key);
    found.map_or(NONE.to_owned(), |(_, value)| value.clone())
}

/// What `text` may mean, the likeliest first; nothing means that the key is taken away.
fn readings(text: &str) -> Vec<Option<Value>> {
    let mut readings = vec![Some(value(text))];
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    readings.push(Some(Value::Array(items.map(value).collect())));
    readings.push(Some(Value::String(text.into())));
    if text == NONE {
        readings.push(None);
    }
    readings
}

/// `text` as TOML reads it, or else as a string.
fn value(text: &str) -> Value {
    text.parse().unwrap_or_else(|_| Value::String(text.into()))
}

/// Puts `value` at the dotted `key`, making tables on the way.
fn place(table: &mut Table, key: &str, value: Option<Value>) {
    match (key.split_once('.'), value) {
        (Some((first, rest)), value) => {
            if let Value::Table(inner) = table.entry(first).or_insert_with(|| Value::Table(Table::new())) {
                place(inner, rest, value);
            }
        }
        (None, Some(value)) => _ = table.insert(key.into(), value),
        (None, None) => _ = table.remove(key),
    }
}

/// What to say of a text that is no recipe: of a key that is none, its line and what may have been meant.
pub(super) fn explain(text: &str, error: &toml::de::Error) -> String {
    let keys = Recipe::keys();
    let misspelt = text.parse::<Table>().ok().and_then(|table| {
        let mut entries = Vec::new();
        walk("", &table, &mut entries);
        entries.into_iter().map(|(key, _)| key).find(|key| !keys.contains(key))
    });
    match (misspelt, error.span()) {
        (Some(key), Some(span)) if error.message().starts_with("unknown field") => {
            let line = text[..span.start].matches('\n').count() + 1;
            format!("line {line}: {}", unknown(&key, &keys))
        }
        _ => error.to_string().trim_end().into(),
    }
}

/// What to say of a key that is none: those that hold it or are spelt nearly so, or else the whole list.
fn unknown(key: &str, keys: &[String]) -> String {
    let last = |key: &str| key.rsplit('.').next().unwrap_or_default().to_owned();
    let asked: String = last(key).chars().take(80).collect();
    // A third may be mistyped.
    let is_close = |known: &str| strsim::damerau_levenshtein(&asked, known) * 3 <= known.len();
    let is_similar = |k: &&String| !asked.is_empty() && (k.contains(&asked) || is_close(&last(k)));
    let similar: Vec<_> = keys.iter().filter(is_similar).map(String::as_str).collect();
    match similar[..] {
        [] => format!("there is no setting {key}; there are {}", keys.join(", ")),
        _ => format!("there is no setting {key}; did you mean {}?", similar.join(" or ")),
    }
}
