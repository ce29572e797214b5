//! How sources are written, and what is chosen of a repository's files. What speaks to their servers is left out.

#[path = "../../src/source/choose.rs"]
mod choose;
#[path = "../../src/source/hf/name.rs"]
mod hf;
#[path = "../../src/source/https/name.rs"]
mod https;
#[path = "../../src/source/mlflow/name.rs"]
mod mlflow;
#[path = "../../src/source/name.rs"]
mod name;
#[path = "../../src/source/objects/location.rs"]
mod objects;

pub use name::{NotASource, Source};

use crate::files::RelativePath;

/// The model that is chosen of `paths`, and the files that belong to it; why there is no choice.
pub fn choose(
    paths: &[RelativePath],
    wanted: Option<&RelativePath>,
) -> Result<(RelativePath, Vec<RelativePath>), String> {
    choose::choose(paths, wanted).map(|choice| (choice.model, choice.sides))
}
