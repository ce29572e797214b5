//! That making rows longer changes no answer: seen by running rows of several lengths alone and joined.

use std::collections::BTreeSet;

use super::{Fill, Filled, Padding, join, split};
use crate::batching::{Executor, rows, same_answer};
use crate::codec::did_you_mean;
use crate::settings::PaddingSettings;
use crate::signature::{Dim, ModelSignature, ValueSpec};
use crate::tensor::{Element, Tensor, TensorData, Value, each_type, element_count};

/// The longest row that is tried has between that many places...
const SHORTEST: usize = 4;
/// ... and that many.
const LONGEST: usize = 64;

impl Padding {
    /// Whether `settings` fit the model's inputs, as far as that can be told without running it: an `Err` says what
    /// doesn't.
    pub fn check(signature: &ModelSignature, settings: &PaddingSettings) -> Result<(), String> {
        planned(signature, settings).map(drop)
    }

    /// How to make rows equally long as `settings` say, after runs of `executor` have shown that it changes no answer
    /// beyond what batching itself may. `sample` is a request that the model takes. An `Err` says why it is not to be.
    pub fn prove(
        executor: &dyn Executor,
        signature: &ModelSignature,
        settings: &PaddingSettings,
        sample: &[Value],
    ) -> Result<Padding, String> {
        if signature.batching.axis() != Some(0) {
            return Err(format!("requests aren't joined at all: {}", signature.batching.reason()));
        }
        let mut padding = planned(signature, settings)?;
        let tried = ran_alone(executor, &padding, sample)?;
        padding.outputs = lengths_of_outputs(signature, &tried)?;
        if tried.iter().all(|one| one.answer == tried[0].answer) {
            return Err("every row tried had the same answer: comparing equal things proves nothing".into());
        }
        let (last, all) = (tried.len() - 1, 0..tried.len());
        for batch in [all.clone().collect::<Vec<_>>(), all.rev().collect(), vec![last, 0], vec![0, last, last]] {
            let rows: Vec<&Tried> = batch.iter().map(|&k| &tried[k]).collect();
            compare_joined(executor, signature, &padding, &rows)?;
        }
        Ok(padding)
    }
}

/// A row that was run alone.
struct Tried {
    length: usize,
    inputs: Vec<Value>,
    answer: Vec<Value>,
}

/// What the settings mean for the signature, without anything about the outputs.
fn planned(signature: &ModelSignature, settings: &PaddingSettings) -> Result<Padding, String> {
    let known = |name: &String| signature.inputs.iter().position(|spec| spec.name == *name);
    let declared = settings.values.keys().chain(&settings.mask);
    if let Some(name) = declared.clone().find(|name| known(name).is_none()) {
        let meant = did_you_mean(name, signature.inputs.iter().map(|spec| spec.name.as_str()));
        return Err(format!("the model has no input `{name}`{meant}"));
    }
    let mut names = BTreeSet::new();
    let mut inputs = Vec::with_capacity(signature.inputs.len());
    for spec in &signature.inputs {
        // A mask is nothing where there is no data, unless it is said otherwise.
        let masks = settings.mask.as_ref() == Some(&spec.name);
        let fill = settings.values.get(&spec.name).copied().or(masks.then_some(0.0));
        inputs.push(fill.map(|number| filled(spec, number, &mut names)).transpose()?);
    }
    if let [one, other, ..] = names.iter().collect::<Vec<_>>()[..] {
        return Err(format!("both `{one}` and `{other}` are free: rows have one length"));
    }
    for (spec, filled) in signature.inputs.iter().zip(&inputs) {
        if filled.is_none()
            && let Some(name) = free_axes(spec).filter_map(|(_, name)| name).find(|name| names.contains(*name))
        {
            return Err(format!("the input `{}` is as long as `{name}` too: say what fills it", spec.name));
        }
    }
    Ok(Padding { inputs, mask: settings.mask.as_ref().and_then(known), outputs: Vec::new() })
}

fn filled<'s>(spec: &'s ValueSpec, number: f64, names: &mut BTreeSet<&'s str>) -> Result<Filled, String> {
    let name = &spec.name;
    let (element_type, _) = spec.tensor().ok_or_else(|| format!("the input `{name}` is no tensor"))?;
    let fill = Fill::new(number, element_type)
        .ok_or_else(|| format!("the input `{name}` can't be filled with {number}: its elements are {element_type}"))?;
    names.extend(free_axes(spec).filter_map(|(_, name)| name));
    let axes: Vec<usize> = free_axes(spec).map(|(axis, _)| axis).collect();
    match axes.is_empty() {
        true => Err(format!("the input `{name}` has no free axis beside that of the rows")),
        false => Ok(Filled { axes, fill }),
    }
}

/// The free axes of an input but that of the rows, and their names.
fn free_axes(spec: &ValueSpec) -> impl Iterator<Item = (usize, Option<&str>)> {
    let dims = spec.tensor().and_then(|(_, shape)| shape.dims()).unwrap_or_default();
    dims.iter().enumerate().skip(1).filter_map(|(axis, dim)| match dim {
        Dim::Fixed(_) => None,
        Dim::Symbolic(name) => Some((axis, Some(name.as_str()))),
        Dim::Unknown => Some((axis, None)),
    })
}

