//! A role that a profile names → keys for an hour, from Amazon's token service (STS) or one that speaks as it does.

use bytes::Bytes;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::HttpRequestBody;
use url::Url;

use super::keys::Keys;
use super::profile::Profile;
use crate::registry::place;
use crate::source::Error;
use crate::source::login::Login;
use crate::source::objects::said::{element, words};
use crate::source::surroundings::Surroundings;
use crate::source::web::{Ask, Client};

const HINT: &str =
    "the role's trust policy has to let those keys assume it; `AWS_ENDPOINT_URL_STS` names another token service";
/// Largest answer, bytes.
const LARGEST: u64 = 1 << 20;
/// What the service's log calls us, unless the profile says otherwise.
const SESSION: &str = "nimify";

/// A role, as a profile describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Role {
    /// The profile, for messages.
    pub(super) profile: String,
    arn: String,
    session: String,
    external_id: Option<String>,
    seconds: Option<String>,
}

impl Role {
    /// The role that a profile names. One that wants a code from a device can't be assumed here.
    pub(super) fn of(profile: &Profile) -> Result<Option<Self>, Error> {
        let Some(arn) = profile.get("role_arn") else { return Ok(None) };
        if profile.get("mfa_serial").is_some() {
            return Err(profile.needs_exchange("mfa_serial"));
        }
        let text = |name: &str| profile.get(name).map(str::to_string);
        Ok(Some(Role {
            profile: profile.name.clone(),
            arn: arn.into(),
            session: text("role_session_name").unwrap_or_else(|| SESSION.into()),
            external_id: text("external_id"),
            seconds: text("duration_seconds"),
        }))
    }

    /// The role's keys, asked for with the keys of another.
    pub(super) fn assume(&self, source: &Keys, place: &TokenService, who: &str) -> Result<Keys, Error> {
        let url = self.question(&place.url);
        let attempt = format!("assume the role `{}` of the profile `{}`", self.arn, self.profile);
        let odd = |reason: &str| Error::Credentials { origin: format!("`{}`", self.arn), reason: reason.into() };
        let mut request = http::Request::get(url.as_str()).body(HttpRequestBody::from(Bytes::new()));
        let request = request.as_mut().map_err(|_| odd("it can't be asked for"))?;
        let credential = AwsCredential {
            key_id: source.access_key_id.clone(),
            secret_key: source.secret_access_key.clone(),
            token: source.session_token.clone(),
        };
        let authorizer = AwsAuthorizer::new(&credential, "sts", &place.region);
        authorizer.try_authorize(request, None).map_err(|_| odd("the request for it can't be signed"))?;
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).map(String::from);
        let names = ["x-amz-date", "x-amz-content-sha256", "x-amz-security-token"];
        let headers = names.into_iter().filter_map(|name| Some((name, header(name)?))).collect();
        // `the keys …`, of which the client says that they are credentials.
        let login = Login { header: header("authorization").unwrap_or_default().into(), origin: who.into() };
        let ask = Ask { url, headers, attempt };
        let answer = Client::unmoved(&place.url, Some(login), HINT).saying(words).text(&ask, LARGEST)?;
        let answer = String::from_utf8_lossy(&answer);
        let part =
            |name: &str| element(&answer, name).ok_or_else(|| odd("the answer of the token service has no keys"));
        let keys = Keys {
            access_key_id: part("AccessKeyId")?,
            secret_access_key: part("SecretAccessKey")?,
            session_token: Some(part("SessionToken")?),
        };
        keys.checked(&format!("`{}`", self.arn))
    }

    fn question(&self, service: &Url) -> Url {
        let mut url = service.clone();
        let mut query = url.query_pairs_mut();
        query.extend_pairs([("Action", "AssumeRole"), ("Version", "2011-06-15"), ("RoleArn", &self.arn)]);
        query.append_pair("RoleSessionName", &self.session);
        query.extend_pairs(self.external_id.iter().map(|id| ("ExternalId", id)));
        query.extend_pairs(self.seconds.iter().map(|seconds| ("DurationSeconds", seconds)));
        drop(query);
        url
    }
}

/// Where roles are assumed.
#[derive(Debug, Clone)]
pub(super) struct TokenService {
    pub(super) url: Url,
    region: String,
}

impl TokenService {
    /// As the environment says, else Amazon's own in the region.
    pub(super) fn of(around: &Surroundings, region: &str, plain_http: bool) -> Result<Self, Error> {
        let name = ["AWS_ENDPOINT_URL_STS", "AWS_ENDPOINT_URL"].into_iter().find(|name| around.get(name).is_some());
        let own = || {
            let end = if region.starts_with("cn-") { ".cn" } else { "" };
            format!("https://sts.{region}.amazonaws.com{end}/")
        };
        let text = name.and_then(|name| around.get(name)).map_or_else(own, str::to_string);
        let origin = || format!("`{}`", name.unwrap_or("AWS_REGION"));
        let wrong = |reason: &str| Error::Credentials { origin: origin(), reason: reason.into() };
        let url = Url::parse(&text).map_err(|_| wrong("it makes no address"))?;
        let host = url.host_str().unwrap_or_default();
        match url.scheme() {
            "https" => {}
            "http" if plain_http || place::is_here(host) => {}
            _ => return Err(wrong("roles are not asked for without TLS unless `--plain-http` is given")),
        }
        Ok(TokenService { url, region: region.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_service_is_asked_by_tls_or_on_this_machine() {
        let of = |variables: &[(&str, &str)], region: &str| {
            let around = Surroundings::made(variables, std::path::Path::new("/nowhere"));
            TokenService::of(&around, region, false).map(|service| service.url.to_string())
        };
        assert_eq!(of(&[], "eu-west-1").unwrap(), "https://sts.eu-west-1.amazonaws.com/");
        assert_eq!(of(&[], "cn-north-1").unwrap(), "https://sts.cn-north-1.amazonaws.com.cn/");
        let both = [("AWS_ENDPOINT_URL", "http://127.0.0.2:1"), ("AWS_ENDPOINT_URL_STS", "https://sts.example.com")];
        assert_eq!(of(&both, "x").unwrap(), "https://sts.example.com/");
        assert_eq!(of(&both[..1], "x").unwrap(), "http://127.0.0.2:1/");
        let error = of(&[("AWS_ENDPOINT_URL", "http://sts.example.com")], "x").unwrap_err().to_string();
        assert!(error.contains("`AWS_ENDPOINT_URL` can't be used: roles are not asked for without TLS"), "{error}");
    }
}
