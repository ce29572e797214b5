//! The values of a made-up request: seeded, the same for the same signature and rung, distinct from row to row. Pure.

use std::collections::BTreeMap;

use nimify_runtime::narrow;
use nimify_runtime::service::{bf16, f16};
use nimify_runtime::signature::{ElementType, ModelSignature, ValueType};
use nimify_runtime::tensor::{Tensor, TensorData, Value, element_count};

use super::ladder::{self, Role, Rung, Values};
use crate::model::Hint;

/// How far values lie apart: the first is what most models expect, the others bring out differences where it doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Spread {
    /// Floats from 0 to 1.
    Unit,
    /// Floats from -8 to 8.
    Signed,
    /// Floats from 0 to 256; ids below 100, and categories that the model may not know.
    Large,
}

/// Every spread, in the order in which they are tried.
pub(super) const SPREADS: [Spread; 3] = [Spread::Unit, Spread::Signed, Spread::Large];

/// The words that string inputs are made of.
const WORDS: [&str; 8] = ["apple", "banana", "cherry", "damson", "elder", "fig", "grape", "hazel"];

/// What is known of a model's inputs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known<'a> {
    /// Names, types and shapes.
    pub(super) signature: &'a ModelSignature,
    /// What the graph reveals about values, by the input's name.
    pub(super) hints: &'a BTreeMap<String, Hint>,
}

/// Row `row` of the made-up requests on `rung`: one value an input. An `Err` names the input for which no value can
/// be made, and why.
pub(super) fn request(known: Known<'_>, rung: &Rung, spread: Spread, row: usize) -> Result<Vec<Value>, String> {
    let symbols = ladder::symbols(&known.signature.inputs, rung);
    let each = known.signature.inputs.iter().enumerate().map(|(k, input)| {
        let (role, hint) = (Role::of(&input.name), known.hints.get(&input.name));
        let maker = Maker { role, hint, rung, symbols: &symbols, spread, row, seed: k as u64 };
        maker.value(&input.value_type).map_err(|why| format!("`{}` {why}", input.name))
    });
    each.collect()
}

struct Maker<'a> {
    role: Role,
    hint: Option<&'a Hint>,
    rung: &'a Rung,
    symbols: &'a BTreeMap<String, usize>,
    spread: Spread,
    row: usize,
    seed: u64,
}

