//! The fields of a protobuf message, one after the other, borrowed from its bytes.
//!
//! Generated code would build the whole message first: an input of two bytes on the wire is one of 150 in memory, so
//! that a body within its limit could take fifty times as much.

use crate::error::Error;

/// What stands in a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'b> {
    /// A whole number, a boolean or an enumeration.
    Varint(u64),
    /// Eight bytes.
    Fixed64([u8; 8]),
    /// A text, bytes, a message, or packed numbers.
    Bytes(&'b [u8]),
    /// Four bytes.
    Fixed32([u8; 4]),
}

/// The fields that are left of a message.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'b>(pub(super) &'b [u8]);

#[cold]
pub(super) fn broken() -> Error {
    Error::BadRequest("the request can't be read: it is no such protobuf message".into())
}

impl<'b> Fields<'b> {
    /// The next field's number and content, `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<(u32, Field<'b>)>, Error> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let key = self.varint()?;
        let number = u32::try_from(key >> 3).ok().filter(|number| *number > 0).ok_or_else(broken)?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => Field::Fixed64(self.chunk()?),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| broken())?;
                let (bytes, rest) = self.0.split_at_checked(length).ok_or_else(broken)?;
                self.0 = rest;
                Field::Bytes(bytes)
            }
            5 => Field::Fixed32(self.chunk()?),
            // Groups went out of use before this protocol was written.
            _ => return Err(broken()),
        };
        Ok(Some((number, field)))
    }

    /// A number of up to ten bytes, seven bits in each.
    pub(super) fn varint(&mut self) -> Result<u64, Error> {
        let mut number = 0u64;
        for (k, &byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7f);
            // Only one bit of the tenth byte has room.
            if k == 9 && byte > 1 {
                return Err(broken());
            }
            number |= bits << (7 * k);
            if byte < 0x80 {
                self.0 = &self.0[k + 1..];
                return Ok(number);
            }
        }
        Err(broken())
    }

    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or_else(broken)?;
        self.0 = rest;
        Ok(*chunk)
    }
}

impl<'b> Field<'b> {
    /// A text or a message.
    pub(super) fn bytes(self) -> Result<&'b [u8], Error> {
        match self {
            Field::Bytes(bytes) => Ok(bytes),
            _ => Err(broken()),
        }
    }

    /// A text.
    pub(super) fn text(self) -> Result<&'b str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|_| broken())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_field_is_read() {
        let bytes = [&[0x08, 0x96, 0x01, 0x12, 2, b'h', b'i', 0x1d, 1, 2, 3, 4, 0x21][..], &[9; 8]].concat();
        let mut fields = Fields(&bytes);
        assert_eq!(fields.next(), Ok(Some((1, Field::Varint(150)))));
        assert_eq!(fields.next(), Ok(Some((2, Field::Bytes(b"hi")))));
        assert_eq!(fields.next(), Ok(Some((3, Field::Fixed32([1, 2, 3, 4])))));
        assert_eq!(fields.next(), Ok(Some((4, Field::Fixed64([9; 8])))));
        assert_eq!(fields.next(), Ok(None));
    }

    #[test]
    fn what_breaks_off_or_is_too_long_is_refused() {
        for bytes in [
            &[0x08][..],
            &[0x08, 0x80],
            &[0x12, 2, b'h'],
            &[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
            &[0x1d, 1, 2, 3],
            &[0x0b],
            &[0x00, 0x00],
            &[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2],
        ] {
            assert_eq!(Fields(bytes).next(), Err(broken()), "{bytes:x?}");
        }
        assert_eq!(Fields(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]).varint(), Ok(u64::MAX));
    }

    proptest! {
        #[test]
        fn numbers_are_read_as_they_are_written(number: u64) {
            let mut bytes = Vec::new();
            prost::encoding::encode_varint(number, &mut bytes);
            let mut fields = Fields(&bytes);
            prop_assert_eq!(fields.varint(), Ok(number));
            prop_assert!(fields.0.is_empty());
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            let mut fields = Fields(&bytes);
            while let Ok(Some(_)) = fields.next() {}
        }
    }
}
