//! `cargo xtask book`: makes the book from docs/.

use std::process::Command;

use anyhow::Result;

use crate::command::{cargo, run};

/// The version of mdbook that is installed.
const MDBOOK: &str = "0.5.4";

/// Makes the book in the target directory. The first time, it installs mdbook there, which takes some minutes.
pub(crate) fn make() -> Result<()> {
    let tools = crate::target().join("tools");
    let mdbook = tools.join("bin/mdbook");
    if !mdbook.is_file() {
        run(cargo(&[
            "install",
            "mdbook",
            "--locked",
            "--version",
            MDBOOK,
            "--no-default-features",
            "--features",
            "search",
            "--root",
        ])
        .arg(&tools))?;
    }
    let (book, docs) = (crate::target().join("book"), crate::root().join("docs"));
    run(Command::new(mdbook).arg("build").arg(docs).arg("--dest-dir").arg(&book))?;
    println!("the book is {}", book.join("index.html").display());
    Ok(())
}
