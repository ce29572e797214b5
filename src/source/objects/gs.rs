//! Google Cloud Storage: whose credentials are used, and where it is.
//!
//! In this order: a token or a service account of the environment, application default credentials (as `gcloud auth
//! application-default login` leaves them). The machine's own are asked for only where `GCE_METADATA_HOST` says where.
//! Without any, requests go unsigned, which public buckets take.

use std::sync::Arc;

use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey as Key};

use super::fit::fit;
use super::http::Connector;
use super::location::Location;
use super::{Opened, retry};
use crate::source::Error;
use crate::source::surroundings::Surroundings;

const HINT: &str = "set `GOOGLE_APPLICATION_CREDENTIALS` to a service account's file, or run `gcloud auth \
    application-default login`";

/// Names the project that pays.
const PAYER: &str = "GOOGLE_CLOUD_QUOTA_PROJECT";
/// Says where the machine's own credentials are.
const METADATA: &str = "GCE_METADATA_HOST";

pub(super) fn open(location: &Location, around: &Surroundings, connector: &Connector) -> Result<Opened, Error> {
    let mut builder = GoogleCloudStorageBuilder::new();
    for (name, value) in around.beginning("GOOGLE_") {
        let key = match name.to_ascii_lowercase().parse::<Key>() {
            // How a host is asked is said by flags.
            Ok(Key::Client(_)) | Err(_) => continue,
            Ok(key) => key,
        };
        // A whole JSON document, which may have lines.
        if key != Key::ServiceAccountKey {
            fit(name, key.as_ref(), value)?;
        }
        builder = builder.with_config(key, value);
    }
    // What the clients of Google take for an emulator, or for another way to the real thing.
    if let Some(host) = around.get("STORAGE_EMULATOR_HOST") {
        let url = if host.contains("://") { host.to_string() } else { format!("http://{host}") };
        fit("STORAGE_EMULATOR_HOST", "base_url", &url)?;
        builder = builder.with_base_url(url.trim_end_matches('/'));
    }
    let token = ["CLOUDSDK_AUTH_ACCESS_TOKEN", "GOOGLE_OAUTH_ACCESS_TOKEN"];
    if let Some((name, token)) = token.iter().find_map(|name| Some((name, around.get(name)?.trim()))) {
        fit(name, "token", token)?;
        builder = builder.with_bearer_token(token);
    }
    // Who pays where the bucket's owner doesn't.
    let mut connector = connector.clone();
    if let Some(project) = around.get(PAYER) {
        let unfit = |_| Error::Credentials { origin: format!("`{PAYER}`"), reason: "it names no project".into() };
        connector.headers.push(("x-goog-user-project", project.parse().map_err(unfit)?));
    }
    // `object_store` reads it by itself.
    if let Some(host) = around.get(METADATA) {
        fit(METADATA, "metadata_host", &format!("http://{host}"))?;
    }
    let who = signer(around);
    if who.is_none() {
        builder = builder.with_skip_signature(true);
    }
    let store = builder.with_bucket_name(&location.bucket).with_retry(retry()).with_http_connector(connector);
    let store = store.build().map_err(|error| unusable(who.as_deref(), &error))?;
    let who = who.unwrap_or_else(|| "a request without credentials".into());
    Ok(Opened { store: Arc::new(store), who, hint: HINT })
}

/// What `object_store` says of a file of credentials may hold a part of it, and is kept back.
fn unusable(who: Option<&str>, error: &object_store::Error) -> Error {
    let text = error.to_string();
    let reason = match who {
        Some(_) if text.contains("unknown variant") => {
            "they are neither a `service_account` nor an `authorized_user`: `CLOUDSDK_AUTH_ACCESS_TOKEN` takes what \
             `gcloud auth print-access-token` prints for them"
        }
        Some(_) if text.contains("decode service account") => "they are not the JSON that they should be",
        _ => return super::unusable("the settings for Google Cloud Storage", error),
    };
    let origin = who.unwrap_or("the settings for Google Cloud Storage").to_string();
    Error::Credentials { origin, reason: reason.into() }
}

/// Whose credentials requests carry, for messages.
fn signer(around: &Surroundings) -> Option<String> {
    let named = [
        "CLOUDSDK_AUTH_ACCESS_TOKEN",
        "GOOGLE_OAUTH_ACCESS_TOKEN",
        "GOOGLE_BEARER_TOKEN",
        "GOOGLE_SERVICE_ACCOUNT",
        "GOOGLE_SERVICE_ACCOUNT_PATH",
        "GOOGLE_SERVICE_ACCOUNT_KEY",
        "GOOGLE_APPLICATION_CREDENTIALS",
    ];
    if let Some(name) = named.into_iter().find(|name| around.get(name).is_some()) {
        return Some(format!("the credentials from `{name}`"));
    }
    let own = around.home.as_ref().map(|home| home.join(".config/gcloud/application_default_credentials.json"));
    if own.is_some_and(|path| path.exists()) {
        return Some("the application default credentials".into());
    }
    around.get(METADATA).map(|_| "the machine's credentials".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_asked_only_where_the_environment_says_so() {
        let home = tempfile::tempdir().unwrap();
        let who = |variables: &[(&str, &str)]| signer(&Surroundings::made(variables, home.path()));
        assert_eq!(who(&[]), None);
        assert_eq!(who(&[("GCE_METADATA_HOST", "metadata")]).unwrap(), "the machine's credentials");
        let named = who(&[("GOOGLE_APPLICATION_CREDENTIALS", "/f"), ("GCE_METADATA_HOST", "metadata")]);
        assert_eq!(named.unwrap(), "the credentials from `GOOGLE_APPLICATION_CREDENTIALS`");
        std::fs::create_dir_all(home.path().join(".config/gcloud")).unwrap();
        std::fs::write(home.path().join(".config/gcloud/application_default_credentials.json"), "{}").unwrap();
        assert_eq!(who(&[]).unwrap(), "the application default credentials");
    }
}
