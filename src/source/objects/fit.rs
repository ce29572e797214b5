//! Settings as the environment and profiles have them → none that `object_store` panics on.
//!
//! It puts them into headers and addresses and takes for granted that they fit. What they hold is never told.

use crate::source::Error;

/// Refuses the value of a setting that can't stand where it goes: `setting` is `object_store`'s own name for it, `origin`
/// where it was found.
pub(super) fn fit(origin: &str, setting: &str, value: &str) -> Result<(), Error> {
    let ends = |ends: &[&str]| ends.iter().any(|end| setting.ends_with(end));
    let is_place = ends(&["base_url", "authority_host", "metadata_host"])
        || setting.contains("endpoint") && !setting.contains("use_");
    let reason = if ends(&["_file", "_path", "credentials", "service_account"]) {
        // A path, which is opened and goes nowhere else.
        None
    } else if is_place {
        (!is_host(value)).then_some("it should be the address of a host, without a name, a password or a query")
    } else if ends(&["region", "account_name", "tenant_id"]) {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (value.len() > 100 || !value.chars().all(plain)).then_some("it should be a name of letters, digits and `-`")
    } else {
        (!value.bytes().all(is_plain)).then_some("it isn't one line of ASCII")
    };
    reason.map_or(Ok(()), |reason| {
        let origin = if origin.contains('`') { origin.into() } else { format!("`{origin}`") };
        Err(Error::Credentials { origin, reason: reason.into() })
    })
}

/// Whether a byte may stand in a header.
fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~')
}

/// Most characters of a number: of seconds, or of a date as seconds since 1970. More overflow a clock.
const MOST_DIGITS: usize = 10;

/// An answer with credentials, if what it holds can stand in headers and be added to the time: a word, or JSON, or XML.
pub(super) fn credentials(body: &[u8]) -> Option<&[u8]> {
    let body = body.trim_ascii();
    let fits = match body.first() {
        Some(b'{' | b'[') => serde_json::from_slice(body).is_ok_and(|value| fits(&value)),
        // Entities may hold what the rest may not.
        Some(b'<') => {
            body.iter().all(|byte| is_plain(*byte) || byte.is_ascii_whitespace())
                && !body.windows(2).any(|two| two == b"&#")
        }
        _ => body.iter().copied().all(is_plain),
    };
    fits.then_some(body)
}

fn fits(value: &serde_json::Value) -> bool {
    use serde_json::Value;
    let digits = |text: &str| text.len() <= MOST_DIGITS || text.bytes().any(|byte| !byte.is_ascii_digit());
    match value {
        Value::String(text) => text.bytes().all(is_plain) && digits(text),
        Value::Number(number) => number.to_string().len() <= MOST_DIGITS,
        Value::Array(values) => values.iter().all(fits),
        Value::Object(fields) => fields.values().all(fits),
        Value::Null | Value::Bool(_) => true,
    }
}

fn is_host(value: &str) -> bool {
    let (Ok(url), Ok(uri)) = (value.parse::<url::Url>(), value.parse::<http::Uri>()) else { return false };
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    plain && matches!(url.scheme(), "http" | "https") && url.host().is_some() && uri.authority().is_some()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_untold() {
        for (setting, good, bad) in [
            ("aws_endpoint", "http://127.0.0.1:9000/base", "http://ada:hunter2@h/"),
            ("aws_endpoint_url_sts", "https://sts.example.com", "https://h/?hunter2"),
            ("azure_storage_endpoint", "https://h/account", "hunter2 x"),
            ("aws_region", "eu-west-1", "hunter2\n"),
            ("azure_storage_account_name", "models", "hunter2/.."),
            ("azure_storage_authority_host", "https://login.example.com", "hunter2"),
            ("azure_storage_tenant_id", "0-a", "hunter2 Ltd"),
            ("aws_session_token", "a+b/c=", "hunter2\r\nx: y"),
        ] {
            fit("X", setting, good).unwrap();
            let error = fit("X", setting, bad).unwrap_err().to_string();
            assert!(error.starts_with("`X` can't be used: it") && !error.contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn what_goes_nowhere_may_be_anything() {
        fit("X", "google_application_credentials", "/home/jürgen/k.json").unwrap();
        fit("X", "azure_federated_token_file", "/run/ключ").unwrap();
        fit("X", "azure_use_fabric_endpoint", "true").unwrap();
    }

    #[test]
    fn credentials_fit_into_headers_and_times() {
        for good in [
            &b"reader\n"[..],
            br#"{"AccessKeyId":"a","Expiration":"2030-01-01T00:00:00Z","expires_in":3599}"#,
            b"<Credentials>\n  <SessionToken>a+b/c=</SessionToken>\n</Credentials>",
        ] {
            assert_eq!(credentials(good), Some(good.trim_ascii()));
        }
        for bad in [
            &b"reader\nwriter"[..],
            br#"{"Token":"a\nb"}"#,
            br#"{"access_token":"a","expires_in":18446744073709551615}"#,
            br#"{"expires_on":"18446744073709551615"}"#,
            b"<SessionToken>a&#10;b</SessionToken>",
            b"{",
            "<a>ä</a>".as_bytes(),
        ] {
            assert_eq!(credentials(bad), None, "{}", String::from_utf8_lossy(bad));
        }
    }

    proptest! {
        #[test]
        fn what_fits_can_stand_in_a_header_and_in_an_address(value in "(http://|[ -~]|\\PC|\n|\u{7f}){0,20}") {
            if fit("X", "aws_session_token", &value).is_ok() {
                prop_assert!(http::HeaderValue::from_str(&value).is_ok());
            }
            if fit("X", "aws_endpoint", &value).is_ok() {
                let url = format!("{}/models/a.onnx", value.trim_end_matches('/'));
                prop_assert!(url.parse::<http::Uri>().is_ok() && url.parse::<url::Url>().is_ok());
            }
        }
    }
}
