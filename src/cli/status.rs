//! `nimify status`: what runs where.

use std::fmt::Write as _;

use serde::Serialize;

use crate::cluster;
use crate::deploy::{Health, Helm, Manner, Site, Target, canary, image_of};

use super::args::{Format, StatusArgs};
use super::environment::Folder;
use super::failure::{Failure, Outcome};
use super::history::moment;
use super::progress::Progress;

/// What runs in one cluster.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    target: Target,
    /// `None` where nothing does.
    #[serde(flatten)]
    running: Option<Running>,
    /// Why nothing can be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    revision: u32,
    since: String,
    version: String,
    image: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    canary: Option<Canary>,
    #[serde(flatten)]
    health: Health,
    /// The Deployments, each with what is wrong with it.
    parts: Vec<cluster::Running>,
}

#[derive(Debug, Serialize)]
struct Canary {
    weight: u64,
    image: String,
}

pub(super) fn run(args: &StatusArgs) -> Outcome {
    let folder = Folder::open(&args.dir)?;
    let names: Vec<String> = match &args.env {
        Some(name) => vec![name.clone()],
        None => folder.config.environments.keys().map(ToString::to_string).collect(),
    };
    let mut targets = Vec::new();
    if names.is_empty() {
        folder.environment(None)?;
    }
    for name in &names {
        targets.extend(folder.targets(folder.environment(Some(name))?)?);
    }
    let helm = Helm::find()?;
    let progress = Progress::new(false);
    let mut worst = None;
    let mut rows = Vec::new();
    for target in targets {
        progress.begin(&format!("asking {}", target.cluster()));
        let (running, error) = match look(&helm, &target) {
            Ok(running) => (running, None),
            Err(failure) => {
                let text = failure.messages.join(": ");
                worst.get_or_insert(failure);
                (None, Some(text))
            }
        };
        rows.push(Row { target, running, error });
    }
    progress.finish();
    match args.format {
        Format::Json => super::print_json(&serde_json::json!({ "releases": rows }))?,
        Format::Text => super::print(&text(&rows))?,
    }
    worst.map_or(Ok(()), Err)
}

fn look(helm: &Helm, target: &Target) -> Result<Option<Running>, Failure> {
    let manner = Manner { timeout: std::time::Duration::from_secs(60), history_max: 10, create_namespace: false };
    let site = Site::new(helm, target, manner)?;
    let history = site.history()?;
    let Some(last) = history.last() else { return Ok(None) };
    let shown = history.deployed().unwrap_or(last);
    let values = site.values(&history)?;
    let parts = site.running()?;
    let image =
        |values: &serde_json::Value| image_of(values).map_or_else(|error| error.to_string(), |image| image.to_string());
    let canary = canary::is_running(&values).then(|| Canary {
        weight: values["canary"]["weight"].as_u64().unwrap_or_default(),
        image: image(&canary::of_canary(&values)),
    });
    Ok(Some(Running {
        revision: shown.revision,
        since: moment(&shown.updated),
        version: shown.app_version.clone(),
        image: image(&values),
        status: last.status.word(),
        canary,
        health: Health::from(&parts[..]),
        parts,
    }))
}

fn text(rows: &[Row]) -> String {
    let head = ["environment", "cluster", "revision", "version", "since", "ready", "health"].map(String::from);
    let mut table = vec![head];
    let mut below = String::new();
    for Row { target, running, error } in rows {
        let place = [target.environment.clone(), target.context.clone().unwrap_or_else(|| "-".into())];
        let rest = match running {
            None if error.is_some() => ["-", "-", "-", "-", "unknown"].map(String::from),
            None => ["-", "-", "-", "-", "nothing runs"].map(String::from),
            Some(running) => {
                let ready = format!("{}/{}", running.health.ready, running.health.wanted);
                let _ = writeln!(below, "\n{target}\n  {}", running.image);
                if let Some(canary) = &running.canary {
                    let _ = writeln!(below, "  canary, {} %: {}", canary.weight, canary.image);
                }
                if running.status != "deployed" {
                    let _ = writeln!(below, "  its last revision is `{}`", running.status);
                }
                running.health.reasons.iter().for_each(|reason| {
                    let _ = writeln!(below, "  {}", reason.replace('\n', "\n  "));
                });
                let health = if running.health.is_good() { "healthy" } else { "unhealthy" };
                [running.revision.to_string(), running.version.clone(), running.since.clone(), ready, health.into()]
            }
        };
        let [a, b, c, d, e] = rest;
        let [environment, cluster] = place;
        table.push([environment, cluster, a, b, c, d, e]);
    }
    aligned(&table) + &below
}

/// The rows with their columns one below the other.
fn aligned(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..7).map(width).collect();
    let line = |row: &[String; 7]| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        cells.join("  ").trim_end().to_string() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_runs_where() {
        let target = |environment: &str, context: &str| Target {
            environment: environment.into(),
            context: Some(context.into()),
            namespace: None,
            release: "digits".into(),
        };
        let running = Running {
            revision: 4,
            since: "2026-11-21T18:00:00Z".into(),
            version: "1.2.0".into(),
            image: "r.example.com/digits@sha256:1".into(),
            status: "failed",
            canary: Some(Canary { weight: 10, image: "r.example.com/digits@sha256:2".into() }),
            health: Health { ready: 1, wanted: 3, reasons: vec!["pod `a` can't be scheduled".into()] },
            parts: Vec::new(),
        };
        let rows = [
            Row { target: target("prod", "eu"), running: Some(running), error: None },
            Row { target: target("staging", "kind"), running: None, error: None },
            Row { target: target("staging", "gone"), running: None, error: Some("no answer".into()) },
        ];
        insta::assert_snapshot!(text(&rows), @r"
        environment  cluster  revision  version  since                 ready  health
        prod         eu       4         1.2.0    2026-11-21T18:00:00Z  1/3    unhealthy
        staging      kind     -         -        -                     -      nothing runs
        staging      gone     -         -        -                     -      unknown

        `digits` of `prod` in eu
          r.example.com/digits@sha256:1
          canary, 10 %: r.example.com/digits@sha256:2
          its last revision is `failed`
          pod `a` can't be scheduled
        ");
    }
}
