//! The grammar of an image's repository: that of `distribution/reference`, which every registry goes by.

/// Refuses what is no repository, and says why as the rest of a sentence.
pub(super) fn check(text: &str) -> Result<(), String> {
    if text.len() > 255 {
        return Err("it is longer than 255 characters".into());
    }
    if text.contains('@') {
        return Err("leave the digest out".into());
    }
    let (domain, path) = match text.split_once('/') {
        Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (Some(first), rest),
        _ => (None, text),
    };
    if let Some(domain) = domain {
        let (host, port) = domain.split_once(':').map_or((domain, None), |(host, port)| (host, Some(port)));
        let part = |part: &str| {
            let inner = |c: char| c.is_ascii_alphanumeric() || c == '-';
            !part.is_empty() && !part.starts_with('-') && !part.ends_with('-') && part.chars().all(inner)
        };
        if !host.split('.').all(part) || port.is_some_and(|port| port.parse::<u16>().is_err()) {
            return Err(format!("`{domain}` is no registry"));
        }
    }
    if path.contains(':') {
        return Err("leave the tag out: it is the model's version".into());
    }
    match path.split('/').find(|part| !path_component(part)) {
        None => Ok(()),
        Some(part) => {
            Err(format!("`{part}` should be lower-case letters and digits, with `.`, `_`, `__` or `-` between them"))
        }
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn path_component(part: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators: Vec<&str> = part.split(word).filter(|gap| !gap.is_empty()).collect();
    let known = |gap: &&str| matches!(*gap, "." | "_" | "__") || gap.bytes().all(|c| c == b'-');
    part.starts_with(word) && part.ends_with(word) && separators.iter().all(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        check(text).expect_err(text)
    }

    #[test]
    fn repositories_follow_the_grammar_of_references() {
        for good in [
            "digits",
            "ml/digits",
            "registry.example.com/ml/digits",
            "localhost:5000/a",
            "localhost/a",
            "a__b/c-d.e_f/g---h",
            "127.0.0.1:80/x",
            "R.example.com/x",
        ] {
            assert!(check(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "A/b",
            "ml/Digits",
            "a_-b",
            "a___b",
            "-a",
            "a-",
            "a..b",
            "a b",
            "r.example.com:port/a",
            "r.example.com:70000/a",
            "-x.com/a",
            "https://r.example.com/a",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        assert!(refused("r.example.com/ml/digits:1").contains("leave the tag out"));
        assert!(refused("digits:1").contains("leave the tag out"));
        assert!(refused("digits@sha256:00").contains("leave the digest out"));
        assert!(refused(&"a".repeat(256)).contains("255"));
    }
}
