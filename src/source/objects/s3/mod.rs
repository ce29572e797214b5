//! Amazon S3, and what speaks as it does: whose credentials are used, and where it is.
//!
//! In this order: keys of the environment, a web identity, a profile of `~/.aws` (its keys, its program, its role), the
//! container's own credentials. The machine's own are asked for only where the environment says so
//! (`AWS_EC2_METADATA_DISABLED=false`, or its service's address): elsewhere nobody is there. Without any, requests go
//! unsigned, which public buckets take.

mod container;
mod keys;
mod process;
mod profile;
mod role;
mod signer;

use std::sync::Arc;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

use self::keys::Keys;
use self::profile::Profile;
use self::role::TokenService;
use self::signer::Signer;
use super::fit::fit;
use super::http::Connector;
use super::location::Location;
use super::{Opened, retry};
use crate::source::Error;
use crate::source::surroundings::Surroundings;

const HINT: &str = "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`; `AWS_REGION` and \
    `AWS_ENDPOINT_URL` say where the bucket is";

/// Opens a bucket; in `region`, where that is known better than by the settings.
pub(super) fn open(
    location: &Location,
    around: &Surroundings,
    connector: &Connector,
    region: Option<&str>,
) -> Result<Opened, Error> {
    // Keys in the environment beat a profile, but the profile may still say where the bucket is.
    let profile = Profile::find(around)?;
    let signer = Signer::find(around, profile.as_ref())?;
    let mut builder = settings(around, profile.as_ref())?;
    let who = signer.told();
    let builder = match &signer {
        Signer::Nobody => builder.with_skip_signature(true),
        Signer::WebIdentity { settings } => {
            // Otherwise it would be said of the bucket that it can't be read.
            if let Some((_, file)) = settings.iter().find(|(key, _)| *key == Key::WebIdentityTokenFile) {
                std::fs::File::open(file).map_err(|error| Error::Credentials {
                    origin: format!("the token of {who}"),
                    reason: format!("`{file}` can't be read: {error}"),
                })?;
            }
            for (key, value) in settings {
                builder = builder.with_config(*key, value);
            }
            builder
        }
        // `object_store` asks it, and again when its keys have run out.
        Signer::Machine => builder,
        signer => {
            let here = builder.get_config_value(&Key::Region).unwrap_or_else(|| "us-east-1".into());
            let service = || TokenService::of(around, &here, connector.plain_http);
            let Keys { access_key_id, secret_access_key, session_token } = signer.keys(around, &service)?;
            builder = builder.with_access_key_id(access_key_id).with_secret_access_key(secret_access_key);
            match session_token {
                Some(token) => builder.with_token(token),
                None => builder,
            }
        }
    };
    let builder = match region {
        Some(region) => builder.with_region(region),
        None => builder,
    };
    let store = builder.with_bucket_name(&location.bucket).with_retry(retry()).with_http_connector(connector.clone());
    let store = store.build().map_err(|error| super::unusable("the settings for S3", &error))?;
    Ok(Opened { store: Arc::new(store), who, hint: HINT })
}

/// Where the bucket is, and how it is asked, by the profile and the environment.
fn settings(around: &Surroundings, profile: Option<&Profile>) -> Result<AmazonS3Builder, Error> {
    let mut builder = AmazonS3Builder::new();
    let mut set = |origin: &str, key: Key, value: &str| {
        fit(origin, key.as_ref(), value)?;
        builder = std::mem::take(&mut builder).with_config(key, value);
        Ok::<(), Error>(())
    };
    let of_profile = |setting| profile.and_then(|profile| Some((profile.told(setting), profile.get(setting)?)));
    if let Some((origin, value)) = of_profile("endpoint_url") {
        set(&origin, Key::Endpoint, value)?;
    }
    // Amazon's own tools have one variable for all of its services.
    let others = [("AWS_ENDPOINT_URL", Key::StsEndpoint), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", Key::MetadataEndpoint)];
    for (name, key) in others {
        if let Some(value) = around.get(name) {
            set(name, key, value.trim_end_matches('/'))?;
        }
    }
    let whose = [Key::AccessKeyId, Key::SecretAccessKey, Key::Token, Key::WebIdentityTokenFile, Key::RoleArn];
    for (name, value) in around.beginning("AWS_") {
        match name.to_ascii_lowercase().parse::<Key>() {
            // Amazon's own word for it.
            Ok(Key::RequestPayer) if value == "requester" => set(name, Key::RequestPayer, "true")?,
            // How a host is asked is said by flags.
            Ok(Key::Client(_)) => {}
            Ok(key) if !whose.contains(&key) => set(name, key, value)?,
            _ => {}
        }
    }
    // After the environment's: of two of these the first counts.
    if let Some((origin, value)) = of_profile("region") {
        set(&origin, Key::DefaultRegion, value)?;
    }
    Ok(builder)
}
