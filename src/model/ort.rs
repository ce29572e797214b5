//! Models in ONNX Runtime's own format (`.ort`): bytes → [`Contents`], over [`super::flatbuffer`].
//!
//! The format holds a graph as ONNX Runtime has rewritten it. Field numbers are those of its schema, `ort.fbs`, which
//! only grows. What the values of inputs may be and which attributes couple rows is not read here: the probe shows it.

use std::collections::{BTreeMap, BTreeSet};

use nimify_runtime::signature::{Dim, ElementType, ModelSignature, Shape, ValueSpec, ValueType};

use super::batching::{RowCoupling, verdict};
use super::contents::Contents;
use super::external::Reference;
use super::fault::Fault;
use super::flatbuffer::{Buffer, Table};
use super::labels::{self, MOST_LABELS};
use super::limits::{Limits, Meter};
use super::locales;
use super::opset::{self, STANDARD, domain_name, is_built_in};
use super::warnings;

/// Where the mark of the format stands, and what it is.
const MARK: (usize, &[u8]) = (4, b"ORTM");

/// Versions of the format that ONNX Runtime reads.
const VERSIONS: [&[u8]; 3] = [b"4", b"5", b"6"];

/// Operators in layouts of memory that suit one kind of CPU.
const LAYOUT: &str = "com.microsoft.nchwc";

/// Whether the bytes are of this format.
pub(super) fn is_ort(bytes: &[u8]) -> bool {
    bytes.get(MARK.0..).is_some_and(|rest| rest.starts_with(MARK.1))
}

/// Reads a model from its bytes.
pub fn read(bytes: &[u8], limits: &Limits) -> Result<Contents, Fault> {
    let buffer = Buffer::new(bytes, limits.fields);
    let session = buffer.root("InferenceSession")?;
    let version = session.bytes(0)?;
    if !VERSIONS.contains(&version) {
        let said = String::from_utf8_lossy(&version[..version.len().min(20)]).into_owned();
        return Err(Fault::OrtVersion { model: said });
    }
    let model = session.table(1, "Model")?.ok_or_else(|| session.fault("it holds no model"))?;
    let graph = model.table(7, "Graph")?.ok_or_else(|| model.fault("it has no graph"))?;
    let mut reader = Reader::new(limits);
    reader.graph(graph, 0)?;
    let (inputs, outputs) = reader.ports(graph)?;
    if outputs.is_empty() {
        return Err(Fault::NoOutputs);
    }
    let ir_version = model.long(0)?.unwrap_or(0);
    let opsets = reader.opsets(model)?;
    opset::check(ir_version, &opsets)?;
    let coupling: Vec<_> = reader.row_coupling.iter().cloned().collect();
    let docs = [reader.text(model, 6)?, reader.text(model, 8)?];
    let metadata = reader.metadata(model)?;
    let mut said = warnings::custom_operators(&reader.custom);
    said.extend(reader.warnings());
    said.extend(warnings::values(&inputs, &outputs));
    Ok(Contents {
        ir_version,
        opsets,
        producer_name: reader.text(model, 2)?,
        producer_version: reader.text(model, 3)?,
        domain: reader.text(model, 4)?,
        model_version: model.long(5)?.unwrap_or(0),
        doc: docs.into_iter().find(|doc| !doc.is_empty()).unwrap_or_default(),
        metadata,
        signature: ModelSignature { batching: verdict(&inputs, &outputs, &coupling), inputs, outputs },
        operators: reader.operators,
        custom_operators: reader.custom,
        parameters: reader.parameters,
        parameter_bytes: reader.parameter_bytes,
        parameter_types: reader.types,
        row_coupling: reader.row_coupling,
        input_hints: BTreeMap::new(),
        locales: reader.locales,
        warnings: said,
        external: reader.external,
    })
}

/// Sums over all graphs, and what may still be read.
struct Reader<'l> {
    limits: &'l Limits,
    nodes: Meter,
    texts: Meter,
    operators: BTreeMap<String, u64>,
    custom: BTreeMap<String, BTreeSet<String>>,
    /// Domains of operators that are there.
    domains: BTreeSet<String>,
    parameters: u64,
    parameter_bytes: u64,
    types: BTreeMap<ElementType, u64>,
    row_coupling: BTreeSet<RowCoupling>,
    external: Vec<Reference>,
    locales: BTreeSet<String>,
    embedded_engine: bool,
    /// By the name of the value that a `ZipMap` makes, the labels of its maps.
    labels: BTreeMap<String, Vec<String>>,
}

