//! `nimify push DIR`.

use std::io::IsTerminal;
use std::path::Path;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::pipeline::{Destination, ModelDestination, Pushed, Sink};
use crate::registry::{PushReport, Watch};

use super::args::{Format, PushArgs};
use super::failure::{Failure, Outcome};
use super::{report, sign};

pub(super) fn run(args: &PushArgs) -> Outcome {
    let destination = Destination {
        to: args.to.clone(),
        chart_to: args.chart_to.clone(),
        model_to: args.model_to.clone().map(|to| ModelDestination { to, form: args.model_as.into() }),
        plain_http: args.plain_http,
        keys: sign::sources(&args.keys),
    };
    let pushed = push(&args.dir, &destination, args.quiet)?;
    match args.format {
        Format::Json => super::print_json(&pushed),
        Format::Text if args.quiet => Ok(()),
        Format::Text => super::print(&text(&pushed)),
    }
}

/// Pushes with a bar on a terminal, and tells the warnings.
fn push(folder: &Path, destination: &Destination, quiet: bool) -> Result<Pushed, Failure> {
    let bar = Bar::new("pushing", quiet);
    let pushed = destination.deliver(folder, &bar);
    bar.0.finish_and_clear();
    let pushed = pushed?;
    if !quiet {
        warn(&pushed);
    }
    Ok(pushed)
}

/// Tells the warnings.
pub(super) fn warn(pushed: &Pushed) {
    let reports = [&pushed.image].into_iter().chain(&pushed.chart).chain(&pushed.model);
    reports.flat_map(|report| &report.warnings).for_each(|warning| eprintln!("warning: {warning}"));
}

/// Where everything is now, and what it took.
pub(super) fn text(pushed: &Pushed) -> String {
    let chart = pushed.chart.as_ref().map(|PushReport { repository, tag, digest, .. }| {
        format!("pushed the chart oci://{repository}:{tag}\n{repository}@{digest}\n")
    });
    let model = pushed.model.as_ref().map(|PushReport { repository, tag, digest, .. }| {
        format!("pushed the model {repository}:{tag}\n{repository}@{digest}\n")
    });
    image_text(&pushed.image) + &chart.unwrap_or_default() + &model.unwrap_or_default()
}

fn image_text(pushed: &PushReport) -> String {
    let PushReport { repository, tag, digest, .. } = pushed;
    let count = |how: &str| pushed.blobs.iter().filter(|blob| blob.how == how).count();
    format!(
        "pushed {repository}:{tag}\n{repository}@{digest}\n{} of {} blobs sent ({}), {} mounted, {} there already\n",
        count("sent"),
        pushed.blobs.len(),
        report::size(pushed.bytes_sent),
        count("mounted"),
        count("present"),
    )
}

/// A bar of bytes on standard error, on a terminal only.
pub(super) struct Bar(pub(super) ProgressBar);

impl Bar {
    pub(super) fn new(doing: &str, quiet: bool) -> Self {
        let draw = !quiet && std::io::stderr().is_terminal();
        let bar = ProgressBar::with_draw_target(
            Some(0),
            if draw { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() },
        );
        let bytes = "{decimal_bytes} of {decimal_total_bytes}, {decimal_bytes_per_sec}";
        let template = format!("{doing} {{wide_bar:.cyan}} {bytes}");
        bar.set_style(ProgressStyle::with_template(&template).expect("a fixed template"));
        Bar(bar)
    }
}

impl Watch for Bar {
    fn expects(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn moved(&self, bytes: i64) {
        if bytes < 0 { self.0.dec(bytes.unsigned_abs()) } else { self.0.inc(bytes.unsigned_abs()) }
    }
}
