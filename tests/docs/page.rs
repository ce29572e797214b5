//! A page's fenced blocks, and the script that they make.

use std::path::PathBuf;

/// A Markdown page.
pub(super) struct Page {
    pub(super) path: PathBuf,
    pub(super) text: String,
    pub(super) blocks: Vec<Block>,
}

/// A fenced block.
pub(super) struct Block {
    pub(super) language: String,
    pub(super) text: String,
    /// What the comment on the line before it says: `<!-- KEY: VALUE -->`.
    pub(super) comment: Option<(String, String)>,
    /// The line of its fence, from 1.
    pub(super) line: usize,
}

impl Page {
    pub(super) fn read(path: PathBuf) -> Self {
        let text = std::fs::read_to_string(&path).unwrap();
        let blocks = blocks(&text);
        Page { path, text, blocks }
    }

    /// What a shell should do; empty where there is nothing to run.
    pub(super) fn script(&self) -> String {
        let mut script = String::new();
        for block in &self.blocks {
            match &block.comment {
                Some((key, file)) if key == "file" => {
                    script += &format!("cat >'{file}' <<'END OF FILE'\n{}END OF FILE\n", block.text);
                }
                _ if block.language == "sh" => block.text.lines().filter(|line| runs(line)).for_each(|line| {
                    script += &line.replace("cargo run --release -- ", "nimify ");
                    script.push('\n');
                }),
                _ => {}
            }
        }
        script
    }
}

/// Two commands are not run: one installs what the test has built, the other runs the tests.
fn runs(line: &str) -> bool {
    !line.starts_with("cargo install --path . ") && line != "tools/test"
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    let mut before = "";
    for (number, line) in text.lines().enumerate() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(language), None) => {
                let comment = before.strip_prefix("<!-- ").and_then(|line| line.strip_suffix(" -->"));
                let comment = comment.and_then(|comment| comment.split_once(": "));
                open = Some(Block {
                    language: language.into(),
                    text: String::new(),
                    comment: comment.map(|(key, value)| (key.into(), value.into())),
                    line: number + 1,
                });
            }
            (None, Some(block)) => {
                block.text += line;
                block.text.push('\n');
            }
            (None, None) => {}
        }
        before = line;
    }
    assert!(open.is_none(), "a fence isn't closed:\n{text}");
    blocks
}

#[test]
fn a_script_has_the_commands_and_the_files_in_their_order() {
    let text = "```sh\ncargo run --release -- create a\ntools/test\n```\n\n    not this\n\n<!-- file: a/b.rs -->\n```rust\n\
                fn f() {}\n```\n```sh\ncd a\n```\n```json\n{}\n```\n";
    let page = Page { path: "p.md".into(), text: text.into(), blocks: blocks(text) };
    let script = "nimify create a\ncat >'a/b.rs' <<'END OF FILE'\nfn f() {}\nEND OF FILE\ncd a\n";
    assert_eq!(page.script(), script);
}