impl<'l> Reader<'l> {
    fn new(limits: &'l Limits) -> Self {
        Reader {
            limits,
            nodes: Meter::new("nodes", limits.nodes),
            texts: Meter::new("bytes of texts", limits.text_bytes),
            operators: BTreeMap::new(),
            custom: BTreeMap::new(),
            domains: BTreeSet::new(),
            parameters: 0,
            parameter_bytes: 0,
            types: BTreeMap::new(),
            row_coupling: BTreeSet::new(),
            external: Vec::new(),
            locales: BTreeSet::new(),
            embedded_engine: false,
            labels: BTreeMap::new(),
        }
    }

    /// Counts a graph and those inside it.
    fn graph(&mut self, graph: Table<'_>, depth: usize) -> Result<(), Fault> {
        if depth > self.limits.depth {
            return Err(Fault::Limit { what: "levels of graphs", limit: self.limits.depth as u64 });
        }
        for tensor in graph.tables(0, "Tensor")? {
            self.tensor(tensor?)?;
        }
        for sparse in graph.tables(7, "SparseTensor")? {
            let sparse = sparse?;
            for part in [0, 1] {
                if let Some(tensor) = sparse.table(part, "Tensor")? {
                    self.tensor(tensor)?;
                }
            }
        }
        for node in graph.tables(2, "Node")? {
            self.node(node?, depth)?;
        }
        Ok(())
    }

    fn node(&mut self, node: Table<'_>, depth: usize) -> Result<(), Fault> {
        self.nodes.take(1)?;
        let (domain, op) = (self.name(node, 2)?, self.name(node, 5)?);
        let domain = domain_name(domain);
        let label = format!("{domain}:{op}");
        if let Some(reason) = opset::couples_rows(domain, op) {
            self.row_coupling.insert(RowCoupling { operator: label.clone(), reason: reason.into() });
        }
        if !is_built_in(domain) {
            self.custom.entry(domain.into()).or_default().insert(op.into());
        }
        *self.operators.entry(label).or_default() += 1;
        if !self.domains.contains(domain) {
            self.domains.insert(domain.into());
        }
        let engine = (domain, op) == ("com.microsoft", "EPContext");
        // The operator's default is 1: the engine is in the attribute.
        let (mut embedded, mut place) = (1, None);
        for attribute in node.tables(10, "Attribute")? {
            let attribute = attribute?;
            match attribute.bytes(0)? {
                b"embed_mode" if engine => embedded = attribute.long(4)?.unwrap_or(0),
                b"ep_cache_context" if engine => place = Some(attribute.bytes(5)?),
                _ => {}
            }
            if domain == "ai.onnx.ml" {
                let floats = attribute.len(8, 4)?;
                self.parameters = self.parameters.saturating_add(floats);
                self.parameter_bytes = self.parameter_bytes.saturating_add(floats.saturating_mul(4));
            }
            for tensor in attribute.table(6, "Tensor")?.into_iter().map(Ok).chain(attribute.tables(11, "Tensor")?) {
                self.tensor(tensor?)?;
            }
            for graph in attribute.table(7, "Graph")?.into_iter().map(Ok).chain(attribute.tables(12, "Graph")?) {
                self.graph(graph?, depth + 1)?;
            }
        }
        if (domain, op) == ("ai.onnx.ml", "ZipMap") {
            self.labels(node)?;
        }
        if (domain, op) == (STANDARD, locales::OPERATOR) {
            self.locale(node)?;
        }
        if engine {
            self.embedded_engine |= embedded != 0;
            self.external.extend(Reference::to_engine(self.name(node, 0)?, embedded, place)?);
        }
        Ok(())
    }

