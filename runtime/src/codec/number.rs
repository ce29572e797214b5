//! Numbers: JSON's decimal text to each element type, exactly or not at all.

use half::{bf16, f16};

use super::json::{Read, Reader};
use super::shown;

/// A number as it stands in the text, taken apart far enough for the quick ways.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<'b> {
    /// Its text.
    pub(super) text: &'b str,
    negative: bool,
    /// The digits as one integer.
    mantissa: u64,
    /// The power of ten that `mantissa` is to be multiplied by.
    exponent: i32,
    /// Whether `mantissa` holds every digit, rather than what was left when it wrapped.
    whole: bool,
}

/// Digits that any `u64` holds.
const MOST_DIGITS: usize = 19;

/// The powers of ten that a double holds exactly.
const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20,
    1e21, 1e22,
];

/// Adds the digits at `at` to `mantissa`, which may wrap; gives where they end.
#[inline]
fn digits(bytes: &[u8], mut at: usize, mantissa: &mut u64) -> usize {
    while let Some(eight) = bytes[at.min(bytes.len())..].first_chunk().copied().and_then(eight_digits) {
        *mantissa = mantissa.wrapping_mul(100_000_000).wrapping_add(eight);
        at += 8;
    }
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|&digit| digit < 10) {
        *mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(digit));
        at += 1;
    }
    at
}

