//! Test models without Python: the messages that they are made of, and the models that several tests share.

use nimify_runtime::signature::ElementType;

pub(crate) use super::message::Message;
use super::message::build;

/// A folder with these files in it.
pub(crate) fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    folder
}

/// `NodeProto` of the standard domain.
pub(crate) fn node(op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    node_of("", op, inputs, outputs, attributes)
}

/// `NodeProto`.
pub(crate) fn node_of(domain: &str, op: &str, inputs: &[&str], outputs: &[&str], attributes: &[Message]) -> Message {
    build(|m| {
        inputs.iter().for_each(|name| {
            m.data(1, name);
        });
        outputs.iter().for_each(|name| {
            m.data(2, name);
        });
        m.data(4, op);
        attributes.iter().for_each(|attribute| {
            m.message(5, attribute);
        });
        if !domain.is_empty() {
            m.data(7, domain);
        }
    })
}

/// An integer attribute.
pub(crate) fn int(name: &str, value: i64) -> Message {
    build(|m| {
        m.data(1, name).int(3, value).int(20, 2);
    })
}

/// An attribute that is a list of texts.
pub(crate) fn texts(name: &str, texts: &[&str]) -> Message {
    build(|m| {
        m.data(1, name).int(20, 8);
        texts.iter().for_each(|text| {
            m.data(9, text);
        });
    })
}

/// An attribute that is a list of floats.
pub(crate) fn floats(name: &str, floats: &[f32]) -> Message {
    build(|m| {
        m.data(1, name).int(20, 6);
        floats.iter().for_each(|float| {
            m.float(7, *float);
        });
    })
}

/// An attribute that is a tensor (5) or a graph (6).
pub(crate) fn holding(name: &str, field: u32, value: &Message) -> Message {
    build(|m| {
        m.data(1, name).message(field, value).int(20, i64::from(field) - 1);
    })
}

/// `TensorProto` with raw data.
pub(crate) fn tensor(name: &str, element_type: ElementType, dims: &[i64], raw: &[u8]) -> Message {
    build(|m| {
        dims.iter().for_each(|dim| {
            m.int(1, *dim);
        });
        m.int(2, element_type.onnx().into()).data(8, name).data(9, raw);
    })
}

/// `TensorProto` with external data.
pub(crate) fn external(name: &str, dims: &[i64], entries: &[(&str, &str)]) -> Message {
    build(|m| {
        dims.iter().for_each(|dim| {
            m.int(1, *dim);
        });
        m.int(2, 1).data(8, name);
        for (key, value) in entries {
            m.message(
                13,
                &build(|m| {
                    m.data(1, key).data(2, value);
                }),
            );
        }
        m.int(14, 1);
    })
}

/// `TypeProto` of a tensor; no `dims` for an unknown rank; a dimension is a number, a name or `?`.
pub(crate) fn tensor_type(element_type: ElementType, dims: Option<&[&str]>) -> Message {
    let shape = dims.map(|dims| {
        build(|shape| {
            for dim in dims {
                shape.message(
                    1,
                    &build(|m| match dim.parse() {
                        Ok(size) => {
                            m.int(1, size);
                        }
                        Err(_) if *dim == "?" => {}
                        Err(_) => {
                            m.data(2, dim);
                        }
                    }),
                );
            }
        })
    });
    let tensor = build(|m| {
        m.int(1, element_type.onnx().into());
        shape.iter().for_each(|shape| {
            m.message(2, shape);
        });
    });
    build(|m| {
        m.message(1, &tensor);
    })
}

/// `TypeProto` of a sequence of maps from int64 to a float tensor [K].
pub(crate) fn maps_type() -> Message {
    let inner = tensor_type(ElementType::Float32, Some(&["K"]));
    let map = build(|map| {
        map.int(1, 7).message(2, &inner);
    });
    let map = build(|value| {
        value.message(5, &map);
    });
    let sequence = build(|sequence| {
        sequence.message(1, &map);
    });
    build(|value| {
        value.message(4, &sequence);
    })
}

/// `ValueInfoProto`.
pub(crate) fn value(name: &str, value_type: &Message) -> Message {
    build(|m| {
        m.data(1, name).message(2, value_type);
    })
}

