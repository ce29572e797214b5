//! Sizes that exporters write as arithmetic over other sizes: `past + 1`, `floor(H/2)`, `2*T - 1`. Pure.
//!
//! A name with an operator in it is read so where it can be, and is a name like any other where it can't.

use std::collections::BTreeMap;

/// Bytes of the longest text that is read, and how deep its brackets go: exporters stay far below both.
const LONGEST: usize = 512;
const DEEPEST: usize = 32;

/// The value of an expression over known names, rounded down; `None` for what is no expression, a name that isn't
/// known, a division by zero and what is below zero or beyond all sizes.
pub(super) fn evaluate(text: &str, known: &BTreeMap<String, usize>) -> Option<usize> {
    let value = parse(text, &mut |name| known.get(name).map(|&size| size as f64))?;
    // Beyond this not every whole number is a float.
    (0.0..=9_007_199_254_740_992.0).contains(&value).then_some(value as usize)
}

/// The names in an expression, in order; `None` for what is no expression, and for a name alone.
pub(super) fn names(text: &str) -> Option<Vec<&str>> {
    let mut names = Vec::new();
    // A value that no exporter's divisor or power comes to by chance.
    parse(text, &mut |name| {
        names.push(name);
        Some(7.0)
    })?;
    (names.as_slice() != [text.trim()]).then_some(names)
}

fn parse<'t>(text: &'t str, size: &mut dyn FnMut(&'t str) -> Option<f64>) -> Option<f64> {
    if text.len() > LONGEST {
        return None;
    }
    let mut reader = Reader { rest: text, size, depth: 0 };
    let value = reader.sum()?;
    reader.rest.trim_start().is_empty().then_some(value).filter(|value| value.is_finite())
}

/// What is left of the text, and what a name stands for.
struct Reader<'t, 's> {
    rest: &'t str,
    size: &'s mut dyn FnMut(&'t str) -> Option<f64>,
    depth: usize,
}

impl<'t> Reader<'t, '_> {
    /// Takes `token` if it comes next.
    fn takes(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sum(&mut self) -> Option<f64> {
        let mut value = self.product()?;
        loop {
            if self.takes("+") {
                value += self.product()?;
            } else if self.takes("-") {
                value -= self.product()?;
            } else {
                return Some(value);
            }
        }
    }

    fn product(&mut self) -> Option<f64> {
        let mut value = self.power()?;
        loop {
            if self.takes("//") {
                value = (value / self.power()?).floor();
            } else if self.takes("*") {
                value *= self.power()?;
            } else if self.takes("/") {
                value /= self.power()?;
            } else if self.takes("%") {
                value = value.rem_euclid(self.power()?);
            } else {
                return Some(value);
            }
        }
    }

    fn power(&mut self) -> Option<f64> {
        let base = self.atom()?;
        if self.takes("**") || self.takes("^") {
            return Some(base.powf(self.atom()?));
        }
        Some(base)
    }

    fn atom(&mut self) -> Option<f64> {
        if self.depth == DEEPEST {
            return None;
        }
        self.depth += 1;
        let value = self.atom_within();
        self.depth -= 1;
        value
    }

    fn atom_within(&mut self) -> Option<f64> {
        if self.takes("-") {
            return Some(-self.atom()?);
        }
        if self.takes("(") {
            let value = self.sum()?;
            return self.takes(")").then_some(value);
        }
        let word = self.word()?;
        if word.starts_with(|c: char| c.is_ascii_digit()) {
            return word.parse().ok();
        }
        if !self.takes("(") {
            return (self.size)(word);
        }
        let mut arguments = vec![self.sum()?];
        while self.takes(",") {
            arguments.push(self.sum()?);
        }
        if self.takes(")") { apply(word, &arguments) } else { None }
    }

    /// A number, or a name with the dots that some exporters write in it.
    fn word(&mut self) -> Option<&'t str> {
        let rest = self.rest.trim_start();
        let end = rest.find(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '.'))).unwrap_or(rest.len());
        let (word, rest) = rest.split_at(end);
        self.rest = rest;
        (!word.is_empty()).then_some(word)
    }
}

/// The functions of PyTorch's exporters, whatever the case of their letters.
fn apply(function: &str, arguments: &[f64]) -> Option<f64> {
    match (function.to_ascii_lowercase().as_str(), arguments) {
        ("floor" | "int" | "trunctoint", [a]) => Some(a.floor()),
        ("ceil" | "ceiling" | "ceiltoint", [a]) => Some(a.ceil()),
        ("max", [first, rest @ ..]) => Some(rest.iter().copied().fold(*first, f64::max)),
        ("min", [first, rest @ ..]) => Some(rest.iter().copied().fold(*first, f64::min)),
        ("floordiv" | "cleandiv", [a, b]) => Some((a / b).floor()),
        ("inttruediv" | "truediv", [a, b]) => Some(a / b),
        ("mod" | "pythonmod", [a, b]) => Some(a.rem_euclid(*b)),
        ("pow", [a, b]) => Some(a.powf(*b)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(text: &str) -> Option<usize> {
        let known = [("past", 6), ("T", 9), ("H", 33), ("s0.a", 2)].map(|(name, size)| (name.to_string(), size));
        evaluate(text, &known.into())
    }

    #[test]
    fn what_exporters_write_is_computed() {
        for (text, expected) in [
            ("past + T", 15),
            ("past+1", 7),
            ("2*T - 1", 17),
            ("H // 4", 8),
            ("floor(H/2)", 16),
            ("floor(floor(H/2 - 1/2)/2) + 1", 9),
            ("((H - 1)//2) + 1", 17),
            ("CeilToInt(IntTrueDiv(H, 2))", 17),
            ("Max(1, past - 7, s0.a)", 2),
            ("Mod(T, 4) + T % 4", 2),
            ("s0.a**3", 8),
            ("-past + 10", 4),
            ("T", 9),
        ] {
            assert_eq!(value(text), Some(expected), "{text}");
        }
        assert_eq!(names("floor(H/2) + past"), Some(vec!["H", "past"]));
    }

    #[test]
    fn what_is_no_arithmetic_is_a_name() {
        for text in
            ["batch size", "N,T", "past +", "(T", "T)", "1/0", "past - T", "what(T)", "other + 1", "", "2**9999"]
        {
            assert_eq!(value(text), None, "{text}");
        }
        for text in ["batch size", "N", " N ", "N,T", ""] {
            assert_eq!(names(text), None, "{text}");
        }
        assert_eq!(value(&"(".repeat(200)), None);
        assert_eq!(value(&"-".repeat(200)), None);
    }

    proptest! {
        #[test]
        fn nothing_makes_it_panic(text in "[a-zA-Z0-9_.+*/%^(), -]{0,600}") {
            let _ = (value(&text), names(&text));
        }
    }
}
