//! Protobuf's text format → a tree that knows the place of each of its parts.
//!
//! A list `[a, b]` means the same as the field given twice, and comes out so. What the fields are called and what they
//! hold is not known here.

use std::fmt;

/// Largest text that is read, bytes.
pub const LARGEST: usize = 1 << 20;
/// How deep messages may nest.
const DEEPEST: usize = 32;
/// Most fields, each element of a list counted.
const MOST_FIELDS: usize = 100_000;

/// A place in a text. Both count from 1; columns count bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong in a text, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {}, column {}: {message}", place.line, place.column)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What should be otherwise.
    pub message: String,
}

impl Fault {
    pub(super) fn at(place: Place, message: impl Into<String>) -> Self {
        Fault { place, message: message.into() }
    }
}

/// A message's fields in the order of the text.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Message {
    /// One for each value: a list of three makes three.
    pub(super) fields: Vec<Field>,
}

/// A field and one value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Field {
    /// Its name.
    pub(super) name: String,
    /// Where the value begins.
    pub(super) place: Place,
    /// The value.
    pub(super) value: Value,
}

/// What a field holds.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    /// A quoted text.
    Text(String),
    /// A number, a truth value or the name of an enum's member, as it is written.
    Word(String),
    /// A message.
    Message(Message),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => write!(f, "\"{}\"", text.escape_default()),
            Value::Word(word) => f.write_str(word),
            Value::Message(_) => f.write_str("a message"),
        }
    }
}

/// Reads a text.
///
/// # Errors
/// The first place at which it is not protobuf's text format, or more than a config ever has.
pub(super) fn read(text: &str) -> Result<Message, Fault> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, line: 1, line_start: 0, fields: 0 };
    if text.len() > LARGEST {
        return Err(Fault::at(reader.place(), format!("more than {LARGEST} bytes: that is no config")));
    }
    reader.message(None, 0)
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    line_start: usize,
    fields: usize,
}

