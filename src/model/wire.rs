//! Protocol Buffers' wire format, read in place: fields of a message as borrowed slices, nothing copied.
//!
//! Every fault carries the byte offset in the file, and the work is bounded: fields are counted over the whole file
//! and messages may nest only so deep. What the fields mean is [`super::onnx`]'s.

use super::fault::Fault;
use super::limits::{Limits, Meter};

/// What is shared by all messages of one file: how much may still be read.
#[derive(Debug)]
pub(super) struct Budget {
    fields: Meter,
    most_depth: usize,
}

impl Budget {
    pub(super) fn new(limits: &Limits) -> Self {
        Budget { fields: Meter::new("protobuf fields", limits.fields), most_depth: limits.depth }
    }
}

/// A message, or any other length-delimited value: its bytes and where they stand in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    offset: u64,
    /// The message's type in `onnx.proto`, for the errors.
    kind: &'static str,
    depth: usize,
    budget: &'a Budget,
}

/// One field as it stands in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) number: u32,
    /// Where its tag stands in the file.
    pub(super) offset: u64,
    /// Its bytes, with the tag.
    pub(super) raw: &'a [u8],
    value: Payload<'a>,
    parent: Message<'a>,
}

#[derive(Debug, Clone, Copy)]
enum Payload<'a> {
    Varint(u64),
    Fixed64,
    Bytes { offset: u64, bytes: &'a [u8] },
    Fixed32,
}

impl<'a> Message<'a> {
    /// The whole file as one message.
    pub(super) fn root(bytes: &'a [u8], kind: &'static str, budget: &'a Budget) -> Self {
        Message { bytes, offset: 0, kind, depth: 1, budget }
    }

    /// The fields in the order of the file; ends after the first fault.
    pub(super) fn fields(self) -> Fields<'a> {
        Fields { message: self, at: 0, failed: false }
    }

    /// Where it begins in the file.
    pub(super) fn offset(self) -> u64 {
        self.offset
    }

    /// A fault at `offset` of the file, within this message.
    pub(super) fn fault(self, offset: u64, what: impl Into<String>) -> Fault {
        Fault::Malformed { offset, message: self.kind, what: what.into() }
    }
}

/// Iterator over a message's fields.
#[derive(Debug)]
pub(super) struct Fields<'a> {
    message: Message<'a>,
    at: usize,
    failed: bool,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Field<'a>, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at == self.message.bytes.len() {
            return None;
        }
        let field = self.field();
        self.failed = field.is_err();
        Some(field)
    }
}

impl<'a> Fields<'a> {
    fn field(&mut self) -> Result<Field<'a>, Fault> {
        let (message, start) = (self.message, self.at);
        let offset = message.offset + start as u64;
        message.budget.fields.take(1)?;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|n| (1..1 << 29).contains(n));
        let number = number.ok_or_else(|| message.fault(offset, format!("{} is no field number", tag >> 3)))?;
        let value = match tag & 7 {
            0 => Payload::Varint(self.varint()?),
            1 => {
                self.skip(8)?;
                Payload::Fixed64
            }
            2 => self.bytes()?,
            5 => {
                self.skip(4)?;
                Payload::Fixed32
            }
            // Groups (3 and 4) are in no ONNX file.
            wire_type => {
                return Err(message.fault(offset, format!("field {number} has the wire type {wire_type}")));
            }
        };
        Ok(Field { number, offset, raw: &message.bytes[start..self.at], value, parent: message })
    }

    fn varint(&mut self) -> Result<u64, Fault> {
        let (value, size) = varint(&self.message.bytes[self.at..])
            .map_err(|what| self.message.fault(self.message.offset + self.at as u64, what))?;
        self.at += size;
        Ok(value)
    }

    /// Steps over a number of `width` bytes: nothing here needs its value.
    fn skip(&mut self, width: usize) -> Result<(), Fault> {
        if self.message.bytes.len() - self.at < width {
            return Err(self.message.fault(self.message.offset + self.at as u64, CUT_OFF));
        }
        self.at += width;
        Ok(())
    }

    fn bytes(&mut self) -> Result<Payload<'a>, Fault> {
        let start = self.message.offset + self.at as u64;
        let length = self.varint()?;
        let rest = &self.message.bytes[self.at..];
        let bytes = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
            let what = format!("{length} bytes are announced and {} are left", rest.len());
            self.message.fault(start, what)
        })?;
        let offset = self.message.offset + self.at as u64;
        self.at += bytes.len();
        Ok(Payload::Bytes { offset, bytes })
    }
}

