//! nimify turns a model file into a production inference service.
//!
//! Everything is a pipeline of plain values; each arrow is one function of the module named on it:
//!
//! ```text
//! ModelFile ─model→ ModelSignature ─plan→ ServicePlan ─┬─openapi→ OpenApiDocument
//!                                                      └─codegen→ ServiceSources ─compile→ ServiceBinary
//! ServiceBinary + ONNX Runtime + model ─image→ Image ─sign→ SignedImage ─┬─chart→ Chart
//!                                                                        ├─registry→ pushed ─deploy→ Release
//!                                                                        └─bundle→ one file
//! ```

pub mod alike;
pub mod bundle;
pub mod cache;
pub mod chart;
pub mod cli;
pub mod cluster;
pub mod codegen;
pub mod compile;
pub mod config;
pub mod confine;
pub mod deploy;
pub mod digest;
pub mod files;
pub mod image;
pub mod interrupt;
pub mod model;
pub mod nearest;
pub mod openapi;
pub mod optimize;
pub mod output;
pub mod pipeline;
pub mod plan;
pub mod probe;
pub mod registry;
pub mod sbom;
pub mod sign;
pub mod source;
pub mod triton;