/// What eight digits mean, all at once; `None` where one of the bytes is no digit. A digit's upper half is 3, and stays
/// so with 6 added; then neighbours become pairs, pairs fours, and fours the number, each in its part of the word.
#[inline]
fn eight_digits(bytes: [u8; 8]) -> Option<u64> {
    const UPPER: u64 = 0xf0f0_f0f0_f0f0_f0f0;
    const ZEROS: u64 = 0x3030_3030_3030_3030;
    let word = u64::from_le_bytes(bytes);
    if word & UPPER != ZEROS || word.wrapping_add(0x0606_0606_0606_0606) & UPPER != ZEROS {
        return None;
    }
    let word = word - ZEROS;
    let pairs = (word * 10 + (word >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    Some((fours * 10_000 + (fours >> 32)) & 0xffff_ffff)
}

impl<'b> Reader<'b> {
    /// A number whose first byte is next.
    #[inline]
    pub(super) fn number(&mut self) -> Read<Number<'b>> {
        self.peek();
        let (text, start) = (self.text(), self.at());
        let bytes = text.as_bytes();
        let negative = bytes.get(start) == Some(&b'-');
        let first = start + usize::from(negative);
        let mut mantissa = 0;
        let mut at = digits(bytes, first, &mut mantissa);
        if at == first || (at > first + 1 && bytes[first] == b'0') {
            return self.fault("a number is expected");
        }
        let (mut count, mut exponent) = (at - first, 0);
        if bytes.get(at) == Some(&b'.') {
            let point = at + 1;
            at = digits(bytes, point, &mut mantissa);
            if at == point {
                return self.fault("a number ends in a point");
            }
            count += at - point;
            exponent = i32::try_from(at - point).map_or(i32::MIN, |places| -places);
        }
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            let (power, end) = self.power(at + 1)?;
            exponent = exponent.saturating_add(power);
            at = end;
        }
        let whole = count <= MOST_DIGITS
            || bytes[first..at].iter().take_while(|b| matches!(b, b'0' | b'.')).count() > count - MOST_DIGITS;
        self.go_to(at);
        Ok(Number { text: &text[start..at], negative, mantissa, exponent, whole })
    }

    /// The power of ten that stands at `at`, after the `e`, and where it ends.
    fn power(&self, at: usize) -> Read<(i32, usize)> {
        let bytes = self.text().as_bytes();
        let down = bytes.get(at) == Some(&b'-');
        let first = at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
        let end = first + bytes[first..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if end == first {
            return self.fault("a number has an exponent without digits");
        }
        // Digits that fit no number lead beyond every type, whatever they are.
        let power = self.text()[first..end].parse().unwrap_or(i32::MAX);
        Ok((if down { -power } else { power }, end))
    }
}

impl Number<'_> {
    /// The nearest double; infinite if there is none.
    pub(super) fn to_f64(self) -> f64 {
        // Clinger's quick way: both factors are exact, so that the one rounding is the right one.
        match self.scaled() {
            Some(scaled) if self.mantissa <= 1 << 53 => scaled,
            _ => self.text.parse().unwrap_or(f64::NAN),
        }
    }

    /// The nearest single; infinite if there is none.
    #[inline]
    pub(super) fn to_f32(self) -> f32 {
        if let Some(scaled) = self.scaled() {
            // `scaled` is within two units in the last place of the decimal. Rounded to a single it gives what the
            // decimal would, unless the two lie on different sides of the middle between two singles.
            const BELOW: u64 = (1 << 29) - 1;
            let from_middle = (scaled.to_bits() & BELOW).abs_diff(1 << 28);
            let normal = scaled == 0.0 || (f64::from(f32::MIN_POSITIVE)..f64::from(f32::MAX)).contains(&scaled.abs());
            if normal && from_middle > 4 {
                return scaled as f32;
            }
        }
        self.text.parse().unwrap_or(f32::NAN)
    }

    /// Mantissa times power of ten, each factor rounded at most once, where the power is small.
    #[inline]
    fn scaled(self) -> Option<f64> {
        let power = POWERS.get(usize::try_from(self.exponent.unsigned_abs()).ok()?).filter(|_| self.whole)?;
        let mantissa = if self.negative { -(self.mantissa as f64) } else { self.mantissa as f64 };
        Some(if self.exponent < 0 { mantissa / power } else { mantissa * power })
    }

    /// The integer that this is; an error says whether it isn't whole or is beyond any integer type. `1.0` and `1e2` are
    /// integers, as JSON Schema has it.
    #[inline]
    pub(super) fn to_integer(self) -> Result<i128, NotAnInteger> {
        let magnitude = if self.whole && self.exponent == 0 { i128::from(self.mantissa) } else { self.long_integer()? };
        Ok(if self.negative { -magnitude } else { magnitude })
    }

    fn long_integer(self) -> Result<i128, NotAnInteger> {
        let unsigned = self.text.trim_start_matches('-');
        let (digits, power) = unsigned.split_once(['e', 'E']).unwrap_or((unsigned, "0"));
        let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
        let digits = format!("{before}{after}");
        let significant = digits.trim_start_matches('0').trim_end_matches('0');
        if significant.is_empty() {
            return Ok(0);
        }
        let dropped = digits.len() - digits.trim_end_matches('0').len();
        // A power that fits no i64 has a sign that says all.
        let huge = if power.starts_with('-') { i64::MIN / 4 } else { i64::MAX / 4 };
        let power = power.parse::<i64>().unwrap_or(huge).clamp(i64::MIN / 4, i64::MAX / 4);
        let power = power - i64::try_from(after.len()).unwrap_or(i64::MAX / 4) + i64::try_from(dropped).unwrap_or(0);
        let power =
            u32::try_from(power).map_err(|_| if power < 0 { NotAnInteger::Fraction } else { NotAnInteger::Huge })?;
        let value = significant.parse::<i128>().ok().zip(10i128.checked_pow(power)).and_then(|(n, p)| n.checked_mul(p));
        value.ok_or(NotAnInteger::Huge)
    }
}

/// Why a number is no integer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotAnInteger {
    /// There is something after the point.
    Fraction,
    /// It is larger than any integer type holds.
    Huge,
}

/// A number type that a JSON number becomes.
pub(super) trait FromNumber: Sized {
    /// Its name in the signature.
    const NAME: &'static str;
    /// Whether the strings `"NaN"`, `"Infinity"` and `"-Infinity"` stand for one.
    const FLOAT: bool;

