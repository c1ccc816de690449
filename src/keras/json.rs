//! JSON text as Keras writes it, which is Python's dialect: numbers may be `NaN` and `Infinity`.

use serde_json::Value;

use crate::error::clip;
use crate::{Error, Result};

/// Parses JSON text of at most `limit` bytes. The bare words `NaN`, `Infinity` and `-Infinity` become strings, which
/// [`number`] reads back.
pub(super) fn parse(format: &'static str, text: &str, limit: usize) -> Result<Value> {
    if text.len() > limit {
        return Err(Error::file(
            format,
            format!("{} bytes of JSON are more than the limit of {limit}", text.len()),
        ));
    }
    let refuse = |error: serde_json::Error| Error::file(format, format!("not valid JSON: {error}"));
    serde_json::from_str(text).or_else(|error| match quote_non_finite(text) {
        Some(quoted) => serde_json::from_str(&quoted).map_err(refuse),
        None => Err(refuse(error)),
    })
}

/// [`parse`] for bytes that should be UTF-8.
pub(super) fn parse_bytes(format: &'static str, bytes: &[u8], limit: usize) -> Result<Value> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| Error::file(format, format!("not UTF-8 text: {error}")))?;
    parse(format, text.trim_start_matches('\u{feff}'), limit)
}

/// A JSON number, or one of the words that [`parse`] turned into a string.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::String(word) => match word.as_str() {
            "NaN" => Some(f64::NAN),
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            _ => None,
        },
        value => value.as_f64(),
    }
}

/// The inverse of [`number`].
pub(super) fn from_number(x: f64) -> Value {
    match serde_json::Number::from_f64(x) {
        Some(number) => Value::Number(number),
        None if x.is_nan() => "NaN".into(),
        None if x > 0.0 => "Infinity".into(),
        None => "-Infinity".into(),
    }
}

/// A short form of a value for an error message.
pub(super) fn brief(value: &Value) -> String {
    const LONGEST: usize = 80;
    match value {
        Value::Array(items) => format!("a list of {} elements", items.len()),
        Value::Object(map) => match map.get("class_name") {
            Some(Value::String(class)) => format!("an object of class `{}`", clip(class, LONGEST)),
            _ => format!("an object of {} keys", map.len()),
        },
        value => clip(&value.to_string(), LONGEST),
    }
}

/// The text with Python's non-finite numbers as strings; `None` where it has none.
fn quote_non_finite(text: &str) -> Option<String> {
    const WORDS: [&str; 3] = ["-Infinity", "Infinity", "NaN"];
    let mut quoted = String::with_capacity(text.len() + 16);
    let (mut rest, mut found) = (text, false);
    while let Some(first) = rest.chars().next() {
        let taken = match (first, WORDS.into_iter().find(|word| rest.starts_with(word))) {
            ('"', _) => string_length(rest),
            (_, Some(word)) => {
                found = true;
                quoted.push('"');
                quoted.push_str(word);
                quoted.push('"');
                rest = &rest[word.len()..];
                continue;
            }
            _ => first.len_utf8(),
        };
        quoted.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    found.then_some(quoted)
}

/// The length in bytes of the JSON string that `text` starts with, quotes included; all of `text` where it doesn't end.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn python_numbers_are_read_outside_strings_only() {
        let text = r#"{"a": NaN, "b": [Infinity, -Infinity, -1.5], "NaN \" Infinity": "-Infinity, NaN"}"#;
        let value = parse("test", text, 1000).unwrap();
        assert_eq!(
            value,
            json!({"a": "NaN", "b": ["Infinity", "-Infinity", -1.5], "NaN \" Infinity": "-Infinity, NaN"})
        );
        assert!(number(&value["a"]).unwrap().is_nan());
        assert_eq!(number(&value["b"][1]), Some(f64::NEG_INFINITY));
        assert_eq!(from_number(f64::NEG_INFINITY), value["b"][1]);
    }

    #[test]
    fn broken_text_is_refused() {
        for text in ["", "{", "\"", "\"NaN", "[NaN", "NaN NaN", "{\"a\": nan}", "é"] {
            assert!(matches!(parse("test", text, 1000), Err(Error::File { .. })), "{text}");
        }
        assert!(parse("test", &"[".repeat(100_000), 1 << 20).is_err());
        assert!(parse("test", "[1,2,3]", 6).is_err());
        assert!(parse_bytes("test", &[b'"', 0xff, b'"'], 1000).is_err());
    }
}
