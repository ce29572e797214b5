//! Which sample requests to try, and in which order: a ladder from the likely to the odd. Pure.
//!
//! A graph says the type and, at best, the names of its inputs, but not which values make sense. So each rung fixes
//! what the signature leaves free (sizes, token ids or zeros, sample rates), and the first rung on which the model
//! runs gives the sample. The order never depends on anything but the signature: the same model, the same sample.

use std::collections::BTreeMap;

use nimify_runtime::signature::{Dim, ElementType, ModelSignature, Shape, ValueSpec, ValueType};

use super::arithmetic;

/// One rung: a value for all that a signature leaves open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Rung {
    /// Size of free dimensions that are neither rows nor an image's height or width.
    pub(super) size: usize,
    /// Height and width of images where they are free.
    pub(super) side: usize,
    /// Rank of inputs whose rank is unknown.
    pub(super) rank: usize,
    /// What integers, truth values and strings look like.
    pub(super) values: Values,
    /// What an input that is named like a sample rate gets.
    pub(super) rate: i64,
    /// Size of free dimensions on axis 0: 1, and more only where the model takes no single row.
    pub(super) rows: usize,
}

/// What integers, truth values and strings look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Values {
    /// By the input's name: a mask is ones, a length is a size, token ids are 1 to 8; strings are words.
    Named,
    /// 0 to 2, whatever the name.
    Small,
    /// Zeros; the string `0`.
    Zero,
    /// Ones; the string `1`.
    One,
}

const SIZES: [usize; 16] = [8, 1, 2, 3, 4, 16, 32, 64, 128, 256, 512, 576, 1024, 2048, 4096, 16000];
const SIDES: [usize; 9] = [32, 64, 224, 48, 28, 96, 128, 320, 640];
const RANKS: [usize; 5] = [2, 1, 3, 4, 0];
const RATES: [i64; 2] = [16000, 8000];
const VALUES: [Values; 4] = [Values::Named, Values::Small, Values::Zero, Values::One];

/// The most rungs of one ladder: each costs a run of the model.
const MOST_RUNGS: usize = 400;

/// The most elements of one input on a rung: beyond that a sample is no use to anyone.
const MOST_ELEMENTS: usize = 1 << 24;

/// Every rung worth trying, in order.
pub(super) fn rungs(signature: &ModelSignature) -> Vec<Rung> {
    let leaves: Vec<_> = signature.inputs.iter().map(|input| (input.name.as_str(), leaf(&input.value_type))).collect();
    let free = |wanted: fn(Axis) -> bool| {
        leaves.iter().any(|(_, leaf)| leaf.is_some_and(|(_, shape)| axes(shape).iter().any(|axis| wanted(*axis))))
    };
    let unknown_rank = leaves.iter().any(|(_, leaf)| leaf.is_some_and(|(_, shape)| shape.dims().is_none()));
    let discrete = leaves.iter().any(|(_, leaf)| leaf.is_some_and(|(kind, _)| !is_float(kind)));
    let rated = leaves.iter().any(|(name, _)| Role::of(name) == Role::Rate);

    let sizes = if free(|axis| axis == Axis::Size) || unknown_rank { &SIZES[..] } else { &SIZES[..1] };
    let sides = if free(|axis| axis == Axis::Side) { &SIDES[..] } else { &SIDES[..1] };
    let ranks = if unknown_rank { &RANKS[..] } else { &RANKS[..1] };
    let rates = if rated { &RATES[..] } else { &RATES[..1] };
    let values = if discrete { &VALUES[..] } else { &VALUES[..1] };
    let rows = if free(|axis| axis == Axis::Rows) { &[1, 2, 8][..] } else { &[1][..] };

    let mut rungs = Vec::new();
    for &rows in rows {
        for &values in values {
            for &rate in rates {
                for &rank in ranks {
                    for &side in sides {
                        for &size in sizes {
                            rungs.push(Rung { size, side, rank, values, rate, rows });
                        }
                    }
                }
            }
        }
    }
    // Single rows take what they need of the rungs; the few left over are for models that take no single row.
    let (mut single, mut several): (Vec<_>, Vec<_>) = rungs.into_iter().partition(|rung| rung.rows == 1);
    single.truncate(MOST_RUNGS);
    several.truncate(MOST_RUNGS / 4);
    single.append(&mut several);
    single
}

/// What a free dimension is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Axis {
    Fixed,
    Rows,
    Side,
    Size,
}

