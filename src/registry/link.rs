//! `Link`: where the next page of a list is.

/// The target of `rel="next"` in a `Link` header (RFC 8288).
pub(super) fn next(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        // The parameters go to the next link's `<`: a quoted one with that sign in it is no relation that is known.
        let (parameters, more) = after.split_once('<').map_or((after, ""), |(own, _)| (own, &after[own.len()..]));
        let is_next = |parameter: &str| {
            let (name, value) = parameter.split_once('=')?;
            let value = value.trim().trim_end_matches(',').trim().trim_matches('"');
            let known = value.split_ascii_whitespace().any(|one| one.eq_ignore_ascii_case("next"));
            (name.trim().eq_ignore_ascii_case("rel") && known).then_some(())
        };
        if parameters.split(';').any(|parameter| is_next(parameter).is_some()) {
            return Some(target.trim());
        }
        rest = more;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_next_page_is_found_among_links() {
        assert_eq!(next(r#"</v2/a/referrers/x?n=2>; rel="next""#), Some("/v2/a/referrers/x?n=2"));
        assert_eq!(next("<https://r.example.com/p?a=b,c>;REL=next"), Some("https://r.example.com/p?a=b,c"));
        assert_eq!(next(r#"<a>; rel="prev", <b>; title="x"; rel="last next""#), Some("b"));
        assert_eq!(next(r#"<a>; rel="next", <b>; rel="prev""#), Some("a"));
        for none in ["", "a; rel=next", "<a", "<a>", r#"<a>; rel="nextone""#, r#"<a>; rev="next""#] {
            assert_eq!(next(none), None, "{none}");
        }
    }

    proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in "[<>;=,\" a-z]{0,80}") {
            let _ = next(&header);
        }
    }
}
