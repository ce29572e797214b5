//! What a store says when it refuses: XML or JSON of several shapes → one line.

/// The code and the message of an answer; empty where it has none.
pub(super) fn words(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let parts = from_json(&text).unwrap_or_else(|| [element(&text, "Code"), element(&text, "Message")]);
    // Azure says more on further lines: the request's number and time.
    let lines = parts.into_iter().flatten().filter_map(|part| part.lines().next().map(str::to_string));
    lines.collect::<Vec<_>>().join(": ")
}

/// What stands between the first tags of a name.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    let plain = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#39;", "'"), ("&apos;", "'"), ("&amp;", "&")];
    Some(plain.iter().fold(inner.trim().to_string(), |text, (written, meant)| text.replace(written, meant)))
}

/// `{"error": {"message"}}`, and OAuth's `{"error", "error_description"}`.
fn from_json(text: &str) -> Option<[Option<String>; 2]> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    let string = |value: &serde_json::Value| value.as_str().map(str::to_string);
    Some([string(&value["error"]), string(&value["error_description"]).or(string(&value["error"]["message"]))])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_one_line() {
        let xml =
            b"<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Message>No &quot;a&quot;.\nTime:1</Message></Error>";
        assert_eq!(words(xml), "NoSuchKey: No \"a\".");
        assert_eq!(words(b"{\"error\":{\"code\":404,\"message\":\"Not Found\"}}"), "Not Found");
        assert_eq!(words(b"{\"error\":\"invalid_grant\",\"error_description\":\"Expired\"}"), "invalid_grant: Expired");
        assert_eq!(words(b"<html>"), "");
        assert_eq!(words(&[0xff; 4]), "");
    }
}
