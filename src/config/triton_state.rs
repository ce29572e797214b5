//! Triton's `sequence_batching` → state that is kept in sessions, and by name what clients have to do themselves.

use std::time;

use nimify_runtime::signature::{Dim, ModelSignature};
use nimify_runtime::state::Sessions;

use super::measures::Duration;
use super::state::{KeptPair, KeptSize, State};
use crate::triton::{ControlInput, ModelConfig, SequenceBatching, StatePair};

/// Takes over the pairs that `triton` keeps, if sessions can keep them, where `own` names none yet.
pub(super) fn carry_over(own: &mut State, triton: &ModelConfig, signature: &ModelSignature, left: &mut Vec<String>) {
    let Some(sequence) = &triton.sequence_batching else { return };
    left.extend(sequence.controls.iter().map(control));
    if sequence.states.is_empty() {
        left.push(
            "`sequence_batching` without `state`: nothing is kept between requests, so that any pod can answer".into(),
        );
    }
    if sequence.states.is_empty() || !own.pairs.is_empty() {
        return;
    }
    let rows = triton.max_batch_size > 0;
    let mut state = own.clone();
    state.pairs = sequence.states.iter().map(|pair| kept(pair, rows, signature)).collect();
    if let Err(why) = Sessions::new(&state.settings(), signature) {
        let pairs: Vec<_> =
            sequence.states.iter().map(|state| format!("`{}` to `{}`", state.output, state.input)).collect();
        left.push(format!(
            "`sequence_batching.state` ({}) is not kept, since {why}: clients send it with each request",
            pairs.join(", ")
        ));
        return;
    }
    idle(&mut state, sequence);
    *own = state;
    for pair in &sequence.states {
        let file = pair.initial.as_ref().and_then(|initial| initial.file.as_ref());
        left.extend(file.map(|file| {
            let input = &pair.input;
            format!(
                "`sequence_batching.state.initial_state`: a session begins with zeros and not with the file `{file}`: \
                 clients send that as `{input}` with its first request, or `state.pairs` says `initial` where all of its \
                 values are one"
            )
        }));
    }
}

fn idle(state: &mut State, sequence: &SequenceBatching) {
    let idle = sequence.max_sequence_idle_us;
    if idle > 0 {
        state.idle_timeout = state.idle_timeout.or(Some(Duration(time::Duration::from_micros(idle))));
    }
}

/// The pair, with the shape that it begins with where the model's own leaves more free than the rows.
fn kept(pair: &StatePair, rows: bool, signature: &ModelSignature) -> KeptPair {
    let spec = signature.inputs.iter().find(|spec| spec.name == pair.input);
    let own = spec.and_then(|spec| spec.tensor()).and_then(|(_, shape)| shape.dims());
    // Triton begins with 1 for what is free.
    let sizes = |dims: &[i64]| dims.iter().map(|size| KeptSize::Size(u64::try_from(*size).unwrap_or(1))).collect();
    let mut said: Vec<KeptSize> = sizes(pair.initial.as_ref().map_or(&pair.dims, |initial| &initial.dims));
    if rows {
        let row = match own.and_then(|dims| dims.first()) {
            Some(Dim::Symbolic(name)) => KeptSize::Named(name.clone()),
            _ => KeptSize::Size(1),
        };
        said.insert(0, row);
    }
    let rest = own.map(|dims| &dims[usize::from(rows).min(dims.len())..]);
    let plain = rest.is_some_and(|rest| rest.iter().all(|dim| matches!(dim, Dim::Fixed(_))));
    let unsaid = pair.dims.is_empty() && pair.initial.is_none();
    let shape = if plain || unsaid { Vec::new() } else { said };
    KeptPair { output: pair.output.clone(), input: pair.input.clone(), initial: None, shape }
}

/// What a client has to do for an input that Triton fills in.
fn control(control: &ControlInput) -> String {
    let value = |kind: &str| match kind {
        "CONTROL_SEQUENCE_START" => "whether it is the sequence's first request",
        "CONTROL_SEQUENCE_END" => "whether it is its last",
        "CONTROL_SEQUENCE_READY" => "yes each time",
        _ => "the sequence's id",
    };
    let values: Vec<&str> = control.kinds.iter().map(|kind| value(kind)).collect();
    format!(
        "`sequence_batching.control_input` `{}` ({}): nobody fills it in: clients send it as an input, {}",
        control.name,
        control.kinds.join(", "),
        values.join(", ")
    )
}
