//! A reader of JSON that hands out tokens and builds nothing: what the typed readers stand on.
//!
//! It is written by hand because tensors are long arrays of numbers: reading them through a general deserializer takes
//! 1.3 to 1.7 times as long (`benches/runtime.rs`), and knows less about where a fault is.

use std::borrow::Cow;

use crate::error::Error;

/// What is wrong with a body, and where.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// Byte of the body.
    pub(super) at: usize,
    /// What is wrong.
    pub(super) what: String,
}

/// Boxed, so that reading an element returns little more than the element.
pub(super) type Read<T> = Result<T, Box<Fault>>;

/// Deepest nesting of a value that is skipped.
const DEEPEST: usize = 128;

/// A body and how far it has been read.
#[derive(Debug, Clone)]
pub(super) struct Reader<'b> {
    text: &'b str,
    at: usize,
}

impl<'b> Reader<'b> {
    /// Starts at the beginning of `body`.
    pub(super) fn new(body: &'b [u8]) -> Result<Self, Error> {
        match std::str::from_utf8(body) {
            Ok(text) => Ok(Reader { text, at: 0 }),
            Err(e) => {
                Err(Error::BadRequest(format!("the body isn't UTF-8: byte {} fits no character", e.valid_up_to())))
            }
        }
    }

    /// Starts at the beginning of a part of a body.
    pub(super) fn of(text: &'b str) -> Self {
        Reader { text, at: 0 }
    }

    /// Where the next byte is.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes on at a byte that begins a character.
    #[inline]
    pub(super) fn go_to(&mut self, at: usize) {
        debug_assert!(self.text.is_char_boundary(at));
        self.at = at;
    }