/// What each axis of a shape is: axis 0 is rows where it is free, and so is axis 1 of a state, which stacks layers on
/// axis 0; an image's free height and width are sides.
fn axes(shape: &Shape) -> Vec<Axis> {
    let dims = shape.dims().unwrap_or_default();
    let fixed = |axis: usize| dims.get(axis).is_some_and(|dim| matches!(dim, Dim::Fixed(_)));
    // Channels first or last: they are the axis that image models fix.
    let image = dims.len() == 4 && (fixed(1) || fixed(3));
    let side = |axis: usize| image && if fixed(1) { axis >= 2 } else { axis == 1 || axis == 2 };
    let state = dims.len() >= 3 && matches!(dims[0], Dim::Fixed(layers) if layers != 1) && (2..dims.len()).all(fixed);
    (0..dims.len())
        .map(|axis| match axis {
            _ if fixed(axis) => Axis::Fixed,
            0 => Axis::Rows,
            1 if state => Axis::Rows,
            _ if side(axis) => Axis::Side,
            _ => Axis::Size,
        })
        .collect()
}

/// The tensor that a value is or is made of.
fn leaf(value_type: &ValueType) -> Option<(ElementType, &Shape)> {
    match value_type {
        ValueType::Tensor { element_type, shape } => Some((*element_type, shape)),
        ValueType::Sequence { element } | ValueType::Optional { element } => leaf(element),
        ValueType::Map { .. } | ValueType::SparseTensor { .. } => None,
    }
}

fn is_float(kind: ElementType) -> bool {
    use ElementType as E;
    matches!(kind.carrier(), Some(E::Float32 | E::Float64 | E::Float16 | E::Bfloat16))
}

/// What an input's name says that its values are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// 1 where there is something, 0 where there is padding.
    Mask,
    /// The kind of each token: 0 is always one.
    Kind,
    /// 0, 1, 2, … along the last axis.
    Position,
    /// How long something is.
    Length,
    /// Samples a second.
    Rate,
    /// Nothing: an id, a category, a pixel.
    Plain,
}

impl Role {
    /// The role that the words of a name tell.
    pub(super) fn of(name: &str) -> Role {
        let name = name.to_lowercase();
        let word = |wanted: &[&str]| name.split(|c: char| !c.is_alphanumeric()).any(|word| wanted.contains(&word));
        if name.contains("mask") {
            Role::Mask
        } else if name.contains("type_id") || name.contains("segment") {
            Role::Kind
        } else if name.contains("position") {
            Role::Position
        } else if name.contains("length") || word(&["len", "lens"]) {
            Role::Length
        } else if word(&["sr", "rate"]) || name.contains("samplerate") {
            Role::Rate
        } else {
            Role::Plain
        }
    }
}

/// The size of each symbolic dimension on a rung. A name that stands on axis 0 anywhere counts rows everywhere.
pub(super) fn symbols(inputs: &[ValueSpec], rung: &Rung) -> BTreeMap<String, usize> {
    let mut sizes = BTreeMap::new();
    for wanted in [Axis::Rows, Axis::Side, Axis::Size] {
        for (_, shape) in inputs.iter().filter_map(|input| leaf(&input.value_type)) {
            for (axis, dim) in axes(shape).into_iter().zip(shape.dims().unwrap_or_default()) {
                if let (Dim::Symbolic(name), true) = (dim, axis == wanted) {
                    sizes.entry(name.clone()).or_insert(free_size(axis, rung));
                }
            }
        }
    }
    // `past + 1` and the like, as exporters name what depends on others; those may stand nowhere else.
    let mut terms = sizes.clone();
    for (text, free) in &sizes {
        for name in arithmetic::names(text).unwrap_or_default() {
            terms.entry(name.into()).or_insert(*free);
        }
    }
    let results: Vec<_> = sizes
        .keys()
        .filter(|text| arithmetic::names(text).is_some())
        .filter_map(|text| Some((text.clone(), arithmetic::evaluate(text, &terms).filter(|size| *size > 0)?)))
        .collect();
    sizes.extend(results);
    sizes
}

fn free_size(axis: Axis, rung: &Rung) -> usize {
    match axis {
        Axis::Rows => rung.rows,
        Axis::Side => rung.side,
        Axis::Size | Axis::Fixed => rung.size,
    }
}

