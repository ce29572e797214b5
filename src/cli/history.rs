//! `nimify history`: the revisions of a release.

use std::fmt::Write as _;

use serde::Serialize;

use crate::deploy::{Helm, History, Revision, Target};

use super::args::{Format, HistoryArgs};
use super::environment;
use super::failure::Outcome;

/// The revisions in one cluster, the newest first.
#[derive(Debug, Serialize)]
struct Listed {
    #[serde(flatten)]
    target: Target,
    revisions: Vec<Revision>,
}

pub(super) fn run(args: &HistoryArgs) -> Outcome {
    let folder = environment::place(&args.place)?;
    let targets = folder.targets(folder.environment(args.place.env.as_deref())?)?;
    let helm = Helm::find()?;
    let mut all = Vec::new();
    for target in targets {
        let History(mut revisions) = helm.history(&target)?;
        revisions.reverse();
        all.push(Listed { target, revisions });
    }
    match args.format {
        Format::Json => super::print_json(&serde_json::json!({ "releases": all })),
        Format::Text => super::print(&text(&all)),
    }
}

fn text(all: &[Listed]) -> String {
    let mut text = String::new();
    for Listed { target, revisions } in all {
        if revisions.is_empty() {
            let _ = writeln!(text, "{target}: never deployed");
            continue;
        }
        let _ = writeln!(text, "{target}\n{:<9}{:<22}{:<17}{:<10}note", "revision", "since", "status", "version");
        for one in revisions {
            let Revision { revision, updated, status, app_version, description, .. } = one;
            let _ = writeln!(
                text,
                "{revision:<9}{:<22}{:<17}{app_version:<10}{description}",
                moment(updated),
                status.word()
            );
        }
    }
    text
}

/// A moment to the second: `2026-11-21T18:00:00Z`.
pub(super) fn moment(text: &str) -> String {
    match text.split_once('.') {
        Some((head, rest)) => {
            let zone = rest.trim_start_matches(|c: char| c.is_ascii_digit());
            format!("{head}{zone}")
        }
        None => text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_to_the_second() {
        assert_eq!(moment("2026-11-21T18:00:00.123456789Z"), "2026-11-21T18:00:00Z");
        assert_eq!(moment("2026-11-21T18:00:00.1+01:00"), "2026-11-21T18:00:00+01:00");
        assert_eq!(moment("2026-11-21T18:00:00Z"), "2026-11-21T18:00:00Z");
    }
}