    /// The whole text.
    pub(super) fn text(&self) -> &'b str {
        self.text
    }

    /// The next byte that isn't white space, which stays.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Takes `byte` if it is next.
    #[inline]
    pub(super) fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// A fault at the next byte.
    #[cold]
    pub(super) fn fault<T>(&self, what: impl Into<String>) -> Read<T> {
        self.fault_at(self.at, what)
    }

    /// A fault at a byte before.
    #[cold]
    pub(super) fn fault_at<T>(&self, at: usize, what: impl Into<String>) -> Read<T> {
        Err(Box::new(Fault { at, what: what.into() }))
    }

    /// A fault that says what was expected instead of what is next.
    #[cold]
    pub(super) fn expected<T>(&mut self, what: &str) -> Read<T> {
        match self.peek() {
            None => self.fault(format!("the JSON ends where {what} is expected")),
            Some(_) => {
                let next = self.text[self.at..].chars().next().unwrap_or(' ');
                self.fault(format!("{what} is expected and `{}` came", next.escape_debug()))
            }
        }
    }

    /// Line and column of a byte, both from 1, the column in characters.
    pub(super) fn place(&self, at: usize) -> String {
        let before = self.text.get(..at).unwrap_or(self.text);
        let line = before.bytes().filter(|&b| b == b'\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        format!("line {line}, column {column}")
    }

    /// The next property's name of an object whose `{` is taken; `None` once its `}` is. `first` is true before the
    /// first, and false after.
    pub(super) fn property(&mut self, first: &mut bool) -> Read<Option<Cow<'b, str>>> {
        if self.take(b'}') {
            return Ok(None);
        }
        if !std::mem::take(first) && !self.take(b',') {
            return self.expected("`,` or `}`");
        }
        if self.peek() != Some(b'"') {
            return self.expected("a property's name in double quotes");
        }
        let name = self.string()?;
        if !self.take(b':') {
            return self.expected("`:`");
        }
        Ok(Some(name))
    }

    /// Nothing but white space may be left.
    pub(super) fn end(&mut self) -> Read<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.expected("the end of the body"),
        }
    }

    /// Takes the literal `word` if it is next.
    pub(super) fn literal(&mut self, word: &str) -> bool {
        self.peek();
        let there = self.text.as_bytes()[self.at..].starts_with(word.as_bytes());
        self.at += if there { word.len() } else { 0 };
        there
    }

    /// A string whose `"` is next.
    pub(super) fn string(&mut self) -> Read<Cow<'b, str>> {
        self.peek();
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        while let Some(&byte) = bytes.get(at) {
            match byte {
                b'"' => {
                    self.at = at + 1;
                    return Ok(Cow::Borrowed(&self.text[start..at]));
                }
                b'\\' => return self.escaped_string(start, at),
                0..0x20 => return self.fault_at(at, "a control character stands in a string: it has to be escaped"),
                _ => at += 1,
            }
        }
        self.fault_at(start - 1, "a string doesn't end")
    }

    /// The rest of a string, of which `start..at` needs no unescaping.
    fn escaped_string(&mut self, start: usize, mut at: usize) -> Read<Cow<'b, str>> {
        let bytes = self.text.as_bytes();
        let mut out = String::from(&self.text[start..at]);
        loop {
            let run = at;
            while bytes.get(at).is_some_and(|&b| b != b'"' && b != b'\\' && b >= 0x20) {
                at += 1;
            }
            out.push_str(&self.text[run..at]);
            match bytes.get(at) {
                Some(b'"') => {
                    self.at = at + 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => at = self.escape(at, &mut out)?,
                Some(_) => return self.fault_at(at, "a control character stands in a string: it has to be escaped"),
                None => return self.fault_at(start - 1, "a string doesn't end"),
            }
        }
    }

    /// Unescapes what begins with the `\` at `at`; gives where it ends.
    fn escape(&self, at: usize, out: &mut String) -> Read<usize> {
        let wrong = || self.fault_at(at, "a string holds an escape that JSON doesn't have");
        let plain = match self.text.as_bytes().get(at + 1) {
            Some(&c @ (b'"' | b'\\' | b'/')) => char::from(c),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                let Some(high) = self.hex(at + 2) else { return wrong() };
                let (code, end) = match high {
                    0xd800..0xdc00 if self.text.as_bytes().get(at + 6..at + 8) == Some(b"\\u") => {
                        match self.hex(at + 8) {
                            Some(low @ 0xdc00..0xe000) => (0x10000 + ((high - 0xd800) << 10) + (low - 0xdc00), at + 12),
                            _ => return self.fault_at(at, "a string holds half of a surrogate pair"),
                        }
                    }
                    _ => (high, at + 6),
                };
                return match char::from_u32(code) {
                    Some(c) => {
                        out.push(c);
                        Ok(end)
                    }
                    None => self.fault_at(at, "a string holds half of a surrogate pair"),
                };
            }
            _ => return wrong(),
        };
        out.push(plain);
        Ok(at + 2)
    }

    fn hex(&self, at: usize) -> Option<u32> {
        let digits = self.text.as_bytes().get(at..at + 4)?;
        digits.iter().try_fold(0, |code, &digit| Some(code * 16 + char::from(digit).to_digit(16)?))
    }

    /// Skips one value of any kind, and gives its text.
    pub(super) fn skip(&mut self) -> Read<&'b str> {
        self.peek();
        let start = self.at;
        // The closing brackets that are due.
        let mut due: Vec<u8> = Vec::new();
        loop {
            match self.peek() {
                Some(open @ (b'[' | b'{')) => {
                    if due.len() == DEEPEST {
                        return self.fault(format!("arrays and objects are nested more than {DEEPEST} deep"));
                    }
                    self.at += 1;
                    let close = open + 2;
                    if !self.take(close) {
                        due.push(close);
                        if close == b'}' {
                            self.property(&mut true)?;
                        }
                        continue;
                    }
                }
                Some(b'"') => drop(self.string()?),
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                _ if ["true", "false", "null"].iter().any(|word| self.literal(word)) => {}
                _ => return self.expected("a value"),
            }
            // A value is over; so may be what it stands in.
            loop {
                match due.last() {
                    None => return Ok(&self.text[start..self.at]),
                    Some(&close) if self.take(close) => drop(due.pop()),
                    Some(b'}') => {
                        self.property(&mut false)?;
                        break;
                    }
                    Some(_) if self.take(b',') => break,
                    Some(_) => return self.expected("`,` or `]`"),
                }
            }
        }
    }
}
