//! How much of a file is read before it counts as hostile.

use std::cell::Cell;

use super::fault::Fault;

/// Bounds on what [`super::inspect`] reads. The default takes every model that ONNX Runtime could load and that people
/// have, and keeps a hostile one to half a GB of memory and some seconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of the model file itself; protobuf ends at 2 GiB. External data is not counted.
    pub file_bytes: u64,
    /// Most levels of messages within messages; protobuf's own default is 100, about 33 levels of subgraphs.
    pub depth: usize,
    /// Most protobuf fields in the file: what bounds the time.
    pub fields: u64,
    /// Most bytes of nodes, attributes, tensors, values and names (not of their data): what bounds the memory. A graph
    /// of 100,000 nodes takes some 50 MB.
    pub graph_bytes: u64,
    /// Most nodes of all graphs and functions, and again once the functions are expanded.
    pub nodes: u64,
    /// Longest name, bytes.
    pub name_bytes: usize,
    /// Most bytes of doc strings and metadata in all.
    pub text_bytes: u64,
    /// Most dimensions of a tensor.
    pub rank: usize,
    /// Most files of external data.
    pub external_files: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file_bytes: 2 << 30,
            depth: 100,
            fields: 1 << 27,
            graph_bytes: 256 << 20,
            nodes: 1_000_000,
            name_bytes: 16 << 10,
            text_bytes: 32 << 20,
            rank: 128,
            external_files: 10_000,
        }
    }
}

/// Counts against one limit.
#[derive(Debug)]
pub(super) struct Meter {
    what: &'static str,
    limit: u64,
    used: Cell<u64>,
}

impl Meter {
    pub(super) fn new(what: &'static str, limit: u64) -> Self {
        Meter { what, limit, used: Cell::new(0) }
    }

    /// Counts `amount` more, and refuses it beyond the limit.
    pub(super) fn take(&self, amount: u64) -> Result<(), Fault> {
        let used = self.used.get().saturating_add(amount);
        self.used.set(used);
        if used > self.limit { Err(Fault::Limit { what: self.what, limit: self.limit }) } else { Ok(()) }
    }
}
