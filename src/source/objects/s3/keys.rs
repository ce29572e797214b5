//! A pair of keys, as programs and hosts hand them out.

use std::fmt;

use serde::Deserialize;

use crate::source::Error;

/// What requests are signed with.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Keys {
    pub(super) access_key_id: String,
    pub(super) secret_access_key: String,
    #[serde(alias = "Token")]
    pub(super) session_token: Option<String>,
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys, if they can stand in a header: whoever signs with them takes that for granted.
    pub(super) fn checked(self, origin: &str) -> Result<Self, Error> {
        let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let token = self.session_token.as_deref();
        let fit = plain(&self.access_key_id) && plain(&self.secret_access_key) && token.is_none_or(plain);
        let reason = || "its keys are not all single words of ASCII".into();
        if fit { Ok(self) } else { Err(Error::Credentials { origin: origin.into(), reason: reason() }) }
    }

    /// From a JSON object of at least these fields. What a parser would say could hold a key, and is kept back.
    pub(super) fn from_json(text: &[u8], origin: &str) -> Result<Self, Error> {
        let keys: Result<Keys, _> = serde_json::from_slice(text);
        let reason = "its answer is not the JSON that it should be";
        keys.map_err(|_| Error::Credentials { origin: origin.into(), reason: reason.into() })?.checked(origin)
    }
}