impl Maker<'_> {
    fn value(&self, value_type: &ValueType) -> Result<Value, String> {
        match value_type {
            ValueType::Tensor { element_type, shape } => {
                let shape = ladder::shape(shape, self.rung, self.symbols).ok_or("is too large for a sample")?;
                let data = self
                    .data(*element_type, &shape)
                    .ok_or_else(|| format!("has elements of type {element_type}, which can't be served"))?;
                Ok(Tensor { shape, data }.into())
            }
            ValueType::Sequence { element } => {
                let next = Maker { seed: self.seed + 1000, ..*self };
                Ok(Value::Sequence(vec![self.value(element)?, next.value(element)?]))
            }
            ValueType::Optional { element } => self.value(element),
            ValueType::Map { .. } => Err("is a map, for which no value can be made".into()),
            ValueType::SparseTensor { .. } => Err("is a sparse tensor, which can't be served".into()),
        }
    }

    fn data(&self, element_type: ElementType, shape: &[usize]) -> Option<TensorData> {
        use ElementType as E;
        let count = element_count(shape)?;
        let last = shape.last().copied().unwrap_or(1).max(1);
        let pixels = element_type == E::Uint8 && shape.len() >= 3;
        let integer = |k: usize| match narrow::range(element_type) {
            // Around and around, so that rows stay as distinct as the type lets them.
            Some(range) => self.integer(k, last, pixels).rem_euclid(range.greatest as i64 + 1),
            None => self.integer(k, last, pixels),
        };
        let float = |k: usize| narrow::nearest(element_type, self.float(k, count));
        macro_rules! fill {
            ($variant:ident, $each:expr) => {
                TensorData::$variant((0..count).map($each).collect())
            };
        }
        Some(match element_type.carrier()? {
            E::Float32 => fill!(Float32, |k| float(k) as f32),
            E::Float64 => fill!(Float64, |k| self.float(k, count)),
            E::Float16 => fill!(Float16, |k| f16::from_f64(self.float(k, count))),
            E::Bfloat16 => fill!(Bfloat16, |k| bf16::from_f64(self.float(k, count))),
            E::Int8 => fill!(Int8, |k| integer(k).min(127) as i8),
            E::Int16 => fill!(Int16, |k| integer(k) as i16),
            E::Int32 => fill!(Int32, |k| integer(k) as i32),
            E::Int64 => fill!(Int64, integer),
            E::Uint8 => fill!(Uint8, |k| integer(k).min(255) as u8),
            E::Uint16 => fill!(Uint16, |k| integer(k) as u16),
            E::Uint32 => fill!(Uint32, |k| integer(k) as u32),
            E::Uint64 => fill!(Uint64, |k| integer(k) as u64),
            E::Bool => fill!(Bool, |k| self.truth(k, last)),
            E::String => fill!(String, |k| self.text(k)),
            _ => return None,
        })
    }

    /// A number below `below` that differs from row to row at the first element, so that no two rows are the same.
    fn pick(&self, k: usize, below: u64) -> u64 {
        let row = if k == 0 { 0 } else { self.row as u64 };
        let mixed = mix(self.seed << 40 ^ row << 32 ^ k as u64);
        (mixed + if k == 0 { self.row as u64 } else { 0 }) % below
    }

    /// A float with few digits, exact in every float type: long requests stay short.
    fn float(&self, k: usize, count: usize) -> f64 {
        if self.role == Role::Rate {
            return self.rung.rate as f64;
        }
        let steps: u64 = if count > 1024 { 8 } else { 64 };
        let unit = self.pick(k, steps) as f64 / steps as f64;
        match self.spread {
            Spread::Unit => unit,
            Spread::Signed => unit * 16.0 - 8.0,
            Spread::Large => unit * 256.0,
        }
    }

    fn integer(&self, k: usize, last: usize, pixels: bool) -> i64 {
        let place = k % last;
        match (self.rung.values, self.role) {
            (_, Role::Rate) => self.rung.rate,
            (Values::Zero, _) => 0,
            (Values::One, _) => 1,
            (Values::Small, _) => self.pick(k, 3) as i64,
            (Values::Named, Role::Mask) => i64::from(self.kept(place, last)),
            (Values::Named, Role::Kind) => 0,
            (Values::Named, Role::Position) => self.below(place as i64),
            (Values::Named, Role::Length) => self.rung.size.saturating_sub(self.row).max(1) as i64,
            (Values::Named, Role::Plain) => self.plain(k, pixels),
        }
    }

    /// An id, a category, a pixel: one that the model knows, if the graph says which it does.
    fn plain(&self, k: usize, pixels: bool) -> i64 {
        // A single known value is what ids are compared with, such as that of padding: rather not the only one sent.
        let categories = self.hint.map(|hint| &hint.integers).filter(|known| known.len() > 1 && self.known_alone());
        match (self.hint.and_then(|hint| hint.below), categories) {
            (Some(below), _) if below < 9 => self.pick(k, below.max(1)) as i64,
            (None, Some(known)) => {
                let index = self.pick(k, known.len() as u64) as usize;
                known.iter().nth(index).copied().unwrap_or_default()
            }
            (None, None) if pixels => self.pick(k, 256) as i64,
            (None, None) if self.spread == Spread::Large => self.pick(k, 100) as i64,
            // From 1: an id of 0 is padding more often than not.
            _ => 1 + self.pick(k, 8) as i64,
        }
    }

    /// Whether only categories that the model knows are sent: of a few of them no distinct rows can be made.
    fn known_alone(&self) -> bool {
        self.spread != Spread::Large
    }

    /// `number`, or the largest that the model's table holds.
    fn below(&self, number: i64) -> i64 {
        let below = self.hint.and_then(|hint| hint.below).and_then(|below| i64::try_from(below).ok());
        below.map_or(number, |below| number.min(below - 1).max(0))
    }

    /// Whether a mask keeps this place: all of the first row, and of others all but a few at the end.
    fn kept(&self, place: usize, last: usize) -> bool {
        place == 0 || place < last.saturating_sub(self.row % 4)
    }

    fn truth(&self, k: usize, last: usize) -> bool {
        match (self.rung.values, self.role) {
            (Values::Zero, _) => false,
            (Values::One, _) => true,
            (Values::Named, Role::Mask) => self.kept(k % last, last),
            _ => self.pick(k, 2) == 1,
        }
    }

    fn text(&self, k: usize) -> Vec<u8> {
        match self.rung.values {
            Values::Zero => b"0".to_vec(),
            Values::One => b"1".to_vec(),
            Values::Small => self.pick(k, 3).to_string().into(),
            Values::Named => {
                let known = self.hint.map(|hint| &hint.strings).filter(|known| !known.is_empty() && self.known_alone());
                let count = known.map_or(WORDS.len(), |known| known.len());
                let index = self.pick(k, count as u64) as usize;
                known.and_then(|known| known.iter().nth(index)).map_or(WORDS[index % WORDS.len()], |word| word).into()
            }
        }
    }
}

