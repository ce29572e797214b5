//! `nimify verify DIR`, `nimify verify FILE` and `nimify verify REF`.

use std::num::NonZeroUsize;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::{Trust, TrustedKey};
use crate::deploy::{self, ImageName, Look};
use crate::pipeline;
use crate::registry::{self, Reference};
use crate::sign::{Error, KeySource, KeyStore, TrustedKeys, Verdict};

use super::args::{Format, TrustArgs, VerifyArgs};
use super::environment::Folder;
use super::exit::Exit;
use super::failure::{Failure, Outcome};
use super::push::Bar;

pub(super) fn run(args: &VerifyArgs) -> Outcome {
    if args.dir.is_file() {
        return bundle(args);
    }
    let verdict = match reference(&args.dir) {
        Some(reference) => in_registry(&reference, args)?,
        None => pipeline::verify(&pipeline::layout_in(&args.dir), &trusted(args, &args.dir)?)?,
    };
    if args.format == Format::Json {
        super::print_json(&json(&verdict))?;
    }
    tell(&verdict, args)
}

/// What isn't here, and reads as an image in a registry.
fn reference(place: &Path) -> Option<Reference> {
    let text = place.to_str().filter(|_| !place.exists())?;
    Reference::with_registry(text).ok().filter(|_| !text.starts_with('.'))
}

/// An image where it was pushed to, with the signatures that are there.
fn in_registry(reference: &Reference, args: &VerifyArgs) -> Result<Verdict, Failure> {
    let trusted = trusted(args, Path::new("."))?;
    let bar = Bar::new("fetching", args.format == Format::Json);
    let found = registry::resolve(reference, args.plain_http)?;
    let digest = found.ok_or_else(|| Failure::say(Exit::Network, format!("there is no {reference}")))?;
    let image = ImageName { repository: reference.repository.clone(), digest };
    let look = Look { plain_http: args.plain_http, folder: None, trusted: &trusted };
    let verdict = deploy::verify(&image, &look, &bar);
    bar.0.finish_and_clear();
    Ok(verdict?)
}

/// A file that `nimify bundle` wrote. Whom to trust is never taken from the file itself.
fn bundle(args: &VerifyArgs) -> Outcome {
    if args.env.is_some() {
        let text = "a bundle says nothing about environments: `--key` names the keys to trust";
        return Err(Failure::say(Exit::Usage, text));
    }
    let bundle = pipeline::unpack_bundle(&args.dir)?;
    let verdict = bundle.verify(&trusted(args, &args.dir)?)?;
    if args.format == Format::Json {
        let mut json = json(&verdict.image);
        json["bundle"] = serde_json::json!(bundle.digest());
        json["bundleSignedBy"] = verdict.signers.iter().map(ToString::to_string).collect();
        super::print_json(&json)?;
    }
    tell(&verdict.image, args)?;
    super::bundle::check(&verdict, &args.dir)?;
    if args.format == Format::Text {
        for key in &verdict.signers {
            super::print(&format!("chart and documents: by {key}\n"))?;
        }
    }
    Ok(())
}

/// Says what was found of a trusted image; anything else is a failure.
fn tell(verdict: &Verdict, args: &VerifyArgs) -> Outcome {
    let Verdict::Trusted { image, signatures, attested } = verdict else { return Err(refused(verdict, &args.dir)) };
    if args.format == Format::Text {
        super::print(&format!("{image}\nwhole, every byte\n"))?;
        for signature in signatures {
            let place = signature.repository.as_ref().map(|name| format!(" for {name}")).unwrap_or_default();
            super::print(&format!("signed by {}{place}\n", signature.key))?;
        }
        for predicate in attested {
            super::print(&format!("attested: {}\n", predicate.kind))?;
        }
    }
    Ok(())
}

/// Why an image that is not trusted isn't.
pub(super) fn refused(verdict: &Verdict, place: &Path) -> Failure {
    match verdict {
        Verdict::Trusted { image, .. } => Failure::say(Exit::Internal, format!("{image} is trusted")),
        Verdict::TooFewSigners { image, signers, threshold } => Failure::say(
            Exit::Trust,
            format!("{image} is intact, but signed by {} of the {threshold} trusted keys that it takes", signers.len()),
        )
        .hint("`nimify sign DIR --key KEY` adds a signature".to_string()),
        Verdict::Expired { image, signers } => {
            let ids: Vec<_> = signers.iter().map(|key| format!("`{key}`")).collect();
            let text = format!("{image} is intact, but trusted no longer: the time of {} is over", ids.join(", "));
            Failure::say(Exit::Trust, text)
                .hint("`notAfter` and `expires` in the environment's `trust` say until when keys hold".to_string())
        }
        Verdict::IntactSignerUnknown { image, signatures } => Failure::say(
            Exit::Trust,
            format!("{image} is intact, signer unknown: no trusted key made {}", of(*signatures)),
        )
        .hint("get the signer's public key from its owner and pass it with `--key`".to_string()),
        Verdict::Unsigned { image } => Failure::say(Exit::Trust, format!("{image} is intact, but not signed"))
            .hint("`nimify sign DIR` signs it with your key".to_string()),
        Verdict::Refused { faults } => {
            let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
            Failure {
                exit: Exit::Trust,
                messages: vec![format!("`{}` is refused", place.display()), faults.join("\n")],
                hint: Some("build or fetch it again: a changed byte can't be told from an attack".into()),
            }
        }
    }
}

