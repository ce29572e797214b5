//! `WWW-Authenticate`: how a registry wants to be told who asks.

/// One way that a registry takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// Name and password with every request.
    Basic,
    /// A token from a service.
    Bearer {
        /// The service's address.
        realm: String,
        /// The registry's name with that service.
        service: Option<String>,
    },
}

/// The best of what the headers offer; `None` where nothing in them is known.
pub(super) fn choose<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Challenge> {
    let mut basic = None;
    for header in headers {
        let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            basic = Some(Challenge::Basic);
        } else if scheme.eq_ignore_ascii_case("bearer") {
            let find = |wanted: &str| {
                parameters(rest).into_iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
            };
            if let Some(realm) = find("realm") {
                return Some(Challenge::Bearer { realm, service: find("service") });
            }
        }
    }
    basic
}

/// `name="value", name=value`, with `\"` inside quotes.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut all = Vec::new();
    while let Some((name, rest)) = text.split_once('=') {
        let name = name.trim_matches([' ', ',', '\t']).to_string();
        let (value, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted),
            None => {
                let (value, after) = rest.split_once(',').unwrap_or((rest, ""));
                (value.trim().to_string(), after)
            }
        };
        all.push((name, value));
        text = after;
    }
    all
}

/// The text up to the closing quote, and what follows it.
fn unquote(text: &str) -> (String, &str) {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return (value, &text[at + 1..]),
            '\\' => value.extend(chars.next().map(|(_, escaped)| escaped)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(header: &str) -> Option<Challenge> {
        choose([header].into_iter())
    }

    #[test]
    fn a_token_service_is_read_with_all_its_spellings() {
        let expected = |service: Option<&str>| {
            Some(Challenge::Bearer {
                realm: "https://auth.example.com/token".into(),
                service: service.map(String::from),
            })
        };
        for header in [
            r#"Bearer realm="https://auth.example.com/token",service="r",scope="repository:a:pull,push""#,
            r#"bearer service=r , realm="https://auth.example.com/token""#,
            r#"Bearer error="a \"b\", realm=no", realm="https://auth.example.com/token", Service="r""#,
        ] {
            assert_eq!(of(header), expected(Some("r")), "{header}");
        }
        assert_eq!(of(r#"Bearer realm="https://auth.example.com/token""#), expected(None));
    }

    #[test]
    fn a_token_goes_before_a_password_and_junk_is_nothing() {
        let both = ["Basic realm=\"r\"", "Bearer realm=\"https://a/\""];
        assert!(matches!(choose(both.into_iter()), Some(Challenge::Bearer { .. })));
        assert_eq!(of("Basic"), Some(Challenge::Basic));
        for junk in ["", "Bearer", "Bearer realm", "Negotiate x", "Bearer \"", "=\"", "Bearer service=\"r\""] {
            assert_eq!(of(junk), None, "{junk}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_header_brings_it_down(header in ".*") {
            of(&header);
            of(&format!("Bearer {header}"));
        }
    }
}
