//! How a file of a web host is written: `https://HOST/PATH[#sha256=HEX]`.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::digest::Digest;
use crate::source::NotASource;

/// The address of a model file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebAddress {
    pub(super) url: Url,
    /// What the file has to be.
    pub(super) digest: Option<Digest>,
}

impl FromStr for WebAddress {
    type Err = NotASource;

    fn from_str(text: &str) -> Result<Self, NotASource> {
        // What stands before an `@` may be a password, and is not repeated.
        let shown = text.split_once("://").map_or("", |(_, rest)| rest.rsplit('@').next().unwrap_or_default());
        let shown = shown.split(['?', '#']).next().unwrap_or_default();
        let wrong = |reason: &str| NotASource::Form { text: format!("https://{shown}"), reason: reason.into() };
        let mut url = Url::parse(text).map_err(|error| wrong(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong("it has a name or password in it, which belong into `~/.netrc`"));
        }
        if url.path().len() < 2 || url.path().ends_with('/') {
            return Err(wrong("it names no file"));
        }
        let digest = match url.fragment() {
            None => None,
            Some(fragment) => {
                let hex =
                    fragment.strip_prefix("sha256=").ok_or_else(|| wrong("`#` should be followed by `sha256=`"))?;
                let digest = format!("sha256:{}", hex.to_ascii_lowercase()).parse();
                Some(digest.map_err(|_| wrong("`#sha256=` should be followed by 64 hex digits"))?)
            }
        };
        url.set_fragment(None);
        Ok(WebAddress { url, digest })
    }
}

impl fmt::Display for WebAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.url.fmt(f)?;
        self.digest.map_or(Ok(()), |digest| write!(f, "#sha256={}", digest.hex()))
    }
}

impl WebAddress {
    /// The address without its query, which may hold a signature.
    pub(in crate::source) fn name(&self) -> String {
        let mut url = self.url.clone();
        let query = url.query().is_some();
        url.set_query(None);
        if query { format!("{url}?…") } else { url.to_string() }
    }

    /// The host that is asked without TLS.
    pub(in crate::source) fn plain_host(&self) -> Option<&str> {
        (self.url.scheme() == "http").then(|| &self.url[url::Position::BeforeHost..url::Position::AfterPort])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_comes_back_without_secrets_in_its_name() {
        let hex = Digest::of("").hex();
        let text = format!("https://models.example.com/a%20b/digits.onnx?sig=s3cret#sha256={}", hex.to_uppercase());
        let address: WebAddress = text.parse().unwrap();
        assert_eq!(
            address.to_string(),
            format!("https://models.example.com/a%20b/digits.onnx?sig=s3cret#sha256={hex}")
        );
        assert_eq!(address.name(), "https://models.example.com/a%20b/digits.onnx?…");
        assert_eq!(address.plain_host(), None);
        assert_eq!("http://h:1/a".parse::<WebAddress>().unwrap().plain_host(), Some("h:1"));
    }

    #[test]
    fn what_is_no_address_says_why_and_tells_no_password() {
        let refused = |text: &str| text.parse::<WebAddress>().unwrap_err().to_string();
        for (text, wrong) in [
            ("https://ada:hunter2@h/a.onnx?x", "`https://h/a.onnx` can't be a source: it has a name or password"),
            ("https://h/", "it names no file"),
            ("https://h/models/", "it names no file"),
            ("https://h/a#md5=1", "should be followed by `sha256=`"),
            ("https://h/a#sha256=1", "64 hex digits"),
            ("https://", "empty host"),
        ] {
            let error = refused(text);
            assert!(error.contains(wrong) && !error.contains("hunter2"), "{error}");
        }
    }
}
