//! `sequence_batching`: how requests that belong together are kept together, and what is carried between them.

use std::str::FromStr;

use super::fields::{Fields, integer, member, text, truth};
use super::text::{Fault, Field};

/// How requests of one sequence are kept together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequenceBatching {
    /// How long a sequence may be idle, microseconds; 0 for Triton's second.
    pub max_sequence_idle_us: u64,
    /// What is carried from one request to the next.
    pub states: Vec<StatePair>,
    /// Inputs that Triton itself fills in.
    pub controls: Vec<ControlInput>,
}

/// An output that is an input of the next request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatePair {
    /// The input.
    pub input: String,
    /// The output.
    pub output: String,
    /// Its shape, without the rows; -1 for a free size.
    pub dims: Vec<i64>,
    /// What a sequence begins with, where that is said.
    pub initial: Option<InitialState>,
}

/// What a sequence begins with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InitialState {
    /// Its shape, without the rows.
    pub dims: Vec<i64>,
    /// The file with its values; zeros without.
    pub file: Option<String>,
}

/// An input that says something of the request in its sequence.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlInput {
    /// Its name.
    pub name: String,
    /// What it says: `CONTROL_SEQUENCE_START` and the like.
    pub kinds: Vec<String>,
}

pub(super) fn sequence_batching<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<SequenceBatching, Fault> {
    let mut batching = SequenceBatching::default();
    fields.inside(field, |fields, field| match field.name.as_str() {
        "max_sequence_idle_microseconds" => fields.once(field, &mut batching.max_sequence_idle_us, integer(field)?),
        "state" => {
            let mut state = StatePair::default();
            fields.inside(field, |fields, field| match field.name.as_str() {
                "input_name" => fields.once(field, &mut state.input, text(field)?),
                "output_name" => fields.once(field, &mut state.output, text(field)?),
                "initial_state" => {
                    let initial = initial_state(fields, field)?;
                    fields.once(field, &mut state.initial, Some(initial))
                }
                "dims" => {
                    state.dims.push(integer(field)?);
                    Ok(true)
                }
                // The model's own signature says it.
                "data_type" => Ok(true),
                _ => Ok(false),
            })?;
            batching.states.push(state);
            Ok(true)
        }
        "control_input" => {
            let control = control_input(fields, field)?;
            batching.controls.push(control);
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(batching)
}

fn initial_state<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<InitialState, Fault> {
    let mut initial = InitialState::default();
    fields.inside(field, |fields, field| match field.name.as_str() {
        "dims" => {
            // A cache may begin empty.
            initial.dims.push(integer::<u32>(field)?.into());
            Ok(true)
        }
        "data_file" => fields.once(field, &mut initial.file, Some(text(field)?)),
        // What there is besides files.
        "zero_data" => truth(field).map(|_| true),
        // The model's own signature says the type; the name is for Triton's own log.
        "data_type" | "name" => Ok(true),
        _ => Ok(false),
    })?;
    Ok(initial)
}

fn control_input<'a>(fields: &mut Fields<'a>, field: &'a Field) -> Result<ControlInput, Fault> {
    let mut input = ControlInput::default();
    fields.inside(field, |fields, field| match field.name.as_str() {
        "name" => fields.once(field, &mut input.name, text(field)?),
        "control" => {
            let kinds = &mut input.kinds;
            fields.inside(field, |_, field| match field.name.as_str() {
                "kind" => {
                    let ControlKind(kind) = member(field, "a kind such as `CONTROL_SEQUENCE_START`")?;
                    kinds.push(kind.into());
                    Ok(true)
                }
                // The values that stand for no and yes, and the type: the model's own signature has that.
                "int32_false_true" | "fp32_false_true" | "bool_false_true" | "data_type" => Ok(true),
                _ => Ok(false),
            })?;
            Ok(true)
        }
        _ => Ok(false),
    })?;
    Ok(input)
}

struct ControlKind(&'static str);

impl FromStr for ControlKind {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        // By their numbers in the order of `model_config.proto`.
        const KINDS: [&str; 4] =
            ["CONTROL_SEQUENCE_START", "CONTROL_SEQUENCE_READY", "CONTROL_SEQUENCE_END", "CONTROL_SEQUENCE_CORRID"];
        let named = KINDS.into_iter().find(|known| *known == word);
        let numbered = || word.parse::<usize>().ok().and_then(|number| KINDS.get(number).copied());
        named.or_else(numbered).map(ControlKind).ok_or(())
    }
}
