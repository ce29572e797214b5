//! What somebody may have meant by a name that isn't known.

/// How like two names have to be, from 0 to 1: a slip or another ending, not another word.
const LIKE: f64 = 0.8;

/// The known name that is most like `name`, unless none is. Upper and lower case don't matter, and of names that are
/// equally like it the first is taken.
pub fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let name = name.to_lowercase();
    let mut best = None;
    for known in known {
        let likeness = strsim::jaro_winkler(&name, &known.to_lowercase());
        if likeness > best.map_or(LIKE, |(most, _)| most) {
            best = Some((likeness, known));
        }
    }
    best.map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["replicas", "namespace", "values", "grpcPort"];
        for (name, meant) in [
            ("replica", Some("replicas")),
            ("replicaCount", Some("replicas")),
            ("grpc_port", Some("grpcPort")),
            ("NAMESPACE", Some("namespace")),
            ("vlaues", Some("values")),
            ("image", None),
            ("", None),
        ] {
            assert_eq!(nearest(name, known), meant, "{name}");
        }
        assert_eq!(nearest("a", []), None);
        assert_eq!(nearest("dev1", ["dev2", "dev3"]), Some("dev2"));
    }
}
