//! Element types of 8 bits and fewer that no processor computes with: floats of 8 and 4 bits, whole numbers of 4 and 2.
//!
//! Requests, answers and hooks hold their elements in a wider type that has each of their values
//! ([`ElementType::carrier`]): `float32`, `int8`, `uint8`. ONNX Runtime holds them as ONNX's files do: those of less than
//! a byte packed, low bits first. This module is the way between the two. Pure.

use crate::signature::ElementType;
use crate::tensor::TensorData;

/// The values that a narrow type has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range {
    /// The least finite value.
    pub least: f64,
    /// The greatest finite value.
    pub greatest: f64,
    /// Whether there is a NaN.
    pub nan: bool,
    /// Whether there are infinities.
    pub infinity: bool,
}

/// An element that its type doesn't have.
#[derive(Debug, Clone, PartialEq)]
pub struct Unfit {
    /// Which one, row-major.
    pub index: usize,
    /// What it is.
    pub value: f64,
}

/// How a float of 8 bits or fewer is made: a sign where `signed`, an exponent, a mantissa.
#[derive(Debug, Clone, Copy)]
struct Float {
    signed: bool,
    exponent_bits: u32,
    mantissa_bits: u32,
    bias: i32,
    /// The magnitude of the greatest finite value, as its bits.
    greatest: u8,
    infinity: Option<u8>,
    nan: Option<u8>,
    /// Whether the bits of a negative zero mean something else.
    one_zero: bool,
}

/// A narrow type.
#[derive(Debug, Clone, Copy)]
enum Narrow {
    Float(Float),
    Signed { least: i8, greatest: i8 },
    Unsigned { greatest: u8 },
}

fn narrow(element_type: ElementType) -> Option<Narrow> {
    use ElementType as E;
    let float = |exponent_bits, mantissa_bits, bias, greatest, infinity, nan| {
        let one_zero = nan == Some(0x80);
        Narrow::Float(Float { signed: true, exponent_bits, mantissa_bits, bias, greatest, infinity, nan, one_zero })
    };
    Some(match element_type {
        E::Float8E4M3FN => float(4, 3, 7, 0x7e, None, Some(0x7f)),
        E::Float8E4M3FNUZ => float(4, 3, 8, 0x7f, None, Some(0x80)),
        E::Float8E5M2 => float(5, 2, 15, 0x7b, Some(0x7c), Some(0x7e)),
        E::Float8E5M2FNUZ => float(5, 2, 16, 0x7f, None, Some(0x80)),
        E::Float4E2M1 => float(2, 1, 1, 0x7, None, None),
        E::Float8E8M0 => Narrow::Float(Float {
            signed: false,
            exponent_bits: 8,
            mantissa_bits: 0,
            bias: 127,
            greatest: 0xfe,
            infinity: None,
            nan: Some(0xff),
            one_zero: true,
        }),
        E::Int4 => Narrow::Signed { least: -8, greatest: 7 },
        E::Int2 => Narrow::Signed { least: -2, greatest: 1 },
        E::Uint4 => Narrow::Unsigned { greatest: 15 },
        E::Uint2 => Narrow::Unsigned { greatest: 3 },
        _ => return None,
    })
}

/// What values the type has; `None` for one that isn't narrow.
pub fn range(element_type: ElementType) -> Option<Range> {
    let whole = |least, greatest| Range { least, greatest, nan: false, infinity: false };
    Some(match narrow(element_type)? {
        Narrow::Signed { least, greatest } => whole(least.into(), greatest.into()),
        Narrow::Unsigned { greatest } => whole(0.0, greatest.into()),
        Narrow::Float(float) => {
            let greatest = f64::from(float.magnitude(float.greatest));
            let least = if float.signed { -greatest } else { float.magnitude(0).into() };
            Range { least, greatest, nan: float.nan.is_some(), infinity: float.infinity.is_some() }
        }
    })
}

/// The first element that the type doesn't have. A float between two values is rounded to the nearer one; one that lies
/// further out than half a step beyond the last is none. Other types, and data that isn't in the carrier, have no such
/// element.
pub fn unfit(element_type: ElementType, data: &TensorData) -> Option<Unfit> {
    let first = |index: Option<usize>, value: &dyn Fn(usize) -> f64| index.map(|k| Unfit { index: k, value: value(k) });
    match (narrow(element_type)?, data) {
        (Narrow::Signed { least, greatest }, TensorData::Int8(all)) => {
            first(all.iter().position(|v| !(least..=greatest).contains(v)), &|k| all[k].into())
        }
        (Narrow::Unsigned { greatest }, TensorData::Uint8(all)) => {
            first(all.iter().position(|v| *v > greatest), &|k| all[k].into())
        }
        (Narrow::Float(float), TensorData::Float32(all)) => {
            let table = float.table();
            first(all.iter().position(|v| float.encode(*v, &table).is_none()), &|k| all[k].into())
        }
        _ => None,
    }
}

