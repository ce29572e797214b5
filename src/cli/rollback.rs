//! `nimify rollback`: back to what ran before.

use crate::deploy::{Helm, Manner, RolledBack, Site};

use super::args::{Format, RollbackArgs};
use super::environment;
use super::failure::{Failure, Outcome};
use super::progress::Progress;

/// A rollback keeps as many revisions as a deployment does by default; helm asks for no number here.
const HISTORY: u32 = 10;

pub(super) fn run(args: &RollbackArgs) -> Outcome {
    let folder = environment::place(&args.place)?;
    let targets = folder.targets(folder.environment(args.place.env.as_deref())?)?;
    let helm = Helm::find()?;
    let manner = Manner { timeout: args.timeout, history_max: HISTORY, create_namespace: false };
    let mut progress = Progress::new(args.quiet);
    let mut done = Vec::new();
    for target in &targets {
        let back = Site::new(&helm, target, manner).and_then(|site| site.lock()?.roll_back(args.to, &mut progress));
        match back {
            Ok(back) => done.push(back),
            Err(error) => {
                progress.finish();
                tell(&done, args)?;
                return Err(Failure::from(error));
            }
        }
    }
    progress.finish();
    tell(&done, args)
}

fn tell(all: &[RolledBack], args: &RollbackArgs) -> Outcome {
    match args.format {
        Format::Json => super::print_json(&serde_json::json!({ "rolledBack": all })),
        Format::Text if args.quiet => Ok(()),
        Format::Text => super::print(&all.iter().map(text).collect::<String>()),
    }
}

fn text(back: &RolledBack) -> String {
    let RolledBack { target, from, to, canary, health } = back;
    let what = if *canary { " its canary is ended," } else { "" };
    match (to, health) {
        (Some(to), Some(health)) => {
            format!("{target}:{what} runs as revision {to} did, {} of {} pods ready\n", health.ready, health.wanted)
        }
        (Some(to), None) => format!("{target}:{what} runs as revision {to} did\n"),
        (None, _) => format!("{target}: removed, since revision {from} never ran\n"),
    }
}
