//! A protobuf message being written, whose large parts stay where they are: weights are copied once, into the file.

use std::io::{self, Write};

/// Bytes in pieces.
#[derive(Debug, Default)]
pub(super) struct Rope<'a> {
    pieces: Vec<Piece<'a>>,
    length: u64,
}

#[derive(Debug)]
enum Piece<'a> {
    Own(Vec<u8>),
    Borrowed(&'a [u8]),
}

/// Fewer bytes than these are copied: a piece of their own would be no smaller.
const SMALL: usize = 256;

impl<'a> Rope<'a> {
    /// A message of one field, which is a message.
    pub(super) fn of(field: u32, message: Rope<'a>) -> Self {
        let mut rope = Rope::default();
        rope.message(field, message);
        rope
    }

    /// Bytes in all.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Adds bytes that are copied.
    fn own(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        match self.pieces.last_mut() {
            Some(Piece::Own(last)) => last.extend(bytes),
            _ => self.pieces.push(Piece::Own(bytes.to_vec())),
        }
    }

    /// Adds bytes as they are: whole fields.
    pub(super) fn raw(&mut self, bytes: &'a [u8]) -> &mut Self {
        if bytes.len() < SMALL {
            self.own(bytes);
        } else {
            self.length += bytes.len() as u64;
            self.pieces.push(Piece::Borrowed(bytes));
        }
        self
    }

    fn varint(&mut self, mut number: u64) {
        let mut bytes = Vec::with_capacity(10);
        while number >= 0x80 {
            bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        bytes.push(number as u8);
        self.own(&bytes);
    }

    /// Adds a field that is a number.
    pub(super) fn int(&mut self, field: u32, value: i64) -> &mut Self {
        self.varint(u64::from(field) << 3);
        self.varint(value.cast_unsigned());
        self
    }

    /// Adds a field that is a text.
    pub(super) fn text(&mut self, field: u32, text: &str) -> &mut Self {
        self.head(field, text.len() as u64);
        self.own(text.as_bytes());
        self
    }

    /// Adds a field that is a message.
    pub(super) fn message(&mut self, field: u32, message: Rope<'a>) -> &mut Self {
        self.head(field, message.length);
        self.append(message)
    }

    /// Adds the fields of another.
    pub(super) fn append(&mut self, other: Rope<'a>) -> &mut Self {
        for piece in other.pieces {
            match piece {
                Piece::Own(bytes) => self.own(&bytes),
                Piece::Borrowed(bytes) => {
                    self.raw(bytes);
                }
            }
        }
        self
    }

    fn head(&mut self, field: u32, length: u64) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(length);
    }

    pub(super) fn write(&self, to: &mut dyn Write) -> io::Result<()> {
        for piece in &self.pieces {
            to.write_all(match piece {
                Piece::Own(bytes) => bytes,
                Piece::Borrowed(bytes) => bytes,
            })?;
        }
        Ok(())
    }
}

/// A message, filled in.
pub(super) fn build<'a>(fill: impl FnOnce(&mut Rope<'a>)) -> Rope<'a> {
    let mut rope = Rope::default();
    fill(&mut rope);
    rope
}