const CUT_OFF: &str = "a number is cut off";

/// The varint at the head of `bytes` and its length in bytes.
fn varint(bytes: &[u8]) -> Result<(u64, usize), &'static str> {
    let mut value = 0u64;
    for (k, &byte) in bytes.iter().take(10).enumerate() {
        // The tenth byte has room for one bit alone.
        if k == 9 && byte > 1 {
            return Err("a number is longer than 64 bits");
        }
        value |= u64::from(byte & 0x7f) << (7 * k);
        if byte < 0x80 {
            return Ok((value, k + 1));
        }
    }
    Err(CUT_OFF)
}

impl<'a> Field<'a> {
    fn wrong(&self, should: &str) -> Fault {
        self.parent.fault(self.offset, format!("field {} should be {should}", self.number))
    }

    /// The fault of a field that may stand only once.
    pub(super) fn twice(&self, name: &str) -> Fault {
        self.parent.fault(self.offset, format!("there are two of `{name}`"))
    }

    /// The value as an `int64`, `int32` or enum: all are varints.
    pub(super) fn int(&self) -> Result<i64, Fault> {
        match self.value {
            Payload::Varint(value) => Ok(value as i64),
            _ => Err(self.wrong("a number")),
        }
    }

    /// The bytes of a length-delimited value.
    pub(super) fn bytes(&self) -> Result<&'a [u8], Fault> {
        match self.value {
            Payload::Bytes { bytes, .. } => Ok(bytes),
            _ => Err(self.wrong("length-delimited")),
        }
    }

    /// The value as a name: UTF-8, at most `most` bytes.
    pub(super) fn name(&self, most: usize) -> Result<&'a str, Fault> {
        let bytes = self.bytes()?;
        if bytes.len() > most {
            return Err(Fault::Limit { what: "bytes in a name", limit: most as u64 });
        }
        std::str::from_utf8(bytes).map_err(|_| self.wrong("a name in UTF-8"))
    }

    /// The value as a message of the type `kind`.
    pub(super) fn message(&self, kind: &'static str) -> Result<Message<'a>, Fault> {
        let Payload::Bytes { offset, bytes } = self.value else { return Err(self.wrong("a message")) };
        let budget = self.parent.budget;
        let depth = self.parent.depth + 1;
        if depth > budget.most_depth {
            return Err(Fault::Limit { what: "levels of nested messages", limit: budget.most_depth as u64 });
        }
        Ok(Message { bytes, offset, kind, depth, budget })
    }

    /// The first `most` numbers of a repeated integer field, packed or not.
    pub(super) fn ints(&self, most: usize) -> Result<Vec<i64>, Fault> {
        let (offset, mut rest) = match self.value {
            Payload::Varint(value) => return Ok(vec![value as i64; most.min(1)]),
            Payload::Bytes { offset, bytes } => (offset, bytes),
            _ => return Err(self.wrong("a list of numbers")),
        };
        let (length, mut ints) = (rest.len(), Vec::new());
        while !rest.is_empty() && ints.len() < most {
            let at = offset + (length - rest.len()) as u64;
            let (value, size) = varint(rest).map_err(|what| self.parent.fault(at, what))?;
            ints.push(value as i64);
            rest = &rest[size..];
        }
        Ok(ints)
    }

    /// How many numbers of `width` bytes a repeated fixed-width field holds, packed or not.
    pub(super) fn fixed_count(&self, width: usize) -> Result<u64, Fault> {
        match self.value {
            Payload::Fixed32 if width == 4 => Ok(1),
            Payload::Fixed64 if width == 8 => Ok(1),
            Payload::Bytes { bytes, .. } if bytes.len() % width == 0 => Ok((bytes.len() / width) as u64),
            _ => Err(self.wrong(&format!("a list of {width}-byte numbers"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn walk(message: Message<'_>) -> Result<usize, Fault> {
        let mut count = 0;
        for field in message.fields() {
            let field = field?;
            count += 1;
            let _ = (field.int(), field.name(100), field.fixed_count(4), field.ints(9));
            // Any bytes may be a message: read them so as well.
            if let Ok(inner) = field.message("inner") {
                let _ = walk(inner);
            }
        }
        Ok(count)
    }

    fn budget(fields: u64, depth: usize) -> Budget {
        Budget::new(&Limits { fields, depth, ..Limits::default() })
    }

    fn read(bytes: &[u8]) -> Result<usize, Fault> {
        walk(Message::root(bytes, "outer", &budget(10_000, 20)))
    }

    #[test]
    fn varints_of_every_length_are_read_and_longer_ones_refused() {
        for shift in 0..64 {
            let (number, mut bytes, mut rest) = (1u64 << shift, Vec::new(), 1u64 << shift);
            while rest >= 0x80 {
                bytes.push(rest as u8 | 0x80);
                rest >>= 7;
            }
            bytes.push(rest as u8);
            assert_eq!(varint(&bytes), Ok((number, bytes.len())));
            assert_eq!(varint(&bytes[..bytes.len() - 1]), Err(CUT_OFF));
        }
        assert!(varint(&[0xff; 11]).is_err());
        assert!(varint(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).is_err());
    }

    #[test]
    fn faults_name_the_byte_and_the_message() {
        // Field 1 of 100 bytes, of which two are there; a group; field 0; a cut fixed32.
        for (bytes, text) in [
            (&[0x08, 1, 0x0a, 100, 0, 0][..], "byte 3, in a outer: 100 bytes are announced and 2 are left"),
            (&[0x0b], "byte 0, in a outer: field 1 has the wire type 3"),
            (&[0x00, 0], "byte 0, in a outer: 0 is no field number"),
            (&[0x08, 1, 0x0d, 0, 0], "byte 3, in a outer: a number is cut off"),
        ] {
            assert_eq!(read(bytes).unwrap_err().to_string(), format!("broken at {text}"));
        }
    }

    #[test]
    fn depth_and_fields_are_bounded() {
        let budget = budget(3, 2);
        let bytes = [0x0a, 4, 0x0a, 2, 0x0a, 0];
        let outer = Message::root(&bytes, "outer", &budget).fields().next().unwrap().unwrap();
        let middle = outer.message("middle").unwrap().fields().next().unwrap().unwrap();
        assert!(matches!(middle.message("inner"), Err(Fault::Limit { limit: 2, .. })));
        assert!(matches!(walk(Message::root(&[8, 0].repeat(9), "outer", &budget)), Err(Fault::Limit { limit: 3, .. })));
    }

    proptest! {
        #[test]
        fn no_bytes_make_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = read(&bytes);
        }

        #[test]
        fn a_cut_message_is_refused_or_a_prefix(numbers in proptest::collection::vec((1u32..100, any::<u64>()), 0..20)) {
            let mut bytes = Vec::new();
            let mut ends = vec![0];
            for (number, value) in &numbers {
                let mut message = super::super::testing::Message::default();
                message.int(*number, *value as i64);
                bytes.extend(message.bytes());
                ends.push(bytes.len());
            }
            for cut in 0..=bytes.len() {
                match ends.iter().position(|&end| end == cut) {
                    Some(whole) => prop_assert_eq!(read(&bytes[..cut]).unwrap(), whole),
                    None => prop_assert!(read(&bytes[..cut]).is_err()),
                }
            }
        }
    }
}
