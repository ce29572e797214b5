//! Typed views of sequences of maps, in which classifiers of tables give a probability for each label.

use crate::error::Error;
use crate::tensor::{Element, Tensor, TensorData, Value};

/// The keys and the values of one map, scalars each, in the model's order.
pub type Pairs = Vec<(Tensor, Value)>;

/// One map of a sequence: a generated struct with a field a label, or pairs where the labels aren't known.
pub trait Row: Sized {
    /// Takes a map apart. An `Err` says what it lacks.
    fn from_pairs(pairs: Pairs) -> Result<Self, String>;

    /// Makes the map again.
    fn into_pairs(self) -> Pairs;
}

/// A sequence of maps: the typed view that generated requests and responses hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows<T>(pub Vec<T>);

impl<T: Row> Rows<T> {
    /// Takes the maps of `value` apart. `name` is the output's, for the error.
    pub fn from_value(name: &str, value: Value) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Internal(format!("`{name}` should be a sequence of maps and {what}"));
        let Value::Sequence(rows) = value else { return Err(wrong("is none")) };
        let row = |row| match row {
            Value::Map(pairs) => T::from_pairs(pairs).map_err(|why| wrong(&why)),
            _ => Err(wrong("holds something else")),
        };
        rows.into_iter().map(row).collect::<Result<_, _>>().map(Rows)
    }

    /// Makes the maps again. It never fails, and has a `Result` as what it stands beside has.
    pub fn into_value(self, _name: &str) -> Result<Value, Error> {
        Ok(Value::Sequence(self.0.into_iter().map(|row| Value::Map(row.into_pairs())).collect()))
    }
}

impl<K: Element, V: Element> Row for Vec<(K, V)> {
    fn from_pairs(pairs: Pairs) -> Result<Self, String> {
        let pair = |(key, value): (Tensor, Value)| Ok((element(key.data)?, scalar(value)?));
        pairs.into_iter().map(pair).collect()
    }

    fn into_pairs(self) -> Pairs {
        self.into_iter().map(|(key, value)| (tensor(key), tensor(value).into())).collect()
    }
}

/// What a label is in a generated crate: a text or an integer.
pub trait Label: Copy + std::fmt::Debug {
    /// Whether it is this key.
    fn is(self, key: &TensorData) -> bool;

    /// It as a key.
    fn key(self) -> Tensor;
}

impl Label for &str {
    fn is(self, key: &TensorData) -> bool {
        matches!(key, TensorData::String(texts) if matches!(texts.as_slice(), [text] if text == self.as_bytes()))
    }

    fn key(self) -> Tensor {
        tensor(self.as_bytes().to_vec())
    }
}

impl Label for i64 {
    fn is(self, key: &TensorData) -> bool {
        matches!(key, TensorData::Int64(numbers) if numbers.as_slice() == [self])
    }

    fn key(self) -> Tensor {
        tensor(self)
    }
}

/// The value of each label, in the order of `labels`.
pub fn take_labels<L: Label, V: Element, const N: usize>(labels: [L; N], mut pairs: Pairs) -> Result<[V; N], String> {
    let mut values = Vec::with_capacity(N);
    for label in labels {
        let place = pairs.iter().position(|(key, _)| label.is(&key.data));
        let place = place.ok_or_else(|| format!("has a map without the label {label:?}"))?;
        values.push(scalar(pairs.swap_remove(place).1)?);
    }
    match pairs.first() {
        Some((key, _)) => Err(format!("has a map with the unknown label {:?}", key.data)),
        None => values.try_into().map_err(|_| "has a map of another size".into()),
    }
}

/// The map of these labels and values.
pub fn give_labels<L: Label, V: Element, const N: usize>(labels: [L; N], values: [V; N]) -> Pairs {
    labels.into_iter().zip(values).map(|(label, value)| (label.key(), tensor(value).into())).collect()
}

fn tensor<T: Element>(element: T) -> Tensor {
    Tensor { shape: Vec::new(), data: T::wrap(vec![element]) }
}

fn scalar<T: Element>(value: Value) -> Result<T, String> {
    value
        .into_tensor()
        .ok_or_else(|| "has a map of something else than numbers".to_string())
        .and_then(|t| element(t.data))
}

fn element<T: Element>(data: TensorData) -> Result<T, String> {
    let is = data.element_type();
    let wrong = || format!("has a map with {is} where {} should be", T::TYPE);
    T::unwrap(data)
        .ok()
        .filter(|elements| elements.len() == 1)
        .and_then(|mut elements| elements.pop())
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Two {
        yes: f32,
        no: f32,
    }

    impl Row for Two {
        fn from_pairs(pairs: Pairs) -> Result<Self, String> {
            let [yes, no] = take_labels(["yes", "no"], pairs)?;
            Ok(Two { yes, no })
        }

        fn into_pairs(self) -> Pairs {
            give_labels(["yes", "no"], [self.yes, self.no])
        }
    }

    fn maps(pairs: &[(&str, f32)]) -> Value {
        let pairs = pairs.iter().map(|(label, value)| (label.key(), tensor(*value).into())).collect();
        Value::Sequence(vec![Value::Map(pairs)])
    }

    #[test]
    fn labels_are_found_in_any_order_and_written_in_their_own() {
        let rows = Rows::<Two>::from_value("p", maps(&[("no", 0.25), ("yes", 0.75)])).unwrap();
        assert_eq!((rows.0[0].yes, rows.0[0].no), (0.75, 0.25));
        assert_eq!(rows.into_value("p"), Ok(maps(&[("yes", 0.75), ("no", 0.25)])));
        let fault = |value| Rows::<Two>::from_value("p", value).err().unwrap().to_string();
        assert!(fault(maps(&[("no", 0.25)])).contains(r#"without the label "yes""#));
        assert!(fault(maps(&[("no", 0.25), ("yes", 0.0), ("maybe", 0.0)])).contains("unknown label"));
        assert!(fault(Value::Absent).contains("`p` should be a sequence of maps and is none"));
    }

    #[test]
    fn without_known_labels_a_row_is_its_pairs() {
        let value = || {
            let pairs = [(7i64, 0.5f64), (-1, 0.25)].map(|(key, value)| (key.key(), tensor(value).into()));
            Value::Sequence(vec![Value::Map(pairs.to_vec()), Value::Map(vec![])])
        };
        let rows = Rows::<Vec<(i64, f64)>>::from_value("p", value()).unwrap();
        assert_eq!(rows.0, [vec![(7, 0.5), (-1, 0.25)], vec![]]);
        assert_eq!(rows.into_value("p"), Ok(value()));
        assert!(Rows::<Vec<(i64, f32)>>::from_value("p", value()).unwrap_err().to_string().contains("float64"));
    }
}
