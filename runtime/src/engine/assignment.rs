//! What ONNX Runtime says about itself: the providers that the library has, and which of them runs how much of a model.
#![expect(unsafe_code, reason = "`ort` doesn't tell which provider an operator was assigned to")]

use std::ffi::CStr;
use std::ptr;

use ort::AsPointer;
use ort::session::Session;
use ort::sys::OrtEpAssignedSubgraph;

use super::native::check;
use super::provider::{Provider, Share};

/// The session option without which [`share`] knows nothing.
pub(super) const RECORD: (&str, &str) = ("session.record_ep_graph_assignment_info", "1");

/// ONNX Runtime's names for the providers that are compiled into the library, the best first.
pub(super) fn compiled_in() -> ort::Result<Vec<String>> {
    let (mut names, mut count) = (ptr::null_mut(), 0);
    // SAFETY: the out pointers are valid.
    check(unsafe { (ort::api().GetAvailableProviders)(&mut names, &mut count) })?;
    let length = if names.is_null() { 0 } else { usize::try_from(count).unwrap_or(0) };
    // SAFETY: the library gave `count` C strings, which live until they are released below; each is copied before.
    let name = |k: usize| unsafe { CStr::from_ptr(*names.add(k)) }.to_string_lossy().into_owned();
    let copied = (0..length).map(name).collect();
    // SAFETY: pointer and count are as they came, and nothing refers to them any more.
    check(unsafe { (ort::api().ReleaseAvailableProviders)(names, count) })?;
    Ok(copied)
}

/// How many of the model's operators `provider` runs. The session has to be made with [`RECORD`].
pub(super) fn share(session: &Session, provider: Provider) -> ort::Result<Share> {
    let (mut parts, mut count): (*const *const OrtEpAssignedSubgraph, usize) = (ptr::null(), 0);
    // SAFETY: the out pointers are valid; what they come to point at belongs to the session.
    check(unsafe { (ort::api().Session_GetEpGraphAssignmentInfo)(session.ptr(), &mut parts, &mut count) })?;
    let mut share = Share { taken: 0, of: 0 };
    for k in 0..if parts.is_null() { 0 } else { count } {
        let (mut name, mut nodes, mut operators) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the index is below the count, and the out pointers are valid. The name is a C string of the session's.
        let own = unsafe {
            let part = *parts.add(k);
            check((ort::api().EpAssignedSubgraph_GetEpName)(part, &mut name))?;
            check((ort::api().EpAssignedSubgraph_GetNodes)(part, &mut nodes, &mut operators))?;
            !name.is_null() && CStr::from_ptr(name).to_bytes() == provider.onnxruntime_name().as_bytes()
        };
        share.of += operators;
        share.taken += if own { operators } else { 0 };
    }
    Ok(share)
}
