//! `nimify diff`: what `deploy` would change.

use std::time::Duration;

use crate::deploy::{self, Aim};

use super::args::{DiffArgs, ReleaseArgs};
use super::deploy::{How, Work};
use super::environment;
use super::failure::Outcome;

pub(super) fn run(args: &DiffArgs) -> Outcome {
    let folder = environment::place(&args.place)?;
    let chosen = folder.environment(args.place.env.as_deref())?;
    let prepared = deploy::prepare(&folder.path, &folder.config, chosen, &environment::overlay(&args.values))?;
    let targets = folder.targets(chosen)?;
    let release = ReleaseArgs { timeout: Duration::from_secs(60), history_max: 10, no_sample: true, quiet: false };
    // Nothing is made: a namespace that is missing is one more thing that would be.
    let how = How { release: &release, dry_run: true, create_namespace: true };
    Work { folder: &folder, prepared: &prepared, targets: &targets, aim: &Aim::Replace, how }.compare(args.format)
}
