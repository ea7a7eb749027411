//! The code blocks of a Markdown document, and how each is tested. Tests include this file by `#[path]`.
//!
//! A block is tested by its language (`sh`, `json`, `toml`, `python`, `rust`) unless a comment directly above it, which no reader
//! of the page sees, says otherwise:
//!
//! - `<!-- file: PATH -->`: it is this file of the project that the page builds. The shell blocks of such a page run in the project.
//! - `<!-- tested by: FILE -->`: that test tests it in a way of its own.
//! - `<!-- not run: WHY -->`: nothing tests it.

#![allow(dead_code, reason = "each test uses what it needs")]

/// A code block.
pub(crate) struct Block {
    pub(crate) language: String,
    pub(crate) text: String,
    /// The line of its first fence, from 1.
    pub(crate) line: usize,
    pub(crate) mark: Option<Mark>,
}

/// What the comment above a block says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Mark {
    File(String),
    TestedBy(String),
    NotRun(String),
}

impl Mark {
    fn of(line: &str) -> Option<Self> {
        let said = line.trim().strip_prefix("<!--")?.strip_suffix("-->")?.trim();
        let (kind, what) = said.split_once(": ")?;
        match kind {
            "file" => Some(Self::File(what.to_owned())),
            "tested by" => Some(Self::TestedBy(what.to_owned())),
            "not run" => Some(Self::NotRun(what.to_owned())),
            _ => None,
        }
    }
}

/// The code blocks of a document, in their order.
pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let (mut blocks, mut above) = (Vec::new(), "");
    let mut lines = document.lines().zip(1..);
    while let Some((line, number)) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text = lines.by_ref().map(|(line, _)| line).take_while(|line| !line.starts_with("```"));
            let text: String = text.flat_map(|line| [line, "\n"]).collect();
            blocks.push(Block { language: language.to_owned(), text, line: number, mark: Mark::of(above) });
        }
        above = line;
    }
    blocks
}

/// Whether the page builds a project, in which its shell blocks run.
pub(crate) fn is_project(blocks: &[Block]) -> bool {
    blocks.iter().any(|block| matches!(block.mark, Some(Mark::File(_))))
}

/// The shell blocks that are tested line by line.
pub(crate) fn shell(document: &str) -> Vec<Block> {
    let all = blocks(document);
    if is_project(&all) {
        return Vec::new();
    }
    all.into_iter().filter(|block| block.language == "sh" && block.mark.is_none()).collect()
}

/// The command lines of a shell block. What stands behind two blanks explains.
pub(crate) fn command_lines(text: &str) -> Vec<String> {
    let joined = text.split("\\\n").map(str::trim_start).collect::<Vec<_>>().join("");
    let command = |line: &str| line.split("  ").next().unwrap_or(line).trim_end().to_owned();
    joined.lines().map(str::trim).map(command).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}