/// The elements as ONNX Runtime holds them. `None` where the type isn't narrow, the data isn't in its carrier, or
/// [`unfit`] finds an element.
pub fn pack(element_type: ElementType, data: &TensorData) -> Option<Vec<u8>> {
    let codes: Vec<u8> = match (narrow(element_type)?, data) {
        _ if unfit(element_type, data).is_some() => return None,
        (Narrow::Signed { .. }, TensorData::Int8(all)) => all.iter().map(|v| v.cast_unsigned()).collect(),
        (Narrow::Unsigned { .. }, TensorData::Uint8(all)) => all.clone(),
        (Narrow::Float(float), TensorData::Float32(all)) => {
            let table = float.table();
            all.iter().map(|v| float.encode(*v, &table)).collect::<Option<_>>()?
        }
        _ => return None,
    };
    let bits = element_type.bits();
    if bits == 8 {
        return Some(codes);
    }
    let (per_byte, mask) = (8 / bits as usize, (1u8 << bits) - 1);
    let byte =
        |codes: &[u8]| codes.iter().enumerate().fold(0, |byte, (k, code)| byte | (code & mask) << (k as u32 * bits));
    Some(codes.chunks(per_byte).map(byte).collect())
}

/// Bytes that so many elements take as ONNX Runtime holds them.
pub fn packed_len(element_type: ElementType, count: usize) -> usize {
    // In halves, quarters or wholes of a byte: nothing here overflows.
    count.div_ceil(8 / (element_type.bits() as usize).clamp(1, 8))
}

/// The `count` elements that `packed` holds, in their carrier. `None` where the type isn't narrow or bytes are missing.
pub fn unpack(element_type: ElementType, packed: &[u8], count: usize) -> Option<TensorData> {
    let narrow = narrow(element_type)?;
    if packed.len() < packed_len(element_type, count) {
        return None;
    }
    let bits = element_type.bits();
    let (per_byte, mask) = (8 / bits as usize, u8::MAX >> (8 - bits));
    let code = |k: usize| packed[k / per_byte] >> ((k % per_byte) as u32 * bits) & mask;
    Some(match narrow {
        // Shifted up and down again, the highest bit fills the rest.
        Narrow::Signed { .. } => {
            TensorData::Int8((0..count).map(|k| (code(k) << (8 - bits)).cast_signed() >> (8 - bits)).collect())
        }
        Narrow::Unsigned { .. } => TensorData::Uint8((0..count).map(code).collect()),
        Narrow::Float(float) => TensorData::Float32((0..count).map(|k| float.decode(code(k))).collect()),
    })
}

/// The value of the type that is nearest to `value`, within its range: made-up values become ones that the type has.
pub fn nearest(element_type: ElementType, value: f64) -> f64 {
    let Some(range) = range(element_type) else { return value };
    let inside = value.clamp(range.least, range.greatest);
    match narrow(element_type) {
        Some(Narrow::Float(float)) => {
            float.encode(inside as f32, &float.table()).map_or(inside, |code| float.decode(code).into())
        }
        _ => inside.round(),
    }
}

impl Float {
    fn sign_bit(self) -> u8 {
        if self.signed { 1 << (self.exponent_bits + self.mantissa_bits) } else { 0 }
    }

    /// The finite value of a magnitude's bits.
    fn magnitude(self, bits: u8) -> f32 {
        let mantissa = f64::from(u32::from(bits) & ((1 << self.mantissa_bits) - 1));
        let exponent = i32::from(bits) >> self.mantissa_bits;
        let step = |exponent: i32| 2f64.powi(exponent - self.bias - self.mantissa_bits.cast_signed());
        let whole = f64::from(1u32 << self.mantissa_bits);
        // A type without a mantissa has no subnormals, and so no zero.
        let value = match exponent {
            0 if self.mantissa_bits > 0 => mantissa * step(1),
            _ => (whole + mantissa) * step(exponent),
        };
        // Each has few enough digits to be a single.
        value as f32
    }