    /// The value nearest to `number`, if there is one: a small answer, since it is given for each element.
    fn from_number(number: Number<'_>) -> Option<Self>;

    /// Why there is none.
    fn fault(number: Number<'_>) -> String;

    /// The value that a JSON string stands for, if it does.
    fn from_word(_word: &str) -> Option<Self> {
        None
    }
}

#[cold]
fn out_of_range<T: FromNumber>(number: Number<'_>, range: &str) -> String {
    format!("{} is out of range for {}{range}", shown(number.text), T::NAME)
}

macro_rules! integers {
    ($($rust:ty => $name:literal),+ $(,)?) => {
        $(impl FromNumber for $rust {
            const NAME: &'static str = $name;
            const FLOAT: bool = false;
            #[inline]
            fn from_number(number: Number<'_>) -> Option<Self> {
                Self::try_from(number.to_integer().ok()?).ok()
            }
            #[cold]
            fn fault(number: Number<'_>) -> String {
                match number.to_integer() {
                    Err(NotAnInteger::Fraction) => {
                        format!("{} is not a whole number, as {} needs", shown(number.text), $name)
                    }
                    _ => out_of_range::<Self>(number, &format!(" ({} to {})", <$rust>::MIN, <$rust>::MAX)),
                }
            }
        })+
    };
}

integers! {
    i8 => "int8", i16 => "int16", i32 => "int32", i64 => "int64",
    u8 => "uint8", u16 => "uint16", u32 => "uint32", u64 => "uint64",
}

macro_rules! floats {
    ($($rust:ty => $name:literal, $from:expr, $nan:expr, $infinity:expr);+ $(;)?) => {
        $(impl FromNumber for $rust {
            const NAME: &'static str = $name;
            const FLOAT: bool = true;
            #[inline]
            fn from_number(number: Number<'_>) -> Option<Self> {
                let value: Self = $from(number);
                value.is_finite().then_some(value)
            }
            #[cold]
            fn fault(number: Number<'_>) -> String {
                out_of_range::<Self>(number, "")
            }
            fn from_word(word: &str) -> Option<Self> {
                match word {
                    "NaN" => Some($nan),
                    "Infinity" => Some($infinity),
                    "-Infinity" => Some(-$infinity),
                    _ => None,
                }
            }
        })+
    };
}

floats! {
    f32 => "float32", Number::to_f32, f32::NAN, f32::INFINITY;
    f64 => "float64", Number::to_f64, f64::NAN, f64::INFINITY;
    f16 => "float16", |n: Number<'_>| f16::from_f32(to_odd(n.to_f64())), f16::NAN, f16::INFINITY;
    bf16 => "bfloat16", |n: Number<'_>| bf16::from_f32(to_odd(n.to_f64())), bf16::NAN, bf16::INFINITY;
}

/// The single of which a half is made. What no single is becomes the one beside it whose last bit is set, so that the
/// half is as if rounded once: rounding to the nearest twice can end half a step too far.
fn to_odd(value: f64) -> f32 {
    let nearest = value as f32;
    if f64::from(nearest) == value || !nearest.is_finite() {
        return nearest;
    }
    let towards_zero = nearest.to_bits() - u32::from(f64::from(nearest).abs() > value.abs());
    f32::from_bits(towards_zero | 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read<T: FromNumber>(text: &str) -> Result<T, String> {
        let mut reader = Reader::of(text);
        let number = reader.number().map_err(|fault| fault.what)?;
        reader.end().map_err(|fault| fault.what)?;
        T::from_number(number).ok_or_else(|| T::fault(number))
    }

    #[test]
    fn integers_keep_every_digit_and_their_range() {
        assert_eq!(read::<i64>("-9223372036854775808"), Ok(i64::MIN));
        assert_eq!(read::<u64>("18446744073709551615"), Ok(u64::MAX));
        assert_eq!(
            read::<u64>("18446744073709551616").unwrap_err(),
            "18446744073709551616 is out of range for uint64 (0 to 18446744073709551615)"
        );
        assert_eq!(read::<i8>("300").unwrap_err(), "300 is out of range for int8 (-128 to 127)");
        assert_eq!(read::<u8>("-1").unwrap_err(), "-1 is out of range for uint8 (0 to 255)");
        assert_eq!(read::<i32>("1.5").unwrap_err(), "1.5 is not a whole number, as int32 needs");
        for (text, value) in
            [("3.0", 3), ("2e2", 200), ("1.20e1", 12), ("-0", 0), ("0.0e99999999999999999999", 0), ("100e-2", 1)]
        {
            assert_eq!(read::<i16>(text), Ok(value), "{text}");
        }
        assert_eq!(read::<i64>("1.0000000000000000000000000"), Ok(1));
        assert!(read::<i64>("1e-1").unwrap_err().contains("whole"));
        assert!(read::<i64>("1e-99999999999999999999").unwrap_err().contains("whole"));
        assert!(read::<i64>("1e99999999999999999999").unwrap_err().contains("out of range"));
        assert!(read::<i64>(&"9".repeat(10_000)).unwrap_err().contains("9999… is out of range"));
    }

    #[test]
    fn eight_digits_are_read_at_once_or_not_at_all() {
        assert_eq!(eight_digits(*b"00000000"), Some(0));
        assert_eq!(eight_digits(*b"12345678"), Some(12_345_678));
        assert_eq!(eight_digits(*b"99999999"), Some(99_999_999));
        for k in 0..8 {
            for other in (0..=u8::MAX).filter(|byte| !byte.is_ascii_digit()) {
                let mut bytes = *b"90909090";
                bytes[k] = other;
                assert_eq!(eight_digits(bytes), None, "{bytes:?}");
            }
        }
    }

    #[test]
    fn floats_out_of_range_are_refused_and_tiny_ones_are_zero() {
        assert!(read::<f32>("1e39").unwrap_err().contains("out of range for float32"));
        assert!(read::<f64>("1e309").unwrap_err().contains("out of range for float64"));
        assert!(read::<f16>("65520").unwrap_err().contains("out of range for float16"));
        assert_eq!(read::<f16>("65504"), Ok(f16::MAX));
        assert_eq!(read::<f16>("65519.999999999985"), Ok(f16::MAX));
        // Just above and just below the middle between 1 and the next half: doubles tell them apart, singles don't.
        assert_eq!(read::<f16>("1.00048828125000022"), Ok(f16::from_bits(0x3c01)));
        assert_eq!(read::<f16>("-1.00146484374999978"), Ok(f16::from_bits(0xbc01)));
        assert_eq!(read::<bf16>("3.3961775292304597e38"), Ok(bf16::MAX));
        assert!(read::<bf16>("3.39617752923046e38").unwrap_err().contains("out of range"));
        assert_eq!(read::<f64>("1e-400"), Ok(0.0));
        assert_eq!(read::<f32>("3.4028235e38"), Ok(f32::MAX));
        assert_eq!(read::<f32>("1e-45"), Ok(f32::from_bits(1)));
        assert!(read::<f32>("-0").unwrap().is_sign_negative());
    }

    #[test]
    fn only_the_grammar_of_json_is_taken() {
        for text in ["", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "1_0", "Infinity", "--1", "1..2", "٣"] {
            assert!(read::<f64>(text).is_err(), "{text}");
        }
    }

    /// The middle between two neighbouring singles, and decimals near to it, are where a detour over doubles fails.
    #[test]
    fn singles_near_the_middle_of_two_are_rounded_once() {
        for text in [
            "1.00000005960464477539062500000000000000001",
            "1.000000059604644775390625",
            "1.0000000596046448",
            "7.006492321624085e-46",
            "7.006492321624086e-46",
            "0.000000000000000000000000000000000000011754943",
            "340282356779733661637539395458142568447",
            "16777217.0000000001",
            "16777217",
            "16777219",
        ] {
            assert_eq!(read::<f32>(text).ok(), text.parse::<f32>().ok().filter(|v| v.is_finite()), "{text}");
        }
    }

    proptest! {
        #[test]
        fn floats_are_read_as_the_standard_library_reads_them(mantissa: u64, digits in 1usize..20, point in 0usize..20, power in -45i32..40) {
            let digits = &format!("{mantissa:020}")[20 - digits..];
            let digits = digits.trim_start_matches('0');
            let digits = if digits.is_empty() { "0" } else { digits };
            let (before, after) = digits.split_at(point.min(digits.len() - 1).max(1));
            let text = if after.is_empty() { format!("{before}e{power}") } else { format!("{before}.{after}e{power}") };
            let finite = |v: f32| v.is_finite().then_some(v);
            prop_assert_eq!(read::<f32>(&text).ok(), finite(text.parse().unwrap()), "{}", text);
            prop_assert_eq!(read::<f64>(&text).ok(), text.parse().ok(), "{}", text);
        }

        #[test]
        fn every_single_survives_its_shortest_digits_and_a_doubles_digits(bits: u32) {
            let value = f32::from_bits(bits);
            prop_assume!(value.is_finite());
            prop_assert_eq!(read::<f32>(&format!("{value:?}")).map(f32::to_bits), Ok(bits));
            prop_assert_eq!(read::<f32>(&format!("{:?}", f64::from(value))).map(f32::to_bits), Ok(bits));
        }

        #[test]
        fn every_integer_survives(value: i64, unsigned: u64) {
            prop_assert_eq!(read::<i64>(&value.to_string()), Ok(value));
            prop_assert_eq!(read::<u64>(&unsigned.to_string()), Ok(unsigned));
        }
    }
}
