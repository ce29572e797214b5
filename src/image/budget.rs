//! Sizes that an image has to keep to: of each layer, and in all.
//!
//! What counts is what is stored, which is what a registry keeps and a node pulls.

use std::fmt;

use super::layer::Layer;

/// Most bytes that may be stored; `None` sets no bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Budget {
    /// Of each layer.
    pub layer: Option<u64>,
    /// Of all layers together.
    pub total: Option<u64>,
}

/// Something larger than its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overrun {
    /// What it is; `None` is the whole image.
    pub layer: Option<OverrunLayer>,
    /// Bytes stored.
    pub size: u64,
    /// The bytes allowed.
    pub budget: u64,
    /// The largest files in it as they are unpacked, by their paths in the image, the largest first.
    pub largest: Vec<(String, u64)>,
}

/// A layer that is larger than its budget.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OverrunLayer {
    /// Counted from the lowest, which is 1.
    pub number: usize,
    /// What it holds, in a word.
    pub title: String,
}

/// So many of the largest files are told.
const TOLD: usize = 5;

impl fmt::Display for Overrun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Overrun { size, budget, .. } = self;
        let over = size - budget;
        match &self.layer {
            None => write!(f, "in all {size} bytes, {over} more than the {budget} of `image.budget.total`")?,
            Some(OverrunLayer { number, title }) => write!(
                f,
                "layer {number}, `{title}`: {size} bytes, {over} more than the {budget} of `image.budget.layer`"
            )?,
        }
        for (path, size) in &self.largest {
            write!(f, "\n    {path}: {size} bytes")?;
        }
        Ok(())
    }
}

/// Everything that goes beyond `budget`. Each layer comes with its files and their sizes, where they are known.
pub(super) fn overruns(budget: &Budget, layers: &[(&Layer, Vec<(String, u64)>)]) -> Vec<Overrun> {
    let mut overruns = Vec::new();
    for (at, (layer, files)) in layers.iter().enumerate() {
        if let Some(budget) = budget.layer.filter(|budget| layer.size > *budget) {
            let largest = largest(files.clone());
            let which = OverrunLayer { number: at + 1, title: layer.title.clone() };
            overruns.push(Overrun { layer: Some(which), size: layer.size, budget, largest });
        }
    }
    let size = layers.iter().map(|(layer, _)| layer.size).sum();
    if let Some(budget) = budget.total.filter(|budget| size > *budget) {
        let largest = largest(layers.iter().flat_map(|(_, files)| files.clone()).collect());
        overruns.push(Overrun { layer: None, size, budget, largest });
    }
    overruns
}

fn largest(mut files: Vec<(String, u64)>) -> Vec<(String, u64)> {
    // Stable: files of one size stay in the order of their paths.
    files.sort_by_key(|(_, size)| std::cmp::Reverse(*size));
    files.truncate(TOLD);
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::image::Compression;

    fn layer(title: &str, size: u64) -> Layer {
        let digest = Digest::of(title);
        let (title, compression) = (title.into(), Compression::None);
        Layer { title, compression, digest, diff_id: digest, size, uncompressed_size: size, blob: "blob".into() }
    }

    fn told(layer_budget: Option<u64>, total: Option<u64>) -> Vec<String> {
        let (base, model) = (layer("base", 100), layer("model", 900));
        let files = (0..9).map(|n| (format!("/models/{n}"), 100 + n % 2)).collect();
        let layers = [(&base, vec![("/lib/c".to_string(), 99)]), (&model, files)];
        let budget = Budget { layer: layer_budget, total };
        overruns(&budget, &layers).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_within_its_budget_is_not_told() {
        for (layer, total) in [(None, None), (Some(900), None), (None, Some(1000)), (Some(900), Some(1000))] {
            assert_eq!(told(layer, total), Vec::<String>::new());
        }
    }

    #[test]
    fn every_overrun_is_told_with_its_largest_files() {
        let told = told(Some(99), Some(999));
        let files = ["1", "3", "5", "7"].map(|n| format!("\n    /models/{n}: 101 bytes")).concat()
            + "\n    /models/0: 100 bytes";
        assert_eq!(
            told,
            [
                "layer 1, `base`: 100 bytes, 1 more than the 99 of `image.budget.layer`\n    /lib/c: 99 bytes".into(),
                format!("layer 2, `model`: 900 bytes, 801 more than the 99 of `image.budget.layer`{files}"),
                format!("in all 1000 bytes, 1 more than the 999 of `image.budget.total`{files}"),
            ]
        );
    }
}