    /// Keeps the labels that a `ZipMap` gives.
    fn labels(&mut self, node: Table<'_>) -> Result<(), Fault> {
        let Some(output) = node.texts(9)?.next().transpose()? else { return Ok(()) };
        let output = self.text_of(node, output)?;
        for attribute in node.tables(10, "Attribute")? {
            let attribute = attribute?;
            let few = |number, size| Ok::<_, Fault>(attribute.len(number, size)? <= MOST_LABELS as u64);
            let labels: Vec<String> = match attribute.bytes(0)? {
                b"classlabels_int64s" if few(9, 8)? => {
                    attribute.longs(9, MOST_LABELS)?.iter().map(i64::to_string).collect()
                }
                b"classlabels_strings" if few(10, 4)? => {
                    let texts = attribute.texts(10)?.map(|text| Ok(String::from_utf8_lossy(text?).into_owned()));
                    texts.collect::<Result<_, Fault>>()?
                }
                _ => continue,
            };
            if let Some(labels) = labels::fit(labels).filter(|labels| !labels.is_empty()) {
                self.labels.insert(output.into(), labels);
            }
        }
        Ok(())
    }

    /// Keeps the locale that a node asks for.
    fn locale(&mut self, node: Table<'_>) -> Result<(), Fault> {
        let mut asked = locales::Asked::default();
        for attribute in node.tables(10, "Attribute")? {
            let attribute = attribute?;
            match attribute.bytes(0)? {
                b"case_change_action" => asked.action = Some(attribute.bytes(5)?),
                b"is_case_sensitive" => asked.sensitive = Some(attribute.long(4)?.unwrap_or(0)),
                b"stopwords" => asked.stopwords = attribute.len(10, 4)? > 0,
                b"locale" => asked.locale = Some(attribute.bytes(5)?),
                _ => {}
            }
        }
        asked.keep(&mut self.locales);
        Ok(())
    }

    fn tensor(&mut self, tensor: Table<'_>) -> Result<(), Fault> {
        let name = self.name(tensor, 0)?;
        let label = if name.is_empty() { format!("at byte {}", tensor.offset()) } else { name.into() };
        let fault = |problem: String| Fault::Tensor { tensor: label.clone(), problem };
        let number = tensor.int(3)?;
        let element_type = ElementType::from_onnx(number);
        let element_type = element_type.ok_or_else(|| fault(format!("has the unknown element type {number}")))?;
        let dims = tensor.longs(2, self.limits.rank)?;
        let count = super::tensor::checked_count(&dims).map_err(&fault)?;
        if tensor.long(6)?.unwrap_or(-1) >= 0 {
            return Err(fault("has its data in a file that the format doesn't name".into()));
        }
        let bytes = (count * u64::from(element_type.bits())).div_ceil(8);
        let there = tensor.bytes(4)?.len() as u64;
        if element_type != ElementType::String && there != bytes {
            return Err(fault(format!("has {there} bytes of data where its shape asks for {bytes}")));
        }
        *self.types.entry(element_type).or_default() += 1;
        self.parameters = self.parameters.saturating_add(count);
        self.parameter_bytes = self.parameter_bytes.saturating_add(bytes);
        Ok(())
    }

