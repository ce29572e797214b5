//! The arrows in their order: from what was asked to a folder with a signed image and a chart.
//!
//! ```text
//! Config ─inspect→ ModelDescription ─probe→ ProbeReport ─plan→ ServicePlan ─generate→ sources ─compile→ binary
//!        ─pack→ Image ─sign→ SignedImage ─chart→ Chart ─write→ the output folder
//! ```
//!
//! Everything is written beside its destination; the last step puts all of it in place, or nothing.

mod base;
mod build;
mod bundle;
mod chart;
mod documents;
mod error;
mod locked;
mod model;
mod observer;
mod output_files;
mod parts;
mod push;
mod report;
mod serve;
mod service_files;
mod sink;
mod source;

pub use build::{BuildRequest, Signer, build};
pub use bundle::{BundleReport, BundleRequest, BundleVerdict, UnpackedBundle, bundle, unpack_bundle};
pub use chart::chart_in;
pub use error::Error;
pub use model::{ModelDestination, ModelForm};
pub use observer::{Observer, Step};
pub use parts::{
    layout_in, locale_path, locate_onnxruntime, operator_libraries, probe_request, read_sample, repository_of, sign,
    verify,
};
pub use push::{Destination, Pushed, keys_at_hand};
pub use report::{BuildReport, LayerRow, StepRow};
pub use serve::{ServeRequest, service_folder};
pub use sink::{ArchiveFile, Sink};
