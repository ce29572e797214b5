//! `${VAR}` in values: put in after the text was parsed, so that what a variable holds can't change its structure.

use super::Fault;
use super::document::{Content, Node};

/// Puts variables into every value of the tree (not into keys): `${NAME}`, or `${NAME:-default}` where it may be unset
/// or empty. `$${` stands for `${` itself. What was put in is not looked at again.
pub(super) fn expand(node: &mut Node, variable: &dyn Fn(&str) -> Option<String>) -> Result<(), Fault> {
    let place = node.place;
    match &mut node.content {
        Content::Scalar(scalar) if scalar.text.contains("${") => {
            let text = expand_text(&scalar.text, variable).map_err(|what| Fault::at(place, what))?;
            scalar.written = Some(std::mem::replace(&mut scalar.text, text));
            Ok(())
        }
        Content::Scalar(_) => Ok(()),
        Content::Sequence(nodes) => nodes.iter_mut().try_for_each(|node| expand(node, variable)),
        Content::Mapping(entries) => entries.iter_mut().try_for_each(|(_, node)| expand(node, variable)),
    }
}

/// Writes a text so that [`expand`] gives it back.
pub(super) fn escape(text: &str) -> String {
    text.replace("${", "$${")
}

fn expand_text(text: &str, variable: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("${") {
        let (before, from) = rest.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            out = out + before + "${";
            rest = &from[2..];
            continue;
        }
        let end = from.find('}').ok_or_else(|| format!("`{from}` has no `}}` at its end: write `$${{` for `${{`"))?;
        let (name, default) = match from[2..end].split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (&from[2..end], None),
        };
        let letters = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(letters) || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("`{name}` can't be the name of a variable: write `$${{` for `${{`"));
        }
        let value = variable(name).filter(|value| default.is_none() || !value.is_empty());
        let value = value.or_else(|| default.map(String::from)).ok_or_else(|| {
            format!("the environment variable `{name}` is not set: set it, or write `${{{name}:-default}}`")
        })?;
        out = out + before + &value;
        rest = &from[end + 1..];
    }
    Ok(out + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expanded(text: &str) -> Result<String, String> {
        expand_text(text, &|name| match name {
            "HOST" => Some("registry.example.com".into()),
            "EMPTY" => Some(String::new()),
            "NESTED" => Some("${HOST}".into()),
            _ => None,
        })
    }

    #[test]
    fn variables_are_put_in_once() {
        for (text, result) in [
            ("${HOST}/ml", "registry.example.com/ml"),
            ("a${EMPTY}b${EMPTY:-c}", "abc"),
            ("${NONE:-x:-y}", "x:-y"),
            ("${NESTED}", "${HOST}"),
            ("$${HOST} costs $5 $HOST $$", "${HOST} costs $5 $HOST $$"),
            ("$$${HOST}", "$${HOST}"),
        ] {
            assert_eq!(expanded(text).as_deref(), Ok(result), "{text}");
        }
    }

    #[test]
    fn unset_and_malformed_ones_are_named() {
        assert!(expanded("${NONE}").unwrap_err().contains("`NONE` is not set"));
        for text in ["${HOST", "${}", "${1A}", "${A B}", "${a-b}"] {
            assert!(expanded(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_escaped_comes_back() {
        for text in ["${HOST}", "$${", "$$${{", "${", "$", "a$b"] {
            assert_eq!(expanded(&escape(text)).as_deref(), Ok(text));
        }
    }
}