    /// Inputs that no initializer gives, and outputs.
    fn ports(&self, graph: Table<'_>) -> Result<(Vec<ValueSpec>, Vec<ValueSpec>), Fault> {
        let mut given = BTreeSet::new();
        for tensor in graph.tables(0, "Tensor")? {
            given.insert(self.name(tensor?, 0)?);
        }
        for sparse in graph.tables(7, "SparseTensor")? {
            if let Some(values) = sparse?.table(0, "Tensor")? {
                given.insert(self.name(values, 0)?);
            }
        }
        let mut types: BTreeMap<&str, Option<Table<'_>>> = BTreeMap::new();
        for info in graph.tables(1, "ValueInfo")? {
            let info = info?;
            types.insert(self.name(info, 0)?, info.table(2, "TypeInfo")?);
        }
        let specs = |what: &'static str, number: usize| -> Result<Vec<ValueSpec>, Fault> {
            let (mut seen, mut specs) = (BTreeSet::new(), Vec::new());
            for (position, name) in graph.texts(number)?.enumerate() {
                let name = self.text_of(graph, name?)?;
                if name.is_empty() {
                    return Err(Fault::NoName { what, position });
                }
                if what == "input" && given.contains(name) {
                    continue;
                }
                if !seen.insert(name) {
                    return Err(Fault::Duplicate { what, name: name.into() });
                }
                let no_type = |problem: &str| Fault::NoType { what, name: name.into(), problem: problem.into() };
                let info = types.get(name).copied().flatten().ok_or_else(|| no_type("no type"))?;
                let mut value_type = self.value_type(info, 0)?.ok_or_else(|| no_type("a type that is not known"))?;
                if let (ValueType::Sequence { element }, Some(known)) = (&mut value_type, self.labels.get(name))
                    && let ValueType::Map { labels, .. } = &mut **element
                {
                    labels.clone_from(known);
                }
                specs.push(ValueSpec { name: name.into(), value_type });
            }
            Ok(specs)
        };
        Ok((specs("input", 5)?, specs("output", 6)?))
    }

    /// A type; `None` for one that isn't known.
    fn value_type(&self, info: Table<'_>, depth: usize) -> Result<Option<ValueType>, Fault> {
        if depth > self.limits.depth {
            return Err(Fault::Limit { what: "levels of types", limit: self.limits.depth as u64 });
        }
        let inner = |table: Table<'_>, number| -> Result<Option<Box<ValueType>>, Fault> {
            let info = table.table(number, "TypeInfo")?;
            Ok(info.map(|info| self.value_type(info, depth + 1)).transpose()?.flatten().map(Box::new))
        };
        Ok(match info.byte(1)? {
            1 => match info.table(2, "TensorTypeAndShape")? {
                Some(tensor) => {
                    let shape = tensor.table(1, "Shape")?.map(|shape| self.shape(shape)).transpose()?;
                    ElementType::from_onnx(tensor.int(0)?)
                        .map(|element_type| ValueType::Tensor { element_type, shape: Shape(shape) })
                }
                None => None,
            },
            2 => match info.table(2, "SequenceType")? {
                Some(sequence) => inner(sequence, 0)?.map(|element| ValueType::Sequence { element }),
                None => None,
            },
            3 => match info.table(2, "MapType")? {
                Some(map) => inner(map, 1)?
                    .zip(ElementType::from_onnx(map.int(0)?))
                    .map(|(value, key)| ValueType::Map { key, value, labels: Vec::new() }),
                None => None,
            },
            _ => None,
        })
    }

    fn shape(&self, shape: Table<'_>) -> Result<Vec<Dim>, Fault> {
        let mut dims = Vec::new();
        for dim in shape.tables(0, "Dimension")? {
            if dims.len() == self.limits.rank {
                return Err(Fault::Limit { what: "dimensions of a tensor", limit: self.limits.rank as u64 });
            }
            dims.push(match dim?.table(0, "DimensionValue")? {
                None => Dim::Unknown,
                Some(value) => match value.byte(0)? {
                    1 => u64::try_from(value.long(1)?.unwrap_or(0)).map_or(Dim::Unknown, Dim::Fixed),
                    2 => super::types::named_dim(self.name(value, 2)?),
                    _ => Dim::Unknown,
                },
            });
        }
        Ok(dims)
    }

    /// Versions of the domains that the graph has operators of: the file lists whatever ONNX Runtime knew.
    fn opsets(&self, model: Table<'_>) -> Result<BTreeMap<String, i64>, Fault> {
        let mut opsets = BTreeMap::new();
        for opset in model.tables(1, "OperatorSetId")? {
            let opset = opset?;
            let domain = domain_name(self.name(opset, 0)?);
            if self.domains.contains(domain) {
                opsets.insert(domain.to_string(), opset.long(1)?.unwrap_or(0));
            }
        }
        Ok(opsets)
    }

    fn metadata(&self, model: Table<'_>) -> Result<BTreeMap<String, String>, Fault> {
        let mut metadata = BTreeMap::new();
        for entry in model.tables(9, "StringStringEntry")? {
            let entry = entry?;
            self.texts.take(64)?;
            metadata.insert(self.text(entry, 0)?, self.text(entry, 1)?);
        }
        Ok(metadata)
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.embedded_engine {
            warnings.push(warnings::EMBEDDED_ENGINE.into());
        } else if !self.external.is_empty() {
            warnings.push(warnings::NAMED_ENGINE.into());
        }
        if self.domains.contains(LAYOUT) {
            warnings.push(format!(
                "the graph was fitted to the CPU of the machine that made the file (operators of `{LAYOUT}`): it may run \
                 slower on another, or not at all; convert the `.onnx` file at the level `extended` for any machine"
            ));
        }
        warnings
    }

    /// A name that means something, of bounded length.
    fn name<'a>(&self, table: Table<'a>, number: usize) -> Result<&'a str, Fault> {
        self.text_of(table, table.bytes(number)?)
    }

    fn text_of<'a>(&self, table: Table<'a>, bytes: &'a [u8]) -> Result<&'a str, Fault> {
        if bytes.len() > self.limits.name_bytes {
            return Err(Fault::Limit { what: "bytes of a name", limit: self.limits.name_bytes as u64 });
        }
        std::str::from_utf8(bytes).map_err(|_| table.fault("a name in it isn't UTF-8"))
    }

    /// A text for people.
    fn text(&self, table: Table<'_>, number: usize) -> Result<String, Fault> {
        let bytes = table.bytes(number)?;
        self.texts.take(bytes.len() as u64)?;
        Ok(String::from_utf8_lossy(bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use proptest::prelude::*;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    fn described(name: &str) -> Contents {
        super::super::inspect(&fixture(name), &Limits::default()).unwrap().contents
    }

    #[test]
    fn a_converted_model_takes_and_gives_what_the_original_does() {
        for name in ["mlp", "map_output", "image"] {
            let (ort, onnx) = (described(&format!("ort/{name}.ort")), described(&format!("models/{name}.onnx")));
            assert_eq!(ort.signature, onnx.signature, "{name}");
            assert_eq!(ort.producer_name, "nimify-fixtures");
            assert_eq!(ort.ir_version, onnx.ir_version);
        }
        let mlp = described("ort/mlp.ort");
        assert_eq!(mlp.operators["com.microsoft:FusedGemm"], 1);
        assert_eq!((mlp.parameters, mlp.parameter_bytes), (4 * 8 + 8 + 8 * 3 + 3, 4 * (4 * 8 + 8 + 8 * 3 + 3)));
        assert_eq!(mlp.opsets["ai.onnx"], 21);
        assert!(mlp.warnings.is_empty() && mlp.custom_operators.is_empty(), "{:?}", mlp.warnings);
        assert!(described("ort/image.ort").warnings[0].starts_with("the graph was fitted to the CPU"));
    }

    #[test]
    fn a_version_that_is_not_read_is_said() {
        let mut bytes = std::fs::read(fixture("ort/mlp.ort")).unwrap();
        let at = bytes.windows(5).rposition(|part| part == b"\x01\0\0\x006").unwrap() + 4;
        bytes[at] = b'9';
        let fault = read(&bytes, &Limits::default()).unwrap_err();
        assert_eq!(fault, Fault::OrtVersion { model: "9".into() });
        assert!(fault.hint().unwrap().contains("convert_onnx_models_to_ort"));
    }

    #[test]
    fn what_is_too_much_is_refused() {
        let bytes = std::fs::read(fixture("ort/mlp.ort")).unwrap();
        for limits in [
            Limits { fields: 20, ..Limits::default() },
            Limits { nodes: 1, ..Limits::default() },
            Limits { name_bytes: 3, ..Limits::default() },
            Limits { rank: 1, ..Limits::default() },
        ] {
            assert!(matches!(read(&bytes, &limits), Err(Fault::Limit { .. })), "{limits:?}");
        }
        assert!(matches!(read(&bytes[..60], &Limits::default()), Err(Fault::Malformed { .. })));
        assert!(matches!(read(b"\x08\0\0\0ORTM", &Limits::default()), Err(Fault::Malformed { .. })));
    }

    proptest! {
        /// Each byte of the graph, among them each offset and each length, may say anything.
        #[test]
        fn any_bytes_give_an_answer_and_no_panic(changes in prop::collection::vec((0usize..1864, any::<u8>()), 0..6), cut in 8usize..1864) {
            let mut bytes = std::fs::read(fixture("ort/map_output.ort")).unwrap();
            for (at, byte) in changes {
                if let Some(there) = bytes.get_mut(at) {
                    *there = byte;
                }
            }
            let limits = Limits { fields: 1 << 16, ..Limits::default() };
            let _ = read(&bytes, &limits);
            bytes.truncate(cut);
            let _ = read(&bytes, &limits);
        }
    }
}
