//! The README's examples run as they are written there (its Rust is compiled as documentation tests of this crate), every link in the
//! documents has a target, and the book contains all documents.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bivium::{Call, PluginManager};
use bivium_tests::root;
use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

/// The README's first code block in a language.
fn code_block(language: &str) -> String {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, rest) = readme.split_once(&format!("```{language}\n")).expect("a code block");
    rest.split_once("```").expect("its end").0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_python_plugin_of_the_readme_runs() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wordcount.py"), code_block("python")).unwrap();
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let manifest = readme.lines().find_map(|line| line.strip_prefix('`')?.strip_suffix("` declares it;")).unwrap();
    std::fs::write(dir.path().join("wordcount.json"), manifest).unwrap();
    let manager = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data")).build().unwrap();
    manager.load("wordcount").await.unwrap();
    let counted = manager.execute("wordcount", Call::new().named("text", "a b a")).await.unwrap();
    assert_eq!(counted.json["total"], 3);
    assert!(root().join("examples/plugins/wordcount/wordcount.py").is_file());
}

#[test]
fn the_example_hosts_run() {
    let program = bivium_tests::program().unwrap();
    for example in ["plugin", "manager"] {
        let data = tempfile::tempdir().unwrap();
        let mut command = Command::new(program.with_file_name("examples").join(example));
        let output = command.env("XDG_DATA_HOME", data.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{example}: {err}");
        assert!(out.contains("streaming: {\"line\":"), "{example}: {out}");
    }
}

/// The paths of the documents.
fn documents() -> Vec<PathBuf> {
    let docs = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let docs = docs.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let others = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/plugins-other/README.md"];
    docs.chain(others.map(|name| root().join(name))).collect()
}

/// The links of a document, and the anchors of its headings as GitHub and mdbook make them.
fn links_and_anchors(document: &Path) -> (Vec<String>, HashSet<String>) {
    let text = std::fs::read_to_string(document).unwrap();
    let (mut links, mut anchors, mut heading) = (Vec::new(), HashSet::new(), None::<String>);
    for event in Parser::new_ext(&text, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                links.push(dest_url.into_string())
            }
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => heading.iter_mut().for_each(|heading| heading.push_str(&text)),
            Event::End(TagEnd::Heading(_)) => {
                anchors.extend(heading.take().map(|heading| anchor(&heading)));
            }
            _ => {}
        }
    }
    (links, anchors)
}

fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || "-_ ".contains(*c));
    kept.flat_map(char::to_lowercase).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_of_the_documents_leads_somewhere() {
    let (mut seen, mut dead) = (0, Vec::new());
    for document in documents() {
        for link in links_and_anchors(&document).0.iter().filter(|link| !link.contains("://")) {
            let (path, wanted) =
                link.split_once('#').map_or((link.as_str(), None), |(path, anchor)| (path, Some(anchor)));
            let target = if path.is_empty() { document.clone() } else { document.parent().unwrap().join(path) };
            let leads = match wanted {
                _ if !target.exists() => false,
                Some(anchor) => links_and_anchors(&target).1.contains(anchor),
                None => true,
            };
            seen += 1;
            if !leads {
                dead.push(format!("{}: {link}", document.display()));
            }
        }
    }
    assert_eq!(dead, [""; 0]);
    assert!(seen > 50, "{seen}");
}

#[test]
fn the_book_has_every_document() {
    let summary = root().join("docs/SUMMARY.md");
    let listed: HashSet<String> = links_and_anchors(&summary).0.into_iter().collect();
    let there = documents().into_iter().filter(|path| path.starts_with(root().join("docs")) && *path != summary);
    let there: HashSet<String> = there.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect();
    assert_eq!(listed, there);
}