    fn decode(self, code: u8) -> f32 {
        let magnitude = code & !self.sign_bit();
        let negative = code != magnitude;
        let value = match () {
            () if self.one_zero && Some(code) == self.nan => return f32::NAN,
            () if Some(magnitude) == self.infinity => f32::INFINITY,
            () if magnitude > self.greatest => return f32::NAN,
            () => self.magnitude(magnitude),
        };
        if negative { -value } else { value }
    }

    /// Every magnitude that is finite, from the least on.
    fn table(self) -> Vec<f32> {
        (0..=self.greatest).map(|bits| self.magnitude(bits)).collect()
    }

    /// The bits of the nearest value, of two the even one; `None` beyond the range. `table` is [`Float::table`].
    fn encode(self, value: f32, table: &[f32]) -> Option<u8> {
        if value.is_nan() {
            return self.nan;
        }
        let negative = value.is_sign_negative();
        let sign = if negative { self.sign_bit() } else { 0 };
        if value.is_infinite() {
            return self.infinity.map(|bits| bits | sign);
        }
        if !self.signed && value <= 0.0 {
            return None;
        }
        let wanted = f64::from(value.abs());
        let above = table.partition_point(|&known| f64::from(known) < wanted);
        let bits = match (above.checked_sub(1), table.get(above)) {
            (None, _) => 0,
            (Some(below), None) => {
                let step = f64::from(table[below]) - f64::from(table[below.saturating_sub(1)]);
                if wanted - f64::from(table[below]) >= step / 2.0 {
                    return None;
                }
                below
            }
            (Some(below), Some(&known)) => {
                let (down, up) = (wanted - f64::from(table[below]), f64::from(known) - wanted);
                let even = if below % 2 == 0 { below } else { above };
                match down.total_cmp(&up) {
                    std::cmp::Ordering::Less => below,
                    std::cmp::Ordering::Greater => above,
                    std::cmp::Ordering::Equal => even,
                }
            }
        };
        let bits = u8::try_from(bits).ok()?;
        Some(if bits == 0 && self.one_zero { 0 } else { bits | sign })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FLOATS: [ElementType; 6] = [
        ElementType::Float8E4M3FN,
        ElementType::Float8E4M3FNUZ,
        ElementType::Float8E5M2,
        ElementType::Float8E5M2FNUZ,
        ElementType::Float8E8M0,
        ElementType::Float4E2M1,
    ];
    const WHOLE: [ElementType; 4] = [ElementType::Int4, ElementType::Uint4, ElementType::Int2, ElementType::Uint2];

    fn decoded(element_type: ElementType, code: u8) -> f32 {
        match unpack(element_type, &[code], 1) {
            Some(TensorData::Float32(all)) => all[0],
            other => panic!("{element_type}: {other:?}"),
        }
    }

    fn encoded(element_type: ElementType, value: f32) -> Option<u8> {
        pack(element_type, &TensorData::Float32(vec![value])).map(|bytes| bytes[0])
    }

    /// Values that the standards name.
    #[test]
    fn the_corners_of_each_type_are_where_the_standards_have_them() {
        use ElementType as E;
        for (element_type, code, value) in [
            (E::Float8E4M3FN, 0x7e, 448.0),
            (E::Float8E4M3FN, 0x01, 2f32.powi(-9)),
            (E::Float8E4M3FN, 0xb8, -1.0),
            (E::Float8E4M3FNUZ, 0x7f, 240.0),
            (E::Float8E4M3FNUZ, 0x01, 2f32.powi(-10)),
            (E::Float8E5M2, 0x7b, 57344.0),
            (E::Float8E5M2, 0x01, 2f32.powi(-16)),
            (E::Float8E5M2, 0xfc, f32::NEG_INFINITY),
            (E::Float8E5M2FNUZ, 0x7f, 57344.0),
            (E::Float8E5M2FNUZ, 0x01, 2f32.powi(-17)),
            (E::Float8E8M0, 0x00, 2f32.powi(-127)),
            (E::Float8E8M0, 0x7f, 1.0),
            (E::Float8E8M0, 0xfe, 2f32.powi(127)),
            (E::Float4E2M1, 0x1, 0.5),
            (E::Float4E2M1, 0x7, 6.0),
            (E::Float4E2M1, 0xf, -6.0),
        ] {
            assert_eq!(decoded(element_type, code), value, "{element_type} {code:#x}");
            assert_eq!(encoded(element_type, value), Some(code), "{element_type} {value}");
        }
        for (element_type, code) in [
            (E::Float8E4M3FN, 0x7f),
            (E::Float8E4M3FN, 0xff),
            (E::Float8E4M3FNUZ, 0x80),
            (E::Float8E5M2, 0x7d),
            (E::Float8E5M2FNUZ, 0x80),
            (E::Float8E8M0, 0xff),
        ] {
            assert!(decoded(element_type, code).is_nan(), "{element_type} {code:#x}");
        }
    }

    #[test]
    fn every_pattern_of_bits_comes_back() {
        for element_type in FLOATS {
            for code in 0..=u8::MAX >> (8 - element_type.bits()) {
                let value = decoded(element_type, code);
                let back = encoded(element_type, value).unwrap();
                let same = if value.is_nan() { decoded(element_type, back).is_nan() } else { back == code };
                assert!(same, "{element_type} {code:#x}: {value} {back:#x}");
            }
        }
        for element_type in WHOLE {
            let packed: Vec<u8> = (0..=u8::MAX).collect();
            let count = packed.len() * 8 / element_type.bits() as usize;
            let data = unpack(element_type, &packed, count).unwrap();
            assert_eq!(pack(element_type, &data), Some(packed), "{element_type}");
        }
    }

    #[test]
    fn what_is_smaller_than_a_byte_is_packed_low_bits_first() {
        let int4 = TensorData::Int8(vec![1, -1, 7]);
        assert_eq!(pack(ElementType::Int4, &int4), Some(vec![0xf1, 0x07]));
        assert_eq!(unpack(ElementType::Int4, &[0xf1, 0x07], 3), Some(int4));
        let uint2 = TensorData::Uint8(vec![0, 1, 2, 3, 3]);
        assert_eq!(pack(ElementType::Uint2, &uint2), Some(vec![0b1110_0100, 0b11]));
        assert_eq!(unpack(ElementType::Uint2, &[0b1110_0100, 0b11], 5), Some(uint2));
        assert_eq!(unpack(ElementType::Int2, &[0b10], 1), Some(TensorData::Int8(vec![-2])));
        assert_eq!(unpack(ElementType::Int4, &[1], 3), None);
        assert_eq!(unpack(ElementType::Float32, &[1], 1), None);
    }

    #[test]
    fn what_a_type_does_not_have_is_found() {
        use ElementType as E;
        let float = |element_type, value: f32| unfit(element_type, &TensorData::Float32(vec![0.5, value]));
        let at_1 = |value| Some(Unfit { index: 1, value });
        assert_eq!(float(E::Float8E4M3FN, 463.9), None);
        assert_eq!(float(E::Float8E4M3FN, -464.0), at_1(-464.0));
        assert_eq!(float(E::Float8E4M3FN, f32::INFINITY), at_1(f64::INFINITY));
        assert_eq!(float(E::Float8E5M2, f32::INFINITY), None);
        assert_eq!(float(E::Float8E8M0, 0.0), at_1(0.0));
        assert_eq!(float(E::Float8E8M0, -1.0), at_1(-1.0));
        assert!(float(E::Float4E2M1, f32::NAN).is_some());
        assert_eq!(unfit(E::Int4, &TensorData::Int8(vec![-8, 8])), at_1(8.0));
        assert_eq!(unfit(E::Uint2, &TensorData::Uint8(vec![3, 4])), at_1(4.0));
        assert_eq!(pack(E::Uint2, &TensorData::Uint8(vec![3, 4])), None);
    }

    #[test]
    fn a_float_between_two_values_becomes_the_nearer_and_of_two_the_even_one() {
        let near = |value: f32| nearest(ElementType::Float4E2M1, value.into());
        assert_eq!([0.2, 0.25, 0.3, 0.75, 2.5, 3.5, 5.0, 9.0].map(near), [0.0, 0.0, 0.5, 1.0, 2.0, 4.0, 4.0, 6.0]);
        assert_eq!(nearest(ElementType::Float8E8M0, -3.0), 2f64.powi(-127));
        assert_eq!(nearest(ElementType::Uint2, 7.0), 3.0);
        assert_eq!(nearest(ElementType::Float32, 0.1), 0.1);
    }

    proptest! {
        #[test]
        fn what_is_packed_is_the_nearest_value(value: f32, kind in 0usize..6) {
            let element_type = FLOATS[kind];
            let Some(code) = encoded(element_type, value) else { return Ok(()) };
            let taken = decoded(element_type, code);
            prop_assume!(!taken.is_nan() && taken.is_finite() && value.is_finite());
            let off = |other: f32| (f64::from(other) - f64::from(value)).abs();
            for other in (0..=u8::MAX >> (8 - element_type.bits())).map(|code| decoded(element_type, code)) {
                prop_assert!(!other.is_finite() || off(taken) <= off(other), "{} {} {} {}", element_type, value, taken, other);
            }
        }
    }
}
