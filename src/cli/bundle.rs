//! `nimify bundle DIR` and `nimify bundle import FILE`.

use crate::pipeline::{self, BundleReport, BundleRequest, BundleVerdict, Destination, Pushed};
use crate::sign::Verdict;

use super::args::{BundleArgs, BundleCommand, Format, ImportArgs};
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::{push, report, sign, verify};

pub(super) fn run(args: &BundleArgs) -> Outcome {
    match &args.command {
        Some(BundleCommand::Import(import)) => self::import(import),
        None => write(args),
    }
}

fn write(args: &BundleArgs) -> Outcome {
    let Some(folder) = &args.dir else { unreachable!("clap asks for a folder where there is no subcommand") };
    let named = sign::sources(&args.keys);
    let mut keys = if named.is_empty() && args.unsigned { Vec::new() } else { pipeline::keys_at_hand(&named)? };
    if named.is_empty() {
        // The one that signs images.
        keys.truncate(1);
    }
    let request = BundleRequest { folder, output: args.output.clone(), keys: &keys, force: args.force };
    let made = pipeline::bundle(&request)?;
    if made.signed_by.is_empty() {
        eprintln!("warning: nobody vouches for what is in the bundle besides the image: there is no key");
    }
    match args.format {
        Format::Json => super::print_json(&made),
        Format::Text => super::print(&text(&made)),
    }
}

fn text(made: &BundleReport) -> String {
    let how = if made.unchanged { "unchanged" } else { "wrote" };
    let chart = made.chart.as_ref().map(|chart| format!("with {chart}\n")).unwrap_or_default();
    let signed: String = made.signed_by.iter().map(|key| format!("signed by {key}\n")).collect();
    let BundleReport { path, digest, size, image, image_digest, .. } = made;
    format!(
        "{how} {} ({})\n{digest}\nwith {image}, {image_digest}\n{chart}{signed}",
        path.display(),
        report::size(*size)
    )
}

fn import(args: &ImportArgs) -> Outcome {
    let trusted = if args.unsigned { None } else { Some(verify::trusted_keys(&args.keys, args.threshold)?) };
    let bundle = pipeline::unpack_bundle(&args.file)?;
    let verdict = bundle.verify(&trusted.unwrap_or_default())?;
    if args.unsigned {
        // Whole it has to be all the same.
        if let Verdict::Refused { .. } = verdict.image {
            return Err(verify::refused(&verdict.image, &args.file));
        }
    } else {
        check(&verdict, &args.file)?;
    }
    let destination = Destination {
        plain_http: args.plain_http,
        keys: args.signing_key.iter().map(|key| sign::source(key)).collect(),
        ..Destination::default()
    };
    let bar = push::Bar::new("pushing", args.quiet);
    let pushed = bundle.push(&args.to, &destination, &bar);
    bar.0.finish_and_clear();
    let pushed = pushed?;
    if !args.quiet {
        push::warn(&pushed);
    }
    match args.format {
        Format::Json => super::print_json(&Imported { bundle: bundle.digest().to_string(), pushed }),
        Format::Text if args.quiet => Ok(()),
        Format::Text => super::print(&format!("read {}\n{}", bundle.digest(), push::text(&pushed))),
    }
}

#[derive(serde::Serialize)]
struct Imported {
    bundle: String,
    #[serde(flatten)]
    pushed: Pushed,
}

/// Refuses a bundle for whose image, or for whose contents, too few trusted keys vouch.
pub(super) fn check(verdict: &BundleVerdict, file: &std::path::Path) -> Outcome {
    if !verdict.image.is_trusted() {
        return Err(verify::refused(&verdict.image, file));
    }
    if verdict.is_trusted() {
        return Ok(());
    }
    let text = format!(
        "the image in `{}` is trusted, but chart and documents beside it are not: {} of the {} trusted keys that it takes \
         signed `bundle.json`",
        file.display(),
        verdict.signers.len(),
        verdict.threshold
    );
    Err(Failure::say(Exit::Trust, text).hint("`nimify bundle DIR --key KEY` signs it where it is made".to_string()))
}