/// The keys of the flags, or those of an environment of `folder`; without any, those in the user's key store.
fn trusted(args: &VerifyArgs, folder: &Path) -> Result<TrustedKeys, Failure> {
    let Some(environment) = &args.env else { return trusted_keys(&args.keys, args.threshold) };
    let (keys, configured) = of_environment(folder, environment)?;
    with_threshold(keys, args.threshold.or(configured))
}

/// The keys of the flags; without any, those in the user's key store.
pub(super) fn trusted_keys(keys: &[String], threshold: Option<NonZeroUsize>) -> Result<TrustedKeys, Failure> {
    let keys = match keys {
        [] => KeyStore::of_user().and_then(|store| store.trusted())?,
        keys => read(&super::sign::sources(keys))?,
    };
    with_threshold(keys, threshold)
}

fn with_threshold(keys: TrustedKeys, threshold: Option<NonZeroUsize>) -> Result<TrustedKeys, Failure> {
    let Some(threshold) = threshold else { return Ok(keys) };
    if !keys.is_empty() && threshold.get() > keys.len() {
        let text = format!("{threshold} signers can't be found among {} different keys", keys.len());
        return Err(Failure::say(Exit::Config, text));
    }
    Ok(keys.with_threshold(threshold))
}

/// The keys that an environment of the folder's `nimify.yaml` trusts, and how many of them it takes.
fn of_environment(folder: &Path, name: &str) -> Result<(TrustedKeys, Option<NonZeroUsize>), Failure> {
    let folder = Folder::open(folder)?;
    let trust = &folder.environment(Some(name))?.1.trust;
    if trust.keys.is_empty() {
        let path = folder.path.join("nimify.yaml");
        let text = format!("the environment `{name}` of `{}` trusts no keys", path.display());
        return Err(Failure::say(Exit::Config, text).hint("`trust: { keys: [cosign.pub] }` names them".to_string()));
    }
    Ok((listed(&folder.path, trust)?, trust.threshold))
}

/// The keys of the flags; without any, those that the environment trusts, or else those in the user's key store.
pub(super) fn trusted_in(folder: &Path, trust: &Trust, args: &TrustArgs) -> Result<TrustedKeys, Failure> {
    if !args.keys.is_empty() || trust.keys.is_empty() {
        return trusted_keys(&args.keys, args.threshold.or(trust.threshold));
    }
    with_threshold(listed(folder, trust)?, args.threshold.or(trust.threshold))
}

/// The keys of an environment's list, those whose time is over apart.
fn listed(folder: &Path, trust: &Trust) -> Result<TrustedKeys, Failure> {
    let folder = std::path::absolute(folder).map_err(|error| super::failure::files("find", folder, &error))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let list = trust.expires.as_ref().map(|expires| expires.expiry());
    let mut keys = TrustedKeys::default();
    for TrustedKey { key, not_after } in &trust.keys {
        let own = not_after.as_ref().map(|not_after| not_after.expiry());
        // The sooner of the two, where both are given.
        let expiry = own.iter().chain(&list).min();
        let public = key.source(&folder).public_key().map_err(unread)?;
        keys.add(public, expiry, now);
    }
    Ok(keys)
}

fn read(sources: &[KeySource]) -> Result<TrustedKeys, Failure> {
    TrustedKeys::from_sources(sources).map_err(unread)
}

fn unread(error: Error) -> Failure {
    let missing = matches!(error, Error::NoKey { .. });
    let hint = missing.then(|| "`--key` takes the path of a public key, such as the signer's `cosign.pub`".to_string());
    Failure::from(error).hint(hint)
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
        Verdict::Expired { image, signers } => {
            let signers: Vec<_> = signers.iter().map(ToString::to_string).collect();
            serde_json::json!({ "verdict": "expired", "image": image, "signers": signers })
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
