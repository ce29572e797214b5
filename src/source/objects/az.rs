//! Azure Blob Storage: whose credentials are used, and where it is.
//!
//! In this order: a connection string, then what stands in `AZURE_*`: a token, a key, a workload's identity, a service
//! principal, a shared access signature, `az` itself. The machine's own identity is asked for only where the environment
//! says where. Without any, requests go unsigned, which public containers take.

use std::collections::BTreeMap;
use std::sync::Arc;

use object_store::azure::{AzureConfigKey as Key, MicrosoftAzureBuilder};

use super::fit::fit;
use super::http::Connector;
use super::location::Location;
use super::{Opened, retry};
use crate::source::Error;
use crate::source::surroundings::Surroundings;

const HINT: &str = "set `AZURE_STORAGE_CONNECTION_STRING`, or `AZURE_STORAGE_ACCOUNT` with `AZURE_STORAGE_KEY` or \
    `AZURE_STORAGE_SAS_TOKEN`";

const CONNECTION: &str = "AZURE_STORAGE_CONNECTION_STRING";

pub(super) fn open(location: &Location, around: &Surroundings, connector: &Connector) -> Result<Opened, Error> {
    let mut settings = settings(around)?;
    if let Some(account) = &location.account {
        // A key, a signature and an address are of one account; a login may be good for several.
        let own = [Key::AccessKey, Key::SasKey, Key::Endpoint];
        let other = settings.get(Key::AccountName.as_ref()).filter(|other| *other != account);
        if let Some(other) = other.filter(|_| own.iter().any(|key| settings.contains_key(key.as_ref()))) {
            let origin = if around.get(CONNECTION).is_some() { CONNECTION } else { "AZURE_STORAGE_ACCOUNT" };
            let reason = format!("it is of the account `{other}`, and `{location}` of `{account}`");
            return Err(Error::Credentials { origin: format!("`{origin}`"), reason });
        }
        settings.insert(Key::AccountName.as_ref().into(), account.clone());
    }
    if !settings.contains_key(Key::AccountName.as_ref()) && !settings.contains_key(Key::UseEmulator.as_ref()) {
        return Err(Error::Credentials {
            origin: format!("`{location}`"),
            reason: "it names no account: write `az://CONTAINER@ACCOUNT/…`, or set `AZURE_STORAGE_ACCOUNT` or \
                `AZURE_STORAGE_CONNECTION_STRING`"
                .into(),
        });
    }
    let who = signer(&settings, around);
    let mut builder = MicrosoftAzureBuilder::new();
    for (name, value) in &settings {
        if let Ok(key) = name.parse::<Key>() {
            builder = builder.with_config(key, value);
        }
    }
    if who.is_none() {
        builder = builder.with_skip_signature(true);
    }
    let store = builder.with_container_name(&location.bucket).with_retry(retry());
    let store = store.with_http_connector(connector.clone()).build();
    let store = store.map_err(|error| super::unusable("the settings for Azure", &error))?;
    let who = who.unwrap_or_else(|| "a request without credentials".into());
    Ok(Opened { store: Arc::new(store), who, hint: HINT })
}

/// What the environment says, by the names of `object_store`'s own settings.
fn settings(around: &Surroundings) -> Result<BTreeMap<String, String>, Error> {
    let mut settings = BTreeMap::new();
    let mut set = |origin: &str, key: Key, value: &str| {
        fit(origin, key.as_ref(), value)?;
        settings.insert(key.as_ref().to_string(), value.to_string());
        Ok::<(), Error>(())
    };
    for (name, value) in around.beginning("AZURE_") {
        match name.to_ascii_lowercase().parse::<Key>() {
            // How a host is asked is said by flags.
            Ok(Key::Client(_)) | Err(_) => {}
            Ok(key) => set(name, key, value)?,
        }
    }
    // What `az` and Azure's own libraries call them.
    let others = [
        ("AZURE_STORAGE_ACCOUNT", Key::AccountName),
        ("AZURE_STORAGE_KEY", Key::AccessKey),
        ("IDENTITY_ENDPOINT", Key::MsiEndpoint),
    ];
    for (name, key) in others {
        if let Some(value) = around.get(name) {
            set(name, key, value)?;
        }
    }
    if let Some(text) = around.get(CONNECTION) {
        for (key, value) in connection(text)? {
            set(CONNECTION, key, &value)?;
        }
    }
    Ok(settings)
}

/// The settings of a connection string: `Name=Value;…`.
fn connection(text: &str) -> Result<Vec<(Key, String)>, Error> {
    let wrong = |reason: &str| Error::Credentials { origin: format!("`{CONNECTION}`"), reason: reason.into() };
    let mut parts = BTreeMap::new();
    for part in text.split(';').filter(|part| !part.trim().is_empty()) {
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("it is not made of `NAME=VALUE;`"))?;
        parts.insert(name.trim().to_lowercase(), value.trim().to_string());
    }
    let mut settings = Vec::new();
    if parts.get("usedevelopmentstorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        settings.push((Key::UseEmulator, "true".into()));
    }
    let names = [
        ("accountname", Key::AccountName),
        ("accountkey", Key::AccessKey),
        ("sharedaccesssignature", Key::SasKey),
        ("blobendpoint", Key::Endpoint),
    ];
    for (name, key) in names {
        if let Some(value) = parts.get(name) {
            settings.push((key, value.clone()));
        }
    }
    if let (None, Some(account), Some(suffix)) =
        (parts.get("blobendpoint"), parts.get("accountname"), parts.get("endpointsuffix"))
    {
        let protocol = parts.get("defaultendpointsprotocol").map_or("https", String::as_str);
        settings.push((Key::Endpoint, format!("{protocol}://{account}.blob.{suffix}")));
    }
    if settings.is_empty() { Err(wrong("it names neither an account nor an endpoint")) } else { Ok(settings) }
}

