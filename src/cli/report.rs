//! The table that `create` and `build` end with.

use std::fmt::Write as _;

use nimify_runtime::signature::Batching;

use crate::compile::ServiceKind;
use crate::pipeline::BuildReport;
use crate::registry::PushReport;

/// What was made: layers with their sizes, steps with their times, the digest, and what to do next.
pub(super) fn text(report: &BuildReport, commands: &[String]) -> String {
    let mut text = String::new();
    let kind = match report.service {
        ServiceKind::Generated => "a service compiled for this model",
        ServiceKind::Generic => "the generic service",
    };
    let _ = writeln!(text, "{}  {kind}, in {}", report.reference, report.folder.display());
    let _ = writeln!(text, "{}", report.digest);
    let width = report.layers.iter().map(|layer| layer.title.len() + 1).max().unwrap_or_default().max(14);
    let _ = writeln!(text, "\n{:<width$}{:>12}{:>14}", "layer", "compressed", "uncompressed");
    for layer in &report.layers {
        let _ = writeln!(text, "{:<width$}{:>12}{:>14}", layer.title, size(layer.compressed), size(layer.uncompressed));
    }
    let (packed, whole) =
        report.layers.iter().fold((0, 0), |(a, b), layer| (a + layer.compressed, b + layer.uncompressed));
    let _ = writeln!(text, "{:<width$}{:>12}{:>14}", "in all", size(packed), size(whole));
    let _ = writeln!(text, "\n{:<28}{:>8}", "step", "time");
    for row in &report.steps {
        let _ = writeln!(text, "{:<28}{:>8}", row.step.doing(), time(row.seconds));
    }
    let _ = writeln!(text, "{:<28}{:>8}", "in all", time(report.steps.iter().map(|row| row.seconds).sum()));
    let _ = writeln!(text, "\nbatching   {}", batching(&report.batching));
    if let Some(gain) = &report.optimized {
        let [before, after] = gain.operators;
        let _ = writeln!(text, "graph      optimized: {after} operators, {before} before");
    }
    if !report.side_files.is_empty() {
        let _ = writeln!(
            text,
            "sides      {}; `sideFiles` leaves them out",
            sides(report.side_files.iter().map(String::as_str))
        );
    }
    match &report.signed_by[..] {
        [] => text.push_str("signed by  nobody: --unsigned\n"),
        keys => keys.iter().for_each(|key| text.push_str(&format!("signed by  the key {key}\n"))),
    }
    if let Some(pushed) = &report.pushed {
        let PushReport { repository, tag, blobs, bytes_sent, .. } = pushed;
        let sent = blobs.iter().filter(|blob| blob.how == "sent").count();
        let _ =
            writeln!(text, "pushed     {repository}:{tag}, {sent} of {} blobs ({})", blobs.len(), size(*bytes_sent));
    }
    let _ = writeln!(text, "\nnext");
    for command in commands {
        let _ = writeln!(text, "  {command}");
    }
    text
}

/// Which files go along with a model: they stood in its folder, and nobody named them.
pub(super) fn sides<'n>(names: impl Iterator<Item = &'n str>) -> String {
    let names: Vec<_> = names.map(|name| format!("`{name}`")).collect();
    format!("go along and are given to clients: {}", names.join(", "))
}

fn batching(batching: &Batching) -> String {
    match batching {
        Batching::Proved { axis, .. } => format!("requests are joined along axis {axis}"),
        Batching::Stated { axis, reason } => format!("requests are joined along axis {axis}: {reason}"),
        Batching::Refused { reason } | Batching::Unproved { reason } => format!("requests run one by one: {reason}"),
    }
}

/// Bytes in decimal units, as registries count them.
pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

fn time(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_go_along_are_named() {
        let told = sides(["config.json", "vocab.txt"].into_iter());
        assert_eq!(told, "go along and are given to clients: `config.json`, `vocab.txt`");
    }

    #[test]
    fn sizes_and_times_have_the_unit_that_fits() {
        assert_eq!(
            [0, 999, 1_500, 29_400_000, 3_000_000_000].map(size),
            ["0 B", "999 B", "1.5 kB", "29.4 MB", "3.00 GB"]
        );
        assert_eq!([0.012, 2.04].map(time), ["12 ms", "2.0 s"]);
    }
}
