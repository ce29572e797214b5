//! Settings as the environment and profiles have them → none that `object_store` panics on.
//!
//! It puts them into headers and addresses and takes for granted that they fit. What they hold is never told.

use crate::source::Error;

/// Refuses the value of a setting that can't stand where it goes: `setting` is `object_store`'s own name for it, `origin`
/// where it was found.
pub(super) fn fit(origin: &str, setting: &str, value: &str) -> Result<(), Error> {
    let reason = if setting.contains("endpoint") || setting.ends_with("base_url") {
        (!is_host(value)).then_some("it should be the address of a host, without a name, a password or a query")
    } else if setting.ends_with("region") || setting.ends_with("account_name") {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        (value.len() > 100 || !value.chars().all(plain)).then_some("it should be a name of letters, digits and `-`")
    } else {
        (!value.bytes().all(|byte| matches!(byte, b' '..=b'~'))).then_some("it isn't one line of ASCII")
    };
    reason.map_or(Ok(()), |reason| {
        let origin = if origin.contains('`') { origin.into() } else { format!("`{origin}`") };
        Err(Error::Credentials { origin, reason: reason.into() })
    })
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
            ("aws_session_token", "a+b/c=", "hunter2\r\nx: y"),
        ] {
            fit("X", setting, good).unwrap();
            let error = fit("X", setting, bad).unwrap_err().to_string();
            assert!(error.starts_with("`X` can't be used: it") && !error.contains("hunter2"), "{error}");
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