impl Reader<'_> {
    fn place(&self) -> Place {
        Place { line: self.line, column: self.at - self.line_start + 1 }
    }

    fn fault<T>(&self, message: impl Into<String>) -> Result<T, Fault> {
        Err(Fault::at(self.place(), message))
    }

    /// Skips white space and comments; the next byte, `None` at the end.
    fn peek(&mut self) -> Option<u8> {
        let mut comment = false;
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b'\n' => {
                    comment = false;
                    self.line += 1;
                    self.line_start = self.at + 1;
                }
                b'#' => comment = true,
                _ if comment || byte.is_ascii_whitespace() || byte == 0x0b => {}
                _ => return Some(byte),
            }
            self.at += 1;
        }
        None
    }

    fn take(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// What stands where something else should.
    fn found(&mut self) -> String {
        match self.peek() {
            None => "the text ends".into(),
            Some(byte) if byte.is_ascii_graphic() => format!("`{}` stands here", char::from(byte)),
            Some(_) => "something else stands here".into(),
        }
    }

    /// Reads fields up to `end`, or to the end of the text.
    fn message(&mut self, end: Option<u8>, depth: usize) -> Result<Message, Fault> {
        if depth > DEEPEST {
            return self.fault(format!("nested deeper than {DEEPEST} levels"));
        }
        let mut message = Message::default();
        loop {
            match (self.peek(), end) {
                (None, None) => return Ok(message),
                (None, Some(end)) => return self.fault(format!("a `{}` is missing", char::from(end))),
                (Some(byte), Some(end)) if byte == end => {
                    self.at += 1;
                    return Ok(message);
                }
                _ => self.field(&mut message, depth)?,
            }
            // Fields may be parted, and need not be.
            let _ = self.take(b',') || self.take(b';');
        }
    }

    fn field(&mut self, into: &mut Message, depth: usize) -> Result<(), Fault> {
        let name = self.name()?;
        let colon = self.take(b':');
        match self.peek() {
            Some(b'[') => {
                self.at += 1;
                if self.take(b']') {
                    return Ok(());
                }
                loop {
                    self.value(&name, into, depth)?;
                    if self.take(b']') {
                        return Ok(());
                    }
                    if !self.take(b',') {
                        let found = self.found();
                        return self.fault(format!("a `,` or the `]` of `{name}`'s list should come, and {found}"));
                    }
                }
            }
            Some(b'{' | b'<') => self.value(&name, into, depth),
            _ if colon => self.value(&name, into, depth),
            _ => {
                let found = self.found();
                self.fault(format!("a `:` or a `{{` should follow `{name}`, and {found}"))
            }
        }
    }

    fn value(&mut self, name: &str, into: &mut Message, depth: usize) -> Result<(), Fault> {
        self.fields += 1;
        if self.fields > MOST_FIELDS {
            return self.fault(format!("more than {MOST_FIELDS} values"));
        }
        let next = self.peek();
        let place = self.place();
        let value = match next {
            Some(open @ (b'{' | b'<')) => {
                self.at += 1;
                Value::Message(self.message(Some(if open == b'{' { b'}' } else { b'>' }), depth + 1)?)
            }
            Some(b'"' | b'\'') => Value::Text(self.texts()?),
            _ => Value::Word(self.word(name)?),
        };
        into.fields.push(Field { name: name.into(), place, value });
        Ok(())
    }

    /// A field's name; an extension's or a type's stands in brackets.
    fn name(&mut self) -> Result<String, Fault> {
        let bracketed = self.take(b'[');
        let of_name = |byte: u8| {
            byte.is_ascii_alphanumeric() || byte == b'_' || (bracketed && matches!(byte, b'.' | b'/' | b'-' | b'%'))
        };
        let begins = self.peek().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
        if !begins {
            let found = self.found();
            return self.fault(format!("a field's name should come, and {found}"));
        }
        let name = self.run(of_name);
        if bracketed && !self.take(b']') {
            return self.fault("a `]` is missing");
        }
        Ok(if bracketed { format!("[{name}]") } else { name })
    }

    /// The longest run of such bytes, which are ASCII.
    fn run(&mut self, of: impl Fn(u8) -> bool) -> String {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| !of(*byte)).unwrap_or(rest.len());
        self.at += length;
        String::from_utf8_lossy(&rest[..length]).into_owned()
    }

    /// A number or an identifier. A number's sign may stand apart from it.
    fn word(&mut self, name: &str) -> Result<String, Fault> {
        let minus = self.take(b'-');
        self.peek();
        let mut before = 0;
        let start = self.at;
        while let Some(&byte) = self.bytes.get(self.at) {
            let exponent = matches!(before, b'e' | b'E') && self.bytes[start].is_ascii_digit();
            let of_word = byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.');
            if !(of_word || (exponent && matches!(byte, b'+' | b'-'))) {
                break;
            }
            before = byte;
            self.at += 1;
        }
        if self.at == start {
            let found = self.found();
            return self.fault(format!("a value for `{name}` should come, and {found}"));
        }
        let word = String::from_utf8_lossy(&self.bytes[start..self.at]);
        Ok(if minus { format!("-{word}") } else { word.into_owned() })
    }

    /// Texts that follow each other are one.
    fn texts(&mut self) -> Result<String, Fault> {
        let place = self.place();
        let mut bytes = Vec::new();
        while let Some(quote @ (b'"' | b'\'')) = self.peek() {
            self.at += 1;
            self.text(quote, &mut bytes)?;
        }
        String::from_utf8(bytes).map_err(|_| Fault::at(place, "a text that is not UTF-8"))
    }

    fn text(&mut self, quote: u8, into: &mut Vec<u8>) -> Result<(), Fault> {
        loop {
            let Some(&byte) = self.bytes.get(self.at) else { return self.fault("the text ends before its quote") };
            match byte {
                b'\n' => return self.fault("the line ends before the text's quote"),
                b'\\' => {
                    self.at += 1;
                    self.escape(into)?;
                    continue;
                }
                _ if byte == quote => {}
                _ => into.push(byte),
            }
            self.at += 1;
            if byte == quote {
                return Ok(());
            }
        }
    }

    /// What follows a backslash.
    fn escape(&mut self, into: &mut Vec<u8>) -> Result<(), Fault> {
        let Some(&byte) = self.bytes.get(self.at) else { return self.fault("the text ends before its quote") };
        self.at += 1;
        let plain = match byte {
            b'a' => 0x07,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'v' => 0x0b,
            b'\\' | b'\'' | b'"' | b'?' => byte,
            b'0'..=b'7' => {
                self.at -= 1;
                let number = self.digits(8, 3);
                match u8::try_from(number) {
                    Ok(byte) => byte,
                    Err(_) => return self.fault("an octal escape is at most `\\377`"),
                }
            }
            b'x' | b'X' => {
                let start = self.at;
                let number = self.digits(16, 2);
                if self.at == start {
                    return self.fault("hex digits should follow `\\x`");
                }
                number as u8
            }
            b'u' | b'U' => {
                let length = if byte == b'u' { 4 } else { 8 };
                let start = self.at;
                let number = self.digits(16, length);
                let Some(c) = char::from_u32(number).filter(|_| self.at == start + length) else {
                    return self.fault(format!("{length} hex digits of a character should follow"));
                };
                into.extend(c.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok(());
            }
            _ => return self.fault("there is no such escape"),
        };
        into.push(plain);
        Ok(())
    }

    /// At most eight digits.
    fn digits(&mut self, radix: u32, most: usize) -> u32 {
        let mut number = 0u32;
        for _ in 0..most {
            let digit = self.bytes.get(self.at).and_then(|byte| char::from(*byte).to_digit(radix));
            let Some(digit) = digit else { break };
            number = number.wrapping_mul(radix).wrapping_add(digit);
            self.at += 1;
        }
        number
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wrong(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    fn names(message: &Message) -> Vec<(&str, String)> {
        message.fields.iter().map(|field| (field.name.as_str(), field.value.to_string())).collect()
    }

    #[test]
    fn all_ways_to_write_a_field_mean_the_same() {
        let texts = [
            "a: 1 b { c: X } d: [1, -2] e: 'x' ",
            "a:1;b:<c:X>;d:1,d:- 2;e:\"x\"",
            "# words\na: 1 # more\n\nb {\n  c: X\n}\nd: [ 1 , -2 ]\ne: '' 'x' \"\"",
        ];
        let read: Vec<_> = texts.iter().map(|text| read(text).unwrap()).collect();
        let list = [("a", "1"), ("b", "a message"), ("d", "1"), ("d", "-2"), ("e", "\"x\"")];
        for message in &read {
            assert_eq!(names(message), list.map(|(name, value)| (name, value.to_string())));
        }
        let empty = super::read("a: [] b [{ }, <>] [type.example.com/x.Y] { }").unwrap();
        let list: Vec<_> = empty.fields.iter().map(|field| field.name.as_str()).collect();
        assert_eq!(list, ["b", "b", "[type.example.com/x.Y]"]);
    }

    #[test]
    fn numbers_and_texts_are_taken_as_protobuf_writes_them() {
        let message = read(r#"a: 1e-5f b: -.5 c: 0x1F d: "\t\x41\101\u00e9\U0001F600\'\"" e: -inf"#).unwrap();
        let values: Vec<_> = message.fields.iter().map(|field| field.value.clone()).collect();
        let word = |word: &str| Value::Word(word.into());
        let text = Value::Text("\tAAé😀'\"".into());
        assert_eq!(values, [word("1e-5f"), word("-.5"), word("0x1F"), text, word("-inf")]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(wrong("a: 1\nb 2"), "line 2, column 3: a `:` or a `{` should follow `b`, and `2` stands here");
        assert_eq!(wrong("a: 1\nb {"), "line 2, column 4: a `}` is missing");
        assert_eq!(
            wrong("a: [1 2]"),
            "line 1, column 7: a `,` or the `]` of `a`'s list should come, and `2` stands here"
        );
        assert_eq!(wrong("a: }"), "line 1, column 4: a value for `a` should come, and `}` stands here");
        assert!(wrong("a: \"x\n\"").contains("the line ends before"));
        assert!(wrong("a: 'x").contains("the text ends before"));
        assert!(wrong(r#"a: "\q""#).contains("no such escape"));
        assert!(wrong(r#"a: "\xff""#).contains("not UTF-8"));
        assert!(wrong(r#"a: "\ud800""#).contains("4 hex digits of a character"));
        assert!(wrong(r#"a: "\777""#).contains("at most"));
        assert!(wrong(&"a {".repeat(40)).contains("nested deeper than 32 levels"));
        assert!(wrong(&"a:1 ".repeat(100_001)).contains("more than 100000 values"));
        assert!(wrong(&" ".repeat(LARGEST + 1)).contains("that is no config"));
    }

    /// Writes a message in one of many ways.
    fn write(message: &Message, style: u64) -> String {
        let mut text = String::new();
        for (at, field) in message.fields.iter().enumerate() {
            let style = style.rotate_right(at as u32 % 60);
            let value = match &field.value {
                Value::Text(inner) if style & 1 == 0 => {
                    format!("\"{}\"", inner.escape_default())
                }
                Value::Text(inner) => {
                    let bytes: String = inner.bytes().map(|byte| format!("\\{byte:03o}")).collect();
                    format!("'{bytes}'")
                }
                Value::Word(word) => word.clone(),
                Value::Message(inner) if style & 2 == 0 => format!("{{ {} }}", write(inner, style)),
                Value::Message(inner) => format!("<\n# x\n{}>", write(inner, style)),
            };
            let colon = if matches!(field.value, Value::Message(_)) && style & 4 == 0 { " " } else { ": " };
            let value = if style & 8 == 0 { value } else { format!("[{value}]") };
            text += &format!("{}{colon}{value}{}", field.name, [" ", ", ", ";\n", "\n"][(style >> 4) as usize & 3]);
        }
        text
    }

    fn message() -> impl Strategy<Value = Message> {
        let leaf = prop_oneof![
            "[ -~é]{0,8}".prop_map(|text| Value::Text(text.replace('é', "e"))),
            "-?[0-9]{1,9}".prop_map(Value::Word),
            "[A-Z][A-Z_0-9]{0,9}".prop_map(Value::Word),
        ];
        let field = |value: BoxedStrategy<Value>| {
            let place = Place { line: 0, column: 0 };
            ("[a-z_]{1,9}", value).prop_map(move |(name, value)| Field { name, place, value })
        };
        let fields = move |value| prop::collection::vec(field(value), 0..5).prop_map(|fields| Message { fields });
        leaf.boxed()
            .prop_recursive(4, 40, 5, move |inner| {
                prop::collection::vec(field(inner.boxed()), 0..5).prop_map(|fields| Value::Message(Message { fields }))
            })
            .boxed()
            .prop_flat_map(move |value| fields(Just(value).boxed()))
    }

    fn without_places(mut message: Message) -> Message {
        for field in &mut message.fields {
            field.place = Place { line: 0, column: 0 };
            if let Value::Message(inner) = &mut field.value {
                *inner = without_places(std::mem::take(inner));
            }
        }
        message
    }

    proptest! {
        #[test]
        fn what_is_written_in_any_style_is_read_again(message in message(), style: u64) {
            prop_assert_eq!(without_places(read(&write(&message, style)).unwrap()), message);
        }

        #[test]
        fn no_text_makes_a_panic(text in "[a-c0-9:{}<>\\[\\],;'\"\\\\#\n é-]{0,60}") {
            let _ = read(&text);
        }
    }
}