/// Whose credentials requests carry, for messages.
fn signer(settings: &BTreeMap<String, String>, around: &Surroundings) -> Option<String> {
    let has = |key: &Key| match settings.get(key.as_ref()) {
        Some(value) => !matches!(key, Key::UseAzureCli | Key::UseEmulator) || value.eq_ignore_ascii_case("true"),
        None => false,
    };
    if around.get(CONNECTION).is_some() && [Key::UseEmulator, Key::AccessKey, Key::SasKey].iter().any(has) {
        return Some(format!("the credentials from `{CONNECTION}`"));
    }
    // As `object_store` chooses: the first of which all is there. Without any it would ask the machine's own link.
    let own: [(&[Key], &str); 8] = [
        (&[Key::UseEmulator], "the emulator's credentials"),
        (&[Key::Token], "the token from `AZURE_STORAGE_TOKEN`"),
        (&[Key::AccessKey], "the account's key from the environment"),
        (&[Key::ClientId, Key::AuthorityId, Key::FederatedTokenFile], "the workload's identity"),
        (&[Key::ClientId, Key::AuthorityId, Key::ClientSecret], "the service principal from `AZURE_CLIENT_ID`"),
        (&[Key::SasKey], "the shared access signature from the environment"),
        (&[Key::UseAzureCli], "the account that `az` is logged in with"),
        (&[Key::MsiEndpoint], "the machine's identity"),
    ];
    own.into_iter().find(|(keys, _)| keys.iter().all(has)).map(|(_, who)| who.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around(variables: &[(&str, &str)]) -> Surroundings {
        Surroundings::made(variables, std::path::Path::new("/nowhere"))
    }

    #[test]
    fn a_connection_string_says_account_key_and_place() {
        let text = "DefaultEndpointsProtocol=https;AccountName=a;AccountKey=a2V5==;EndpointSuffix=core.example.com";
        let settings = settings(&around(&[(CONNECTION, text), ("AZURE_STORAGE_KEY", "other")])).unwrap();
        let get = |key: Key| settings.get(key.as_ref()).map(String::as_str);
        assert_eq!(get(Key::AccountName), Some("a"));
        assert_eq!(get(Key::AccessKey), Some("a2V5=="));
        assert_eq!(get(Key::Endpoint), Some("https://a.blob.core.example.com"));
        let error = connection("secret").unwrap_err().to_string();
        assert!(error.contains(CONNECTION) && !error.contains("secret"), "{error}");
    }

    #[test]
    fn the_machine_is_asked_only_where_the_environment_says_so() {
        let who = |variables: &[(&str, &str)]| signer(&settings(&around(variables)).unwrap(), &around(variables));
        assert_eq!(who(&[("AZURE_STORAGE_ACCOUNT", "a")]), None);
        assert_eq!(who(&[("AZURE_STORAGE_KEY", "a")]).unwrap(), "the account's key from the environment");
        assert_eq!(who(&[("IDENTITY_ENDPOINT", "http://x")]).unwrap(), "the machine's identity");
        assert_eq!(who(&[(CONNECTION, "BlobEndpoint=https://a.example.com")]), None, "a public container");
        assert_eq!(who(&[("AZURE_USE_AZURE_CLI", "false")]), None);
        assert_eq!(who(&[("AZURE_CLIENT_SECRET", "s"), ("AZURE_CLIENT_ID", "i")]), None, "of no tenant");
        let whole = [("AZURE_CLIENT_SECRET", "s"), ("AZURE_CLIENT_ID", "i"), ("AZURE_TENANT_ID", "t")];
        assert_eq!(who(&whole).unwrap(), "the service principal from `AZURE_CLIENT_ID`");
    }

    #[test]
    fn credentials_of_one_account_are_not_taken_for_another() {
        let connector = Connector {
            agent: super::super::http::agent(),
            trail: Default::default(),
            plain_http: false,
            headers: Vec::new(),
        };
        let location = Location::parse(super::super::StoreKind::Az, "models@b/a.onnx").unwrap();
        let open =
            |variables: &[(&str, &str)]| open(&location, &around(variables), &connector).map(|opened| opened.who);
        let text = "AccountName=a;BlobEndpoint=https://a.example.com;SharedAccessSignature=sig";
        let error = open(&[(CONNECTION, text)]).unwrap_err().to_string();
        assert!(error.contains("of the account `a`, and `az://models@b/a.onnx` of `b`"), "{error}");
        assert!(open(&[("AZURE_STORAGE_ACCOUNT", "a"), ("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x")]).is_err());
        assert!(open(&[("AZURE_STORAGE_SAS_TOKEN", "sv=1&sig=x")]).is_ok(), "of the account that the source names");
    }
}