/// The shape of a tensor on a rung; `None` where it would be too large.
pub(super) fn shape(shape: &Shape, rung: &Rung, symbols: &BTreeMap<String, usize>) -> Option<Vec<usize>> {
    let sizes: Vec<usize> = match shape.dims() {
        None => (0..rung.rank).map(|axis| if axis == 0 { rung.rows } else { rung.size }).collect(),
        Some(dims) => axes(shape)
            .into_iter()
            .zip(dims)
            .map(|(axis, dim)| match dim {
                Dim::Fixed(size) => usize::try_from(*size).ok(),
                Dim::Symbolic(name) => symbols.get(name).copied().or(Some(free_size(axis, rung))),
                Dim::Unknown => Some(free_size(axis, rung)),
            })
            .collect::<Option<_>>()?,
    };
    nimify_runtime::tensor::element_count(&sizes).filter(|count| *count <= MOST_ELEMENTS)?;
    Some(sizes)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{signature, tensor};
    use super::*;

    fn shapes(signature: &ModelSignature, rung: &Rung) -> Vec<Vec<usize>> {
        let symbols = symbols(&signature.inputs, rung);
        signature.inputs.iter().map(|input| shape(input.tensor().unwrap().1, rung, &symbols).unwrap()).collect()
    }

    #[test]
    fn a_signature_that_leaves_nothing_open_but_rows_has_few_rungs() {
        let rungs = rungs(&signature([tensor("x", ElementType::Float32, "N,4")], []));
        assert_eq!(rungs.iter().map(|rung| rung.rows).collect::<Vec<_>>(), [1, 2, 8]);
        let fixed = super::rungs(&signature([tensor("x", ElementType::Float32, "1,4")], []));
        assert_eq!(fixed.len(), 1);
    }

    #[test]
    fn rows_are_one_and_the_same_name_has_the_same_size() {
        let signature =
            signature([tensor("x", ElementType::Float32, "N,T,?"), tensor("state", ElementType::Float32, "2,N,T")], []);
        assert_eq!(shapes(&signature, &rungs(&signature)[0]), [vec![1, 8, 8], vec![2, 1, 8]]);
    }

    #[test]
    fn a_state_carries_rows_on_axis_1_and_features_their_length() {
        let inputs = ["2,?,64", "1,?,80", "1,?"].map(|dims| tensor("x", ElementType::Float32, dims));
        let signature = signature(inputs, []);
        assert_eq!(shapes(&signature, &rungs(&signature)[0]), [vec![2, 1, 64], vec![1, 8, 80], vec![1, 8]]);
    }

    #[test]
    fn a_sum_of_dimensions_follows_its_terms() {
        let inputs = [
            tensor("input_ids", ElementType::Int64, "batch,sequence"),
            tensor("past", ElementType::Float32, "batch,2,past_sequence,4"),
            tensor("attention_mask", ElementType::Int64, "batch,past_sequence + sequence"),
        ];
        let signature = signature(inputs, []);
        let rung = Rung { size: 8, ..rungs(&signature)[0].clone() };
        assert_eq!(shapes(&signature, &rung), [vec![1, 8], vec![1, 2, 32, 4], vec![1, 40]]);
    }

    #[test]
    fn sizes_that_depend_on_others_follow_them_however_they_are_written() {
        let inputs = [
            tensor("x", ElementType::Float32, "N,T,4"),
            tensor("steps", ElementType::Float32, "N,floor((T + 1)/2)"),
            tensor("past", ElementType::Float32, "N,k + T,k*2"),
        ];
        let signature = signature(inputs, []);
        assert_eq!(shapes(&signature, &rungs(&signature)[0]), [vec![1, 8, 4], vec![1, 4], vec![1, 16, 16]]);
    }

    #[test]
    fn free_height_and_width_are_sides_wherever_the_channels_stand() {
        for (dims, expected) in [("N,3,H,W", vec![1, 3, 32, 32]), ("?,?,?,3", vec![1, 32, 32, 3])] {
            let signature = signature([tensor("image", ElementType::Float32, dims)], []);
            assert_eq!(shapes(&signature, &rungs(&signature)[0]), [expected]);
        }
    }

    #[test]
    fn a_hostile_signature_makes_no_huge_sample() {
        for dims in ["N,1099511627776", "4294967296,4294967296,4294967296", "N,18446744073709551615"] {
            let signature = signature([tensor("x", ElementType::Float32, dims)], []);
            let rung = &rungs(&signature)[0];
            assert_eq!(shape(signature.inputs[0].tensor().unwrap().1, rung, &BTreeMap::new()), None, "{dims}");
        }
    }

    #[test]
    fn the_ladder_is_bounded_whatever_is_free() {
        let inputs = ["sr", "a", "b"].map(|name| tensor(name, ElementType::Int64, "N,3,H,W"));
        let mut open = signature(inputs, []);
        open.inputs.push(tensor("c", ElementType::Int64, "..."));
        assert!(rungs(&open).len() <= MOST_RUNGS + MOST_RUNGS / 4);
        assert!(rungs(&open).iter().any(|rung| rung.rows > 1));
    }

    #[test]
    fn names_tell_roles() {
        for (name, role) in [
            ("attention_mask", Role::Mask),
            ("token_type_ids", Role::Kind),
            ("position_ids", Role::Position),
            ("x_lengths", Role::Length),
            ("sr", Role::Rate),
            ("sample_rate", Role::Rate),
            ("input_ids", Role::Plain),
            ("operate", Role::Plain),
            ("lenses", Role::Plain),
        ] {
            assert_eq!(Role::of(name), role, "{name}");
        }
    }
}
