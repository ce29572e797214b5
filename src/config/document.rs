//! A YAML (or JSON) text as a tree that knows the line and column of each of its parts.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Span, StrInput};

use super::Fault;

/// Largest text that is read, bytes.
pub(super) const LARGEST_TEXT: u64 = 1 << 20;
/// How deep collections may nest.
const DEEPEST: usize = 64;
/// Most nodes, those that aliases repeat counted each time: nine lines of aliases can mean a billion.
const MOST_NODES: usize = 100_000;

/// A place in a text. Both count from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

impl From<Marker> for Place {
    fn from(marker: Marker) -> Self {
        Place { line: marker.line(), column: marker.col() + 1 }
    }
}

/// A part of the text: what it is, and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    Scalar(Scalar),
    Sequence(Vec<Node>),
    /// In the order of the text, no key twice.
    Mapping(Vec<(Key, Node)>),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Scalar {
    pub(super) text: String,
    /// Without quotes, so that it may be a number, a truth value or null.
    pub(super) plain: bool,
    /// What stood in the text, where variables were put in: what messages show, since a variable can be a secret.
    pub(super) written: Option<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Key {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Node {
    /// The place of the value at this path, or of the nearest part above that is there.
    pub(super) fn find(&self, path: &[&str]) -> Place {
        let child = path.split_first().and_then(|(first, rest)| match &self.content {
            Content::Mapping(entries) => Some((entries.iter().find(|(key, _)| key.text == **first)?, rest)),
            _ => None,
        });
        child.map_or(self.place, |((_, node), rest)| node.find(rest))
    }
}

/// Reads one document.
pub(super) fn read(text: &str) -> Result<Node, Fault> {
    let mut reader = Reader { parser: Parser::new_from_str(text), anchors: HashMap::new(), nodes: 0 };
    let node = loop {
        match reader.next()? {
            (Event::StreamStart | Event::DocumentStart(_) | Event::Nothing, _) => {}
            (Event::StreamEnd, span) => return Err(Fault::at(span.start.into(), "the file is empty")),
            (event, span) => break reader.node(event, span, 0)?,
        }
    };
    loop {
        match reader.next()? {
            (Event::StreamEnd, _) => return Ok(node),
            (Event::DocumentEnd | Event::Nothing, _) => {}
            (_, span) => {
                return Err(Fault::at(span.start.into(), "a second document begins here: there should be one"));
            }
        }
    }
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// What aliases repeat, with the number of its nodes.
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<(Event<'a>, Span), Fault> {
        let wrong = |error: ScanError| Fault::at((*error.marker()).into(), format!("not YAML: {}", error.info()));
        match self.parser.next_event() {
            Some(event) => event.map_err(wrong),
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn count(&mut self, nodes: usize, place: Place) -> Result<(), Fault> {
        self.nodes += nodes;
        if self.nodes > MOST_NODES {
            return Err(Fault::at(place, format!("more than {MOST_NODES} values, those that aliases repeat included")));
        }
        Ok(())
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Fault> {
        let place = Place::from(span.start);
        if depth > DEEPEST {
            return Err(Fault::at(place, format!("nested deeper than {DEEPEST} levels")));
        }
        let before = self.nodes;
        self.count(1, place)?;
        let (content, anchor, tag) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain;
                (Content::Scalar(Scalar { text: text.into_owned(), plain, written: None }), anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (self.sequence(depth)?, anchor, tag),
            Event::MappingStart(anchor, tag) => (self.mapping(depth)?, anchor, tag),
            Event::Alias(anchor) => {
                let known = self.anchors.get(&anchor).cloned();
                let (node, size) = known.ok_or_else(|| Fault::at(place, "an alias to what contains it"))?;
                return self.count(size, place).map(|()| node);
            }
            _ => return Err(Fault::at(place, "not YAML: a value should stand here")),
        };
        if tag.is_some() {
            return Err(Fault::at(place, "tags (`!…`) have no meaning here"));
        }
        let node = Node { place, content };
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> Result<Content, Fault> {
        let mut nodes = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Content::Sequence(nodes)),
                (event, span) => nodes.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Content, Fault> {
        let (mut entries, mut seen) = (Vec::new(), BTreeMap::<String, Place>::new());
        loop {
            let key = match self.next()? {
                (Event::MappingEnd, _) => return Ok(Content::Mapping(entries)),
                (Event::Scalar(text, ..), span) => Key { place: span.start.into(), text: text.into_owned() },
                (_, span) => return Err(Fault::at(span.start.into(), "a key should be a text")),
            };
            if let Some(first) = seen.insert(key.text.clone(), key.place) {
                return Err(Fault::at(key.place, format!("`{}` is given twice, first at {first}", key.text)));
            }
            let (event, span) = self.next()?;
            let value = self.node(event, span, depth + 1)?;
            entries.push((key, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(text: &str) -> String {
        read(text).unwrap_err().to_string()
    }

    #[test]
    fn places_count_from_one() {
        let node = read("# words\na: 1\nbé: { c: [x, 'y'] }\n").unwrap();
        assert_eq!(node.find(&["a"]), Place { line: 2, column: 4 });
        assert_eq!(node.find(&["bé", "c"]), Place { line: 3, column: 10 });
        assert_eq!(node.find(&["bé", "none"]), Place { line: 3, column: 5 });
    }

    #[test]
    fn json_is_read_too() {
        let (json, yaml) = (read(r#"{"a": [1, "b"]}"#).unwrap(), read("a: [1, \"b\"]").unwrap());
        let inside = |node: &Node| match &node.content {
            Content::Mapping(entries) => match &entries[0].1.content {
                Content::Sequence(nodes) => nodes.iter().map(|node| node.content.clone()).collect::<Vec<_>>(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        assert_eq!(inside(&json), inside(&yaml));
    }

    #[test]
    fn what_cannot_be_meant_is_refused_with_its_place() {
        assert_eq!(wrong("a: 1\nb: 2\na: 3\n"), "3:1: `a` is given twice, first at 1:1");
        assert_eq!(wrong("a: 1\n---\nb: 1\n"), "2:1: a second document begins here: there should be one");
        assert!(wrong("").contains("the file is empty"));
        assert!(wrong("a: !!str 1").contains("tags"));
        assert!(wrong("a: &a [*a]").contains("an alias to what contains it"));
        assert!(wrong("[a, b]: 1").contains("a key should be a text"));
        assert!(wrong("a: [").starts_with("1:") || wrong("a: [").starts_with("2:"));
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(read(&nested(64)).is_ok());
        for deep in [nested(66), "- ".repeat(100_000), "a: { b".repeat(99)] {
            assert!(wrong(&deep).contains("nested deeper than 64 levels"), "{}", wrong(&deep));
        }
        // The parser has a limit of its own, further out.
        assert!(wrong(&nested(100_000)).contains("limit"));
    }

    #[test]
    fn aliases_repeat_within_limits() {
        let node = read("a: &x { b: 1 }\nc: *x\n").unwrap();
        assert_eq!(node.find(&["c", "b"]), node.find(&["a", "b"]));
        let mut laughs = "a0: &a0 [l, o, l]\n".to_string();
        for level in 1..20 {
            let last = format!("*a{}, ", level - 1).repeat(9);
            laughs += &format!("a{level}: &a{level} [{last}]\n");
        }
        assert!(wrong(&laughs).contains("more than 100000 values"));
    }
}