/// Rows of several lengths made of the sample's first, the longest first, and what the model answers to each alone.
fn ran_alone(executor: &dyn Executor, padding: &Padding, sample: &[Value]) -> Result<Vec<Tried>, String> {
    let rows = rows::count(sample, 0).filter(|rows| *rows > 0).ok_or("the sample has no rows")?;
    let first = rows::split(sample.to_vec(), 0, &[1, rows - 1]).and_then(|parts| parts.into_iter().next());
    let first = first.ok_or("the sample has no rows")?;
    let unmasked = Padding { mask: None, ..padding.clone() };
    let length = unmasked.length(&first).ok_or("the inputs of the sample aren't equally long")?;
    let longest = length.clamp(SHORTEST, LONGEST);
    let (mut tried, mut refused) = (Vec::new(), None);
    for (k, length) in [longest, longest - 1, longest / 2, 1].into_iter().enumerate() {
        let inputs = padding.cycled(&first, length, k).ok_or("the sample can't be made longer or shorter")?;
        match executor.run(inputs.clone()) {
            Ok(answer) => tried.push(Tried { length, inputs, answer }),
            // A model may take no row as short as that.
            Err(error) => refused = Some(format!("a row of length {length}: {error}")),
        }
    }
    match (tried.len(), refused) {
        (0 | 1, Some(refused)) => Err(format!("the model takes rows of one length only ({refused})")),
        _ => Ok(tried),
    }
}

impl Padding {
    /// A row with its elements repeated up to `length`, beginning with the one at `from`; nothing of it masked.
    fn cycled(&self, row: &[Value], length: usize, from: usize) -> Option<Vec<Value>> {
        let one = |(k, value): (usize, &Value)| {
            let Some(Filled { axes, .. }) = &self.inputs[k] else { return Some(value.clone()) };
            let tensor = value.as_tensor()?;
            match self.mask == Some(k) {
                true => {
                    let one = Fill::new(1.0, tensor.element_type())?;
                    let shape = cycled_shape(tensor, axes, length)?;
                    let none = vec![0; shape.len()];
                    let empty = TensorData::with_capacity(tensor.element_type(), 0)?;
                    Tensor::new(shape.clone(), one.resize(&empty, &none, &shape)?).map(Value::Tensor)
                }
                false => each_type!(&tensor.data, elements => cycle(elements, tensor, axes, length, from)),
            }
        };
        row.iter().enumerate().map(one).collect()
    }
}

fn cycled_shape(tensor: &Tensor, axes: &[usize], length: usize) -> Option<Vec<usize>> {
    let mut shape = tensor.shape.clone();
    axes.iter().try_for_each(|&axis| shape.get_mut(axis).map(|size| *size = length))?;
    Some(shape)
}

fn cycle<T: Element>(elements: &[T], tensor: &Tensor, axes: &[usize], length: usize, from: usize) -> Option<Value> {
    let shape = cycled_shape(tensor, axes, length)?;
    let element = |place: usize| {
        let (mut rest, mut source, mut stride) = (place, 0, 1);
        for axis in (0..shape.len()).rev() {
            let at = rest % shape[axis];
            rest /= shape[axis];
            let at = if axes.contains(&axis) { (at + from) % tensor.shape[axis].max(1) } else { at };
            source += at * stride;
            stride *= tensor.shape[axis];
        }
        elements.get(source).cloned()
    };
    let data = (0..element_count(&shape)?).map(element).collect::<Option<Vec<T>>>()?;
    Tensor::new(shape, T::wrap(data)).map(Value::Tensor)
}

/// The axes of each output that were as long as the row, in every run.
fn lengths_of_outputs(signature: &ModelSignature, tried: &[Tried]) -> Result<Vec<Vec<usize>>, String> {
    let axes = |(k, spec): (usize, &ValueSpec)| {
        let shapes = tried.iter().map(|one| one.answer.get(k).and_then(Value::as_tensor).map(|tensor| &tensor.shape));
        let wrong = || format!("the output `{}` is of another form for rows of other lengths", spec.name);
        let shapes = shapes.collect::<Option<Vec<_>>>().ok_or_else(wrong)?;
        let first = shapes[0];
        if shapes.iter().any(|shape| shape.len() != first.len()) {
            return Err(wrong());
        }
        let long = |axis: &usize| shapes.iter().zip(tried).all(|(shape, one)| shape[*axis] == one.length);
        let same = |axis: &usize| shapes.iter().all(|shape| shape[*axis] == first[*axis]);
        match (0..first.len()).find(|axis| !long(axis) && !same(axis)) {
            Some(axis) => {
                Err(format!("the output `{}` is neither as long as the row nor fixed on axis {axis}", spec.name))
            }
            None => Ok((1..first.len()).filter(long).collect()),
        }
    };
    signature.outputs.iter().enumerate().map(axes).collect()
}

fn compare_joined(
    executor: &dyn Executor,
    signature: &ModelSignature,
    padding: &Padding,
    rows: &[&Tried],
) -> Result<(), String> {
    let lengths: Vec<usize> = rows.iter().map(|row| row.length).collect();
    let what = format!("rows of lengths {lengths:?} joined");
    let requests: Vec<&[Value]> = rows.iter().map(|row| row.inputs.as_slice()).collect();
    let joined = join(&requests, &lengths, padding).ok_or_else(|| format!("{what}: their shapes differ"))?;
    let outputs = executor.run(joined).map_err(|error| format!("{what}: {error}"))?;
    let parts = split(outputs, &vec![1; rows.len()], &lengths, padding);
    let parts = parts.ok_or_else(|| format!("{what}: an output has other rows or another length"))?;
    for (row, part) in rows.iter().zip(&parts) {
        for ((alone, joined), spec) in row.answer.iter().zip(part).zip(&signature.outputs) {
            same_answer(alone, joined).map_err(|why| {
                format!("{what}: the output `{}` of the row of length {} {why}", spec.name, row.length)
            })?;
        }
    }
    Ok(())
}
