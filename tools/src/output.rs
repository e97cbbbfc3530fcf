//! Standard output: lines for people, or one JSON object per line for programs.

use std::io::{self, BufWriter, Stdout, Write};

use base64::Engine;
use serde_json::{Map, Value};

/// Standard output with a buffer.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self { stdout: BufWriter::with_capacity(64 << 10, io::stdout()) }
    }

    /// Writes a line of text.
    pub(crate) fn line(&mut self, text: &str) -> io::Result<()> {
        self.stdout.write_all(text.as_bytes())?;
        self.stdout.write_all(b"\n")
    }

    /// Writes a JSON object on a line of its own.
    pub(crate) fn json(&mut self, object: Map<String, Value>) -> io::Result<()> {
        self.line(&Value::Object(object).to_string())
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stdout.write_all(bytes)
    }

    /// Hands on what the buffer holds.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.stdout.flush()
    }
}

/// Writes a line to standard error; nobody is left to tell if that fails.
pub(crate) fn tell(line: &str) {
    writeln!(io::stderr(), "{line}").unwrap_or_default();
}

/// Puts bytes into an object: as text, and if they are no UTF-8 exactly in `<key>_base64` too.
pub(crate) fn put_bytes(object: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    object.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        let exact = base64::engine::general_purpose::STANDARD.encode(bytes);
        object.insert(format!("{key}_base64"), exact.into());
    }
}

/// Makes an object of keys and values.
pub(crate) fn object<const N: usize>(members: [(&str, Value); N]) -> Map<String, Value> {
    members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn a_name_that_is_not_utf_8_is_there_exactly_too() {
        let mut made = object([("kind", "file".into())]);
        put_bytes(&mut made, "name", b"caf\xe9");
        put_bytes(&mut made, "path", b"plain");
        assert_eq!(
            Value::Object(made).to_string(),
            "{\"kind\":\"file\",\"name\":\"caf\u{fffd}\",\"name_base64\":\"Y2Fm6Q==\",\"path\":\"plain\"}"
        );
    }
}
