//! Amazon S3, and what speaks as it does: whose credentials are used, and where it is.
//!
//! In this order: keys of the environment, a web identity, a profile of `~/.aws`, the container's own credentials. The
//! machine's own are asked for only where `AWS_EC2_METADATA_DISABLED=false` says so: elsewhere nobody is at that address.
//! Without any, requests go unsigned, which public buckets take.

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey as Key};

use super::http::Connector;
use super::location::Location;
use super::process;
use super::profile::Profile;
use super::surroundings::Surroundings;
use super::{Opened, retry};
use crate::source::Error;

const HINT: &str = "set `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY`, or `AWS_PROFILE`; `AWS_REGION` and \
    `AWS_ENDPOINT_URL` say where the bucket is";

/// Whose credentials requests are signed with.
#[derive(Debug, PartialEq, Eq)]
enum Signer {
    Environment,
    WebIdentity,
    Profile,
    /// A program that the profile names.
    Process(String),
    Container,
    Machine,
    Nobody,
}

pub(super) fn open(location: &Location, around: &Surroundings, connector: &Connector) -> Result<Opened, Error> {
    // Keys in the environment beat a profile, but the profile may still say where the bucket is.
    let profile = Profile::find(around)?;
    let signer = signer(around, profile.as_ref())?;
    let mut builder = AmazonS3Builder::new();
    let profile = profile.unwrap_or_default();
    for (setting, key) in [("region", Key::DefaultRegion), ("endpoint_url", Key::Endpoint)] {
        if let Some(value) = profile.get(setting) {
            builder = builder.with_config(key, value);
        }
    }
    for (name, value) in around.beginning("AWS_") {
        if let Ok(key) = name.to_ascii_lowercase().parse::<Key>() {
            builder = builder.with_config(key, value);
        }
    }
    let who = match &signer {
        Signer::Environment => "the keys from `AWS_ACCESS_KEY_ID`".into(),
        Signer::WebIdentity => "the role from `AWS_ROLE_ARN`".into(),
        Signer::Profile | Signer::Process(_) => {
            format!("the keys of the profile `{}` from {}", profile.name, profile.origin)
        }
        Signer::Container => "the container's credentials".into(),
        Signer::Machine => "the machine's credentials".into(),
        Signer::Nobody => "a request without credentials".into(),
    };
    match signer {
        Signer::Environment | Signer::WebIdentity | Signer::Container | Signer::Machine => {}
        Signer::Profile => {
            for (setting, key) in [
                ("aws_access_key_id", Key::AccessKeyId),
                ("aws_secret_access_key", Key::SecretAccessKey),
                ("aws_session_token", Key::Token),
            ] {
                if let Some(value) = profile.get(setting) {
                    builder = builder.with_config(key, value);
                }
            }
        }
        Signer::Process(command) => {
            let keys = process::ask(&command, &profile.origin)?;
            builder = builder.with_access_key_id(keys.access_key_id).with_secret_access_key(keys.secret_access_key);
            if let Some(token) = keys.session_token {
                builder = builder.with_token(token);
            }
        }
        Signer::Nobody => builder = builder.with_skip_signature(true),
    }
    let store = builder.with_bucket_name(&location.bucket).with_retry(retry()).with_http_connector(connector.clone());
    let store = store.build().map_err(|error| super::unusable("the settings for S3", &error))?;
    Ok(Opened { store: Box::new(store), who, hint: HINT })
}

fn signer(around: &Surroundings, profile: Option<&Profile>) -> Result<Signer, Error> {
    if around.get("AWS_ACCESS_KEY_ID").is_some() || around.get("AWS_SECRET_ACCESS_KEY").is_some() {
        return Ok(Signer::Environment);
    }
    if around.get("AWS_WEB_IDENTITY_TOKEN_FILE").is_some() && around.get("AWS_ROLE_ARN").is_some() {
        return Ok(Signer::WebIdentity);
    }
    if let Some(profile) = profile {
        if profile.get("aws_access_key_id").is_some() && profile.get("role_arn").is_none() {
            return Ok(Signer::Profile);
        }
        if let Some(command) = profile.get("credential_process") {
            return Ok(Signer::Process(command.into()));
        }
        let elsewhere =
            ["role_arn", "sso_session", "sso_start_url"].into_iter().find(|name| profile.get(name).is_some());
        if let Some(setting) = elsewhere {
            return Err(Error::Credentials {
                origin: format!("the profile `{}`", profile.name),
                reason: format!(
                    "it needs to be exchanged for keys first (`{setting}`): `aws configure export-credentials --profile \
                     {} --format env` gives them",
                    profile.name
                ),
            });
        }
    }
    let container = ["AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI"];
    if container.iter().any(|name| around.get(name).is_some()) {
        return Ok(Signer::Container);
    }
    Ok(if around.get("AWS_EC2_METADATA_DISABLED") == Some("false") { Signer::Machine } else { Signer::Nobody })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(variables: &[(&str, &str)], credentials: &str) -> Result<Signer, Error> {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".aws")).unwrap();
        std::fs::write(home.path().join(".aws/credentials"), credentials).unwrap();
        let around = Surroundings::made(variables, home.path());
        signer(&around, Profile::find(&around)?.as_ref())
    }

    #[test]
    fn credentials_are_found_where_amazons_tools_find_them() {
        let keys = "[default]\naws_access_key_id = a\naws_secret_access_key = b\n";
        assert_eq!(of(&[], "").unwrap(), Signer::Nobody);
        assert_eq!(of(&[], keys).unwrap(), Signer::Profile);
        assert_eq!(of(&[("AWS_ACCESS_KEY_ID", "a")], keys).unwrap(), Signer::Environment);
        let role = [("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "arn")];
        assert_eq!(of(&role, keys).unwrap(), Signer::WebIdentity);
        assert_eq!(of(&[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/x")], "").unwrap(), Signer::Container);
        assert_eq!(of(&[("AWS_EC2_METADATA_DISABLED", "false")], "").unwrap(), Signer::Machine);
        assert_eq!(of(&[("AWS_EC2_METADATA_DISABLED", "true")], "").unwrap(), Signer::Nobody);
        let process = of(&[("AWS_PROFILE", "ml")], "[ml]\ncredential_process = tool --for ml\n").unwrap();
        assert_eq!(process, Signer::Process("tool --for ml".into()));
    }

    #[test]
    fn a_profile_that_has_to_be_exchanged_says_how() {
        let error = of(&[], "[default]\nrole_arn = arn\nsource_profile = a\n").unwrap_err().to_string();
        assert!(error.contains("`role_arn`") && error.contains("aws configure export-credentials"), "{error}");
    }
}
