//! `nimify verify DIR`.

use crate::pipeline;
use crate::sign::{Error, KeySource, KeyStore, TrustedKeys, Verdict};

use super::args::{Format, VerifyArgs};
use super::exit::Exit;
use super::failure::{Failure, Outcome};

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    let layout = pipeline::layout_in(&args.dir);
    let verdict = pipeline::verify(&layout, &trusted(args)?).map_err(Failure::from)?;
    if args.format == Format::Json {
        super::print_json(&json(&verdict))?;
    }
    match verdict {
        Verdict::Trusted { image, signatures, attested } => {
            if args.format == Format::Text {
                super::print(&format!("{image}\nwhole, every byte\n"))?;
                for signature in signatures {
                    let place = signature.repository.map(|name| format!(" for {name}")).unwrap_or_default();
                    super::print(&format!("signed by {}{place}\n", signature.key))?;
                }
                for predicate in attested {
                    super::print(&format!("attested: {}\n", predicate.kind))?;
                }
            }
            Ok(())
        }
        Verdict::TooFewSigners { image, signers, threshold } => Err(Failure::say(
            Exit::Trust,
            format!("{image} is intact, but signed by {} of the {threshold} trusted keys that it takes", signers.len()),
        )
        .hint("`nimify sign DIR --key KEY` adds a signature".to_string())),
        Verdict::IntactSignerUnknown { image, signatures } => Err(Failure::say(
            Exit::Trust,
            format!("{image} is intact, signer unknown: no trusted key made {}", of(signatures)),
        )
        .hint("get the signer's public key from its owner and pass it with `--key`".to_string())),
        Verdict::Unsigned { image } => Err(Failure::say(Exit::Trust, format!("{image} is intact, but not signed"))
            .hint("`nimify sign DIR` signs it with your key".to_string())),
        Verdict::Refused { faults } => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Err(Failure {
                exit: Exit::Trust,
                messages: vec![format!("`{}` is refused", args.dir.display()), faults.join("\n")],
                hint: Some("build or fetch it again: a changed byte can't be told from an attack".into()),
            })
        }
    }
}

/// The keys of the flags; without any, those in the user's key store.
fn trusted(args: &VerifyArgs) -> Result<TrustedKeys, Failure> {
    if args.keys.is_empty() {
        return KeyStore::of_user().and_then(|store| store.trusted()).map_err(Failure::from);
    }
    let sources: Vec<_> = args.keys.iter().cloned().map(KeySource::File).collect();
    TrustedKeys::from_sources(&sources).map_err(|error| {
        let missing = matches!(error, Error::NoKey { .. });
        let hint =
            missing.then(|| "`--key` takes the path of a public key, such as the signer's `cosign.pub`".to_string());
        Failure::from(error).hint(hint)
    })
}

fn of(signatures: usize) -> String {
    if signatures == 1 { "its signature".into() } else { format!("any of its {signatures} signatures") }
}

fn json(verdict: &Verdict) -> serde_json::Value {
    match verdict {
        Verdict::Trusted { image, signatures, attested } => {
            let signatures: Vec<_> = signatures
                .iter()
                .map(|s| serde_json::json!({ "key": s.key.to_string(), "repository": s.repository }))
                .collect();
            let attested: Vec<_> = attested.iter().map(|predicate| &predicate.kind).collect();
            serde_json::json!({
                "verdict": "trusted", "image": image, "signatures": signatures, "attested": attested,
            })
        }
        Verdict::TooFewSigners { image, signers, threshold } => {
            let signers: Vec<_> = signers.iter().map(ToString::to_string).collect();
            serde_json::json!({
                "verdict": "tooFewSigners", "image": image, "signers": signers, "threshold": threshold,
            })
        }
        Verdict::IntactSignerUnknown { image, signatures } => {
            serde_json::json!({ "verdict": "intactSignerUnknown", "image": image, "signatures": signatures })
        }
        Verdict::Unsigned { image } => serde_json::json!({ "verdict": "unsigned", "image": image }),
        Verdict::Refused { faults } => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            serde_json::json!({ "verdict": "refused", "faults": faults })
        }
    }
}
