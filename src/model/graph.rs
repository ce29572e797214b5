//! `GraphProto` and what stands in it, as plain values that borrow their names and data from the file.
//!
//! Nothing is judged here beyond the form of the messages; subgraphs of `If`, `Loop` and `Scan` are read wherever an
//! attribute holds one.

use super::fault::Fault;
use super::limits::{Limits, Meter};
use super::tensor::{SparseTensor, Tensor};
use super::wire::{Field, Message};

/// Reads messages and counts what is kept of them.
#[derive(Debug)]
pub(super) struct Reader<'l> {
    pub(super) limits: &'l Limits,
    bytes: Meter,
    nodes: Meter,
}

/// One graph: the model's own, or one inside an attribute.
#[derive(Debug, Default)]
pub(super) struct Graph<'a> {
    pub(super) doc: &'a [u8],
    pub(super) nodes: Vec<Node<'a>>,
    pub(super) inputs: Vec<ValueInfo<'a>>,
    pub(super) outputs: Vec<ValueInfo<'a>>,
    pub(super) initializers: Vec<Tensor<'a>>,
    pub(super) sparse: Vec<SparseTensor<'a>>,
}

/// A name and, where the file gives one, its `TypeProto`.
#[derive(Debug)]
pub(super) struct ValueInfo<'a> {
    pub(super) name: &'a str,
    pub(super) value_type: Option<Message<'a>>,
}

/// One operator in a graph or function.
#[derive(Debug, Default)]
pub(super) struct Node<'a> {
    pub(super) name: &'a str,
    pub(super) domain: &'a str,
    pub(super) op: &'a str,
    pub(super) overload: &'a str,
    pub(super) inputs: Vec<&'a str>,
    pub(super) outputs: Vec<&'a str>,
    pub(super) attributes: Vec<Attribute<'a>>,
}

/// One attribute of a node. Numbers and texts are read when they are asked for: a tree ensemble has millions.
#[derive(Debug)]
pub(super) struct Attribute<'a> {
    pub(super) name: &'a str,
    pub(super) tensors: Vec<Tensor<'a>>,
    pub(super) sparse: Vec<SparseTensor<'a>>,
    pub(super) graphs: Vec<Graph<'a>>,
    /// How many numbers its list of floats has.
    pub(super) floats: u64,
    message: Message<'a>,
}

impl<'l> Reader<'l> {
    pub(super) fn new(limits: &'l Limits) -> Self {
        Reader {
            limits,
            bytes: Meter::new("bytes of nodes, attributes, tensors and names", limits.graph_bytes),
            nodes: Meter::new("nodes", limits.nodes),
        }
    }

    /// Counts one more `T` that is kept.
    pub(super) fn keep<T>(&self) -> Result<(), Fault> {
        self.bytes.take(size_of::<T>() as u64)
    }

    /// A name that is kept.
    pub(super) fn name<'a>(&self, field: &Field<'a>) -> Result<&'a str, Fault> {
        self.keep::<&str>()?;
        field.name(self.limits.name_bytes)
    }

    pub(super) fn graph<'a>(&self, message: Message<'a>) -> Result<Graph<'a>, Fault> {
        let mut graph = Graph::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => graph.nodes.push(self.node(field.message("NodeProto")?)?),
                5 => graph.initializers.push(self.tensor(field.message("TensorProto")?)?),
                10 => graph.doc = field.bytes()?,
                11 => graph.inputs.push(self.value_info(field.message("ValueInfoProto")?)?),
                12 => graph.outputs.push(self.value_info(field.message("ValueInfoProto")?)?),
                15 => graph.sparse.push(self.sparse(field.message("SparseTensorProto")?)?),
                _ => {}
            }
        }
        Ok(graph)
    }

    fn value_info<'a>(&self, message: Message<'a>) -> Result<ValueInfo<'a>, Fault> {
        let mut info = ValueInfo { name: "", value_type: None };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => info.name = self.name(&field)?,
                2 if info.value_type.is_some() => return Err(message.fault(field.offset, "its type is there twice")),
                2 => info.value_type = Some(field.message("TypeProto")?),
                _ => {}
            }
        }
        self.keep::<ValueInfo<'_>>()?;
        Ok(info)
    }

    pub(super) fn node<'a>(&self, message: Message<'a>) -> Result<Node<'a>, Fault> {
        self.nodes.take(1)?;
        self.keep::<Node<'_>>()?;
        let mut node = Node::default();
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => node.inputs.push(self.name(&field)?),
                2 => node.outputs.push(self.name(&field)?),
                3 => node.name = field.name(self.limits.name_bytes)?,
                4 => node.op = field.name(self.limits.name_bytes)?,
                5 => node.attributes.push(self.attribute(field.message("AttributeProto")?)?),
                7 => node.domain = field.name(self.limits.name_bytes)?,
                8 => node.overload = field.name(self.limits.name_bytes)?,
                _ => {}
            }
        }
        Ok(node)
    }

    fn attribute<'a>(&self, message: Message<'a>) -> Result<Attribute<'a>, Fault> {
        self.keep::<Attribute<'_>>()?;
        let mut attribute = Attribute { name: "", tensors: vec![], sparse: vec![], graphs: vec![], floats: 0, message };
        for field in message.fields() {
            let field = field?;
            match field.number {
                1 => attribute.name = field.name(self.limits.name_bytes)?,
                5 | 10 => attribute.tensors.push(self.tensor(field.message("TensorProto")?)?),
                6 | 11 => {
                    self.keep::<Graph<'_>>()?;
                    attribute.graphs.push(self.graph(field.message("GraphProto")?)?);
                }
                7 => attribute.floats += field.fixed_count(4)?,
                22 | 23 => attribute.sparse.push(self.sparse(field.message("SparseTensorProto")?)?),
                _ => {}
            }
        }
        Ok(attribute)
    }

    fn tensor<'a>(&self, message: Message<'a>) -> Result<Tensor<'a>, Fault> {
        self.keep::<Tensor<'_>>()?;
        Tensor::read(message, self.limits)
    }

    fn sparse<'a>(&self, message: Message<'a>) -> Result<SparseTensor<'a>, Fault> {
        self.keep::<SparseTensor<'_>>()?;
        SparseTensor::read(message, self.limits)
    }
}