/// `ValueInfoProto` of a float tensor.
pub(crate) fn float(name: &str, dims: &[&str]) -> Message {
    value(name, &tensor_type(ElementType::Float32, Some(dims)))
}

/// What a graph is made of; `Default` and the struct update syntax fill in the rest.
#[derive(Debug, Clone, Default)]
pub(crate) struct GraphParts {
    pub(crate) nodes: Vec<Message>,
    pub(crate) inputs: Vec<Message>,
    pub(crate) outputs: Vec<Message>,
    pub(crate) initializers: Vec<Message>,
}

impl GraphParts {
    /// `x` [N, 4] → `y` [N, 4] through one node.
    pub(crate) fn simple() -> Self {
        GraphParts {
            nodes: vec![node("Identity", &["x"], &["y"], &[])],
            inputs: vec![float("x", &["N", "4"])],
            outputs: vec![float("y", &["N", "4"])],
            initializers: vec![],
        }
    }

    /// `GraphProto`.
    pub(crate) fn message(&self) -> Message {
        build(|m| {
            self.nodes.iter().for_each(|part| {
                m.message(1, part);
            });
            m.data(2, "graph");
            self.initializers.iter().for_each(|part| {
                m.message(5, part);
            });
            self.inputs.iter().for_each(|part| {
                m.message(11, part);
            });
            self.outputs.iter().for_each(|part| {
                m.message(12, part);
            });
        })
    }

    /// `ModelProto` of this graph: IR version 8, opset 17.
    pub(crate) fn model(&self) -> Message {
        model(8, &[("", 17)], &self.message())
    }
}

/// `ModelProto`.
pub(crate) fn model(ir_version: i64, opsets: &[(&str, i64)], graph: &Message) -> Message {
    build(|m| {
        m.int(1, ir_version).data(2, "a test").message(7, graph);
        for (domain, version) in opsets {
            m.message(
                8,
                &build(|m| {
                    m.data(1, domain).int(2, *version);
                }),
            );
        }
    })
}

/// `FunctionProto` of the domain `own`.
pub(crate) fn function(name: &str, nodes: &[Message]) -> Message {
    build(|m| {
        m.data(1, name);
        nodes.iter().for_each(|node| {
            m.message(7, node);
        });
        m.data(10, "own");
    })
}

/// `x` [N, 4] float32 and `ids` [N, S] int64 → `y` [N, 3]; weights, a vocabulary of 100, a subgraph, metadata.
pub(crate) fn full() -> Vec<u8> {
    let branch = GraphParts {
        nodes: vec![node(
            "Constant",
            &[],
            &["c"],
            &[holding("value", 5, &tensor("c0", ElementType::Float32, &[1], &[0; 4]))],
        )],
        outputs: vec![float("c", &["1"])],
        ..GraphParts::default()
    };
    let parts = GraphParts {
        nodes: vec![
            node("MatMul", &["x", "w"], &["xw"], &[]),
            node("Cast", &["ids"], &["ids32"], &[int("to", 6)]),
            node("Gather", &["table", "ids32"], &["rows"], &[]),
            node(
                "If",
                &["flag"],
                &["picked"],
                &[holding("then_branch", 6, &branch.message()), holding("else_branch", 6, &branch.message())],
            ),
            node("Add", &["xw", "picked"], &["y"], &[]),
        ],
        inputs: vec![float("x", &["N", "4"]), value("ids", &tensor_type(ElementType::Int64, Some(&["N", "S"])))],
        outputs: vec![float("y", &["N", "3"])],
        initializers: vec![
            tensor("w", ElementType::Float32, &[4, 3], &[0; 48]),
            tensor("table", ElementType::Int8, &[100, 8], &[0; 800]),
            tensor("flag", ElementType::Bool, &[], &[1]),
        ],
    };
    let mut model = model(9, &[("", 20), ("ai.onnx.ml", 3)], &parts.message());
    model.data(3, "1.2").data(4, "org.example").int(5, 7).data(6, "A model for tests.");
    model.message(
        14,
        &build(|m| {
            m.data(1, "author").data(2, "nobody");
        }),
    );
    model.bytes().to_vec()
}
