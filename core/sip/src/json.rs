//! Writing JSON: the answers of commands.
//!
//! For: objects and arrays, written in order into one text.
//! Not here: reading JSON, JSON-RPC's envelope (the control plane).
//! Invariants: what is written is valid JSON, whatever the texts hold.

use std::fmt::Write;

/// An object or an array that is being written.
#[derive(Debug)]
pub struct Json<'t> {
    text: &'t mut String,
    close: char,
    empty: bool,
}

/// Writes one object.
pub fn object(write: impl FnOnce(&mut Json<'_>)) -> String {
    let mut text = String::new();
    Json::open(&mut text, '{', '}', write);
    text
}

/// Writes one array.
pub fn array(write: impl FnOnce(&mut Json<'_>)) -> String {
    let mut text = String::new();
    Json::open(&mut text, '[', ']', write);
    text
}

impl Json<'_> {
    fn open(text: &mut String, open: char, close: char, write: impl FnOnce(&mut Json<'_>)) {
        text.push(open);
        let mut json = Json { text, close, empty: true };
        write(&mut json);
        let close = json.close;
        text.push(close);
    }

    /// The next place: after a comma, and in an object after its name.
    fn place(&mut self, name: &str) {
        if !std::mem::replace(&mut self.empty, false) {
            self.text.push(',');
        }
        if self.close == '}' {
            quote(self.text, name);
            self.text.push(':');
        }
    }

    /// A text; in an array the name is left out.
    pub fn text(&mut self, name: &str, value: &str) -> &mut Self {
        self.place(name);
        quote(self.text, value);
        self
    }

    /// A number.
    pub fn number(&mut self, name: &str, value: impl Into<i128>) -> &mut Self {
        self.place(name);
        // Writing into a String does not fail.
        let _ = write!(self.text, "{}", value.into());
        self
    }

    /// A number with three places after the point.
    pub fn decimal(&mut self, name: &str, thousandths: u64) -> &mut Self {
        self.place(name);
        let _ = write!(self.text, "{}.{:03}", thousandths / 1000, thousandths % 1000);
        self
    }

    /// An object within.
    pub fn object(&mut self, name: &str, write: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.place(name);
        Json::open(self.text, '{', '}', write);
        self
    }

    /// An array within.
    pub fn array(&mut self, name: &str, write: impl FnOnce(&mut Json<'_>)) -> &mut Self {
        self.place(name);
        Json::open(self.text, '[', ']', write);
        self
    }
}

fn quote(text: &mut String, value: &str) {
    text.push('"');
    for c in value.chars() {
        match c {
            '"' | '\\' => {
                text.push('\\');
                text.push(c);
            }
            c if u32::from(c) < 0x20 => {
                let _ = write!(text, "\\u{:04x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nests_and_escapes() {
        let text = object(|json| {
            json.text("a\"", "x\\\n").number("n", 5u32).decimal("d", 1005);
            json.array("list", |json| {
                json.number("", 1u8).object("", |_| ()).text("", "ü");
            });
        });
        assert_eq!(text, r#"{"a\"":"x\\\u000a","n":5,"d":1.005,"list":[1,{},"ü"]}"#);
    }
}