impl<'a> Graph<'a> {
    /// Calls `each` with every node of the graph and of the graphs within it, outer ones first.
    pub(super) fn each_node<'g>(&'g self, each: &mut dyn FnMut(&'g Node<'a>)) {
        self.nodes.iter().for_each(|node| node.each_node(each));
    }

    /// Calls `each` with every tensor that stands in the graph and the graphs within it.
    pub(super) fn each_tensor<'g>(&'g self, each: &mut dyn FnMut(&'g Tensor<'a>)) {
        self.initializers.iter().for_each(&mut *each);
        self.sparse.iter().flat_map(SparseTensor::parts).for_each(&mut *each);
        self.nodes.iter().for_each(|node| node.each_tensor(each));
    }
}

impl<'a> Node<'a> {
    /// Calls `each` with the node itself and every node of the graphs in its attributes.
    pub(super) fn each_node<'g>(&'g self, each: &mut dyn FnMut(&'g Node<'a>)) {
        each(self);
        self.attributes.iter().flat_map(|attribute| &attribute.graphs).for_each(|graph| graph.each_node(each));
    }

    /// Calls `each` with every tensor in its attributes and in the graphs there.
    pub(super) fn each_tensor<'g>(&'g self, each: &mut dyn FnMut(&'g Tensor<'a>)) {
        for attribute in &self.attributes {
            attribute.tensors.iter().for_each(&mut *each);
            attribute.sparse.iter().flat_map(SparseTensor::parts).for_each(&mut *each);
            attribute.graphs.iter().for_each(|graph| graph.each_tensor(each));
        }
    }

    /// The attribute of this name.
    pub(super) fn attribute(&self, name: &str) -> Option<&Attribute<'a>> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The integer attribute of this name.
    pub(super) fn int(&self, name: &str) -> Option<i64> {
        self.attribute(name)?.int()
    }

    /// What its `input`-th input is called; `None` where it is left out.
    pub(super) fn input(&self, input: usize) -> Option<&'a str> {
        self.inputs.get(input).copied().filter(|name| !name.is_empty())
    }
}

impl<'a> Attribute<'a> {
    /// Its fields of this number. The message was walked once without a fault, so that none is met here.
    fn fields(&self, number: u32) -> impl Iterator<Item = Field<'a>> {
        self.message.fields().flatten().filter(move |field| field.number == number)
    }

    /// Its integer.
    pub(super) fn int(&self) -> Option<i64> {
        self.fields(3).last()?.int().ok()
    }

    /// Its text.
    pub(super) fn text(&self) -> Option<&'a [u8]> {
        self.fields(4).last()?.bytes().ok()
    }

    /// Its first `most` integers.
    pub(super) fn ints(&self, most: usize) -> Vec<i64> {
        let mut ints = Vec::new();
        for field in self.fields(8) {
            ints.extend(field.ints(most - ints.len()).unwrap_or_default());
            if ints.len() == most {
                break;
            }
        }
        ints
    }

    /// All its texts; `None` where they are more than `most`, or one is not UTF-8.
    pub(super) fn every_text(&self, most: usize) -> Option<Vec<&'a str>> {
        let texts = self.fields(9).take(most + 1).map(|field| std::str::from_utf8(field.bytes().ok()?).ok());
        texts.collect::<Option<Vec<_>>>().filter(|texts| texts.len() <= most)
    }

    /// Its first `most` texts; those that are not UTF-8 are left out.
    pub(super) fn texts(&self, most: usize) -> Vec<&'a str> {
        self.fields(9).filter_map(|field| std::str::from_utf8(field.bytes().ok()?).ok()).take(most).collect()
    }
}