/// SplitMix64's finaliser: the same on every machine, for ever.
fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    // The top bit stays free for an addition.
    (z ^ (z >> 31)) >> 1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::testing::{known, signature, tensor};
    use super::*;

    const SERVED: [ElementType; 24] = [
        ElementType::Float32,
        ElementType::Float64,
        ElementType::Float16,
        ElementType::Bfloat16,
        ElementType::Int8,
        ElementType::Int16,
        ElementType::Int32,
        ElementType::Int64,
        ElementType::Uint8,
        ElementType::Uint16,
        ElementType::Uint32,
        ElementType::Uint64,
        ElementType::Bool,
        ElementType::String,
        ElementType::Float8E4M3FN,
        ElementType::Float8E4M3FNUZ,
        ElementType::Float8E5M2,
        ElementType::Float8E5M2FNUZ,
        ElementType::Float8E8M0,
        ElementType::Float4E2M1,
        ElementType::Int4,
        ElementType::Uint4,
        ElementType::Int2,
        ElementType::Uint2,
    ];

    #[test]
    fn every_type_gets_values_of_its_own_and_the_same_ones_each_time() {
        let inputs: Vec<_> = SERVED.iter().map(|kind| tensor(kind.name(), *kind, "N,3")).collect();
        let signature = signature(inputs, []);
        let rung = &ladder::rungs(&signature)[0];
        for spread in SPREADS {
            let values = request(known(&signature), rung, spread, 0).unwrap();
            for (value, kind) in values.iter().zip(SERVED) {
                let tensor = value.as_tensor().unwrap();
                assert_eq!(Some(tensor.element_type()), kind.carrier());
                assert_eq!((tensor.data.len(), &tensor.shape[..]), (3, &[1, 3][..]));
                assert_eq!(narrow::unfit(kind, &tensor.data), None, "{kind}");
            }
            assert_eq!(values, request(known(&signature), rung, spread, 0).unwrap());
        }
    }

    #[test]
    fn rows_differ_even_where_a_row_is_one_number() {
        // Narrow types have fewer values than there are rows, or few between 0 and 1.
        for kind in SERVED.into_iter().filter(|kind| *kind != ElementType::Bool && narrow::range(*kind).is_none()) {
            let signature = signature([tensor("x", kind, "N")], []);
            let rung = &ladder::rungs(&signature)[0];
            let rows: Vec<_> = (0..8).map(|row| request(known(&signature), rung, Spread::Unit, row).unwrap()).collect();
            for (k, row) in rows.iter().enumerate() {
                assert!(!rows[..k].contains(row), "{kind}: {row:?}");
            }
        }
    }

    #[test]
    fn names_decide_what_integers_are() {
        let inputs = ["input_ids", "attention_mask", "token_type_ids", "position_ids", "lengths"]
            .map(|name| tensor(name, ElementType::Int64, "N,S"));
        let signature = signature(inputs, []);
        let rung = &ladder::rungs(&signature)[0];
        let row = |row| request(known(&signature), rung, Spread::Unit, row).unwrap();
        let whole = |value: &Value| match &value.as_tensor().unwrap().data {
            TensorData::Int64(all) => all.clone(),
            _ => panic!(),
        };
        let first: Vec<_> = row(0).iter().map(whole).collect();
        assert!(first[0].iter().all(|id| (1..=8).contains(id)));
        assert_eq!(first[1], [1; 8]);
        assert_eq!(first[2], [0; 8]);
        assert_eq!(first[3], [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(first[4], [8; 8]);
        assert_eq!(whole(&row(2)[1]), [1, 1, 1, 1, 1, 1, 0, 0]);
    }

    #[test]
    fn the_graph_decides_what_a_value_may_be() {
        let inputs = [
            tensor("kind", ElementType::Int64, "N,9"),
            tensor("code", ElementType::Int64, "N,9"),
            tensor("fruit", ElementType::String, "N,9"),
        ];
        let signature = signature(inputs, []);
        let hints = BTreeMap::from([
            ("kind".to_string(), Hint { below: Some(2), ..Hint::default() }),
            ("code".to_string(), Hint { integers: BTreeSet::from([-7, 40]), ..Hint::default() }),
            ("fruit".to_string(), Hint { strings: BTreeSet::from(["kiwi".to_string()]), ..Hint::default() }),
        ]);
        let rung = &ladder::rungs(&signature)[0];
        let row = request(Known { signature: &signature, hints: &hints }, rung, Spread::Signed, 3).unwrap();
        let data = |k: usize| row[k].as_tensor().unwrap().data.clone();
        assert!(matches!(data(0), TensorData::Int64(all) if all.iter().all(|v| (0..2).contains(v))));
        assert!(matches!(data(1), TensorData::Int64(all) if all.iter().all(|v| [-7, 40].contains(v))));
        assert_eq!(data(2), TensorData::String(vec![b"kiwi".to_vec(); 9]));
    }

    #[test]
    fn what_can_not_be_made_is_named() {
        let mut odd = signature([], []);
        let map = ValueType::Map {
            key: ElementType::Int64,
            value: Box::new(tensor("", ElementType::Float32, "").value_type),
            labels: vec![],
        };
        odd.inputs.push(nimify_runtime::signature::ValueSpec { name: "m".into(), value_type: map });
        let rung = &ladder::rungs(&odd)[0];
        assert!(request(known(&odd), rung, Spread::Unit, 0).unwrap_err().starts_with("`m` is a map"));
        let small = signature([tensor("q", ElementType::Complex64, "N")], []);
        let why = request(known(&small), &ladder::rungs(&small)[0], Spread::Unit, 0).unwrap_err();
        assert_eq!(why, "`q` has elements of type complex64, which can't be served");
    }
}
