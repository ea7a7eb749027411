//! What the documents show is true: every code block is run, parsed or compiled by a test, or says why not (`support/snippets.rs`
//! has how), and the tests and files that they name are there. Command lines of the program are run by the tests of the crate
//! `bivium-cli` (`program/examples.rs`), and Rust is compiled as documentation tests of this crate (`src/lib.rs`).

#[path = "../support/snippets.rs"]
mod snippets;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use bivium::pipeline::Pipeline;
use bivium::{HostPolicy, Manifest, PluginManager};
use bivium_tests::root;
use pulldown_cmark::{Event, Options, Parser};
use serde_json::{Value, json};
use snippets::{Block, Mark, blocks, command_lines, shell};

/// The README and the book: the path of each in the repository, and its text.
fn documents() -> Vec<(String, String)> {
    let pages = std::fs::read_dir(root().join("docs")).unwrap().map(|entry| entry.unwrap().path());
    let pages = pages.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
    let named = |path: &Path| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let all = pages.chain([root().join("README.md")]);
    all.map(|path| (named(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

/// The blocks of a language that are tested by it, each with where it stands.
fn tested(language: &str) -> Vec<(String, Block)> {
    let of = |(name, text): (String, String)| {
        let found = blocks(&text).into_iter().filter(|block| block.mark.is_none());
        let found = found.filter(|block| block.language.split(',').next() == Some(language));
        found.map(move |block| (format!("{name}:{}", block.line), block)).collect::<Vec<_>>()
    };
    documents().into_iter().flat_map(of).collect()
}

#[test]
fn every_mark_of_a_block_is_true() {
    for (name, text) in documents() {
        let all = blocks(&text);
        let comments = text.lines().filter(|line| line.starts_with("<!--")).count();
        assert_eq!(
            comments,
            all.iter().filter(|block| block.mark.is_some()).count(),
            "{name}: a comment marks no block"
        );
        for block in all {
            let place = format!("{name}:{}", block.line);
            assert!(
                !["", "bash", "shell"].contains(&block.language.as_str()),
                "{place}: say the language of the block"
            );
            match block.mark {
                Some(Mark::TestedBy(test)) => assert!(root().join(&test).is_file(), "{place}: there is no {test}"),
                Some(Mark::NotRun(why)) => assert!(why.split_whitespace().count() > 2, "{place}: say why"),
                Some(Mark::File(_)) | None => {}
            }
        }
    }
}

/// The program's lines are run elsewhere.
#[test]
fn every_shell_line_is_a_command_of_the_program_or_of_xtask() {
    let usage = std::fs::read_to_string(root().join("xtask/src/main.rs")).unwrap();
    let mut seen = 0;
    for (name, text) in documents() {
        for block in shell(&text) {
            for line in command_lines(&block.text) {
                let is_task = line.strip_prefix("cargo xtask ").is_some_and(|task| {
                    let mut words = task.split_whitespace();
                    let has_task = words.next().is_some_and(|task| usage.contains(&format!("\ncargo xtask {task}")));
                    has_task && words.filter(|word| word.starts_with("--")).all(|option| usage.contains(option))
                });
                assert!(
                    is_task || line.contains("bivium "),
                    "{name}:{}: nobody runs {line:?}; mark the block with why, or with the test that does",
                    block.line
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

#[test]
fn json_is_what_it_looks_like() {
    let dir = tempfile::tempdir().unwrap();
    let (mut manifests, mut policies, mut pipelines) = (0, 0, 0);
    for (place, block) in tested("json") {
        let value: Value = serde_json::from_str(&block.text).unwrap_or_else(|error| panic!("{place}: {error}"));
        let file = dir.path().join("shown.json");
        std::fs::write(&file, &block.text).unwrap();
        let read = if value.get("steps").is_some() {
            pipelines += 1;
            Pipeline::read(&file).map(drop)
        } else if value.get("name").is_some() {
            manifests += 1;
            Manifest::parse(&block.text, &file).map(drop)
        } else {
            policies += 1;
            HostPolicy::read(&file).map(drop)
        };
        read.unwrap_or_else(|error| panic!("{place}: {error}"));
    }
    assert!(manifests > 4 && policies > 0 && pipelines > 0, "{manifests} {policies} {pipelines}");
}

#[test]
fn toml_is_read_by_cargo_without_a_word() {
    let all = documents().into_iter().flat_map(|(name, text)| {
        let of_project = |block: &Block| block.mark.is_none() || matches!(block.mark, Some(Mark::File(_)));
        let found = blocks(&text).into_iter().filter(move |block| block.language == "toml" && of_project(block));
        found.map(move |block| (format!("{name}:{}", block.line), block.text)).collect::<Vec<_>>()
    });
    let mut seen = 0;
    for (place, text) in all {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("src")).unwrap();
        std::fs::write(dir.path().join("src/lib.rs"), "").unwrap();
        let package = "[package]\nname = \"shown\"\nedition = \"2024\"\n";
        let is_config = text.starts_with("[target.");
        let manifest = if is_config {
            package.to_owned()
        } else if text.contains("[package]") {
            text.clone()
        } else {
            format!("{package}{text}")
        };
        std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
        let mut cargo = Command::new(env!("CARGO"));
        if is_config {
            std::fs::write(dir.path().join("config.toml"), &text).unwrap();
            cargo.arg("--config").arg(dir.path().join("config.toml"));
        }
        cargo.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(dir.path());
        let output = cargo.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{place}: {said}");
        seen += 1;
    }
    assert!(seen > 4, "{seen}");
}

#[tokio::test(flavor = "multi_thread")]
async fn python_compiles_and_its_classes_are_plugins() {
    let dir = tempfile::tempdir().unwrap();
    let shown = tested("python");
    let mut plugins = Vec::new();
    for (n, (place, block)) in shown.iter().enumerate() {
        let module = format!("shown_{n}");
        let file = dir.path().join(format!("{module}.py"));
        std::fs::write(&file, &block.text).unwrap();
        let script = "import sys; compile(open(sys.argv[1]).read(), sys.argv[1], 'exec')";
        let output = Command::new("python3").args(["-c", script]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        let classes = block.text.lines().filter_map(|line| line.strip_prefix("class ")?.split([':', '(']).next());
        for class in classes {
            let name = format!("{module}-{class}");
            let manifest = json!({"name": name, "version": "1", "module": module, "class": class, "source": "."});
            std::fs::write(dir.path().join(format!("{name}.json")), manifest.to_string()).unwrap();
            plugins.push((place, name));
        }
    }
    let manager = PluginManager::builder().manifests(dir.path()).data_dir(dir.path().join("data")).build().unwrap();
    assert!(plugins.len() > 4, "{plugins:?}");
    for (place, name) in plugins {
        manager.load(&name).await.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert!(!manager.methods(&name).await.unwrap().is_empty(), "{place}");
        manager.unload(&name).await.unwrap();
    }
}

#[test]
fn every_page_with_rust_is_compiled() {
    let compiled = std::fs::read_to_string(root().join("tests/src/lib.rs")).unwrap();
    let pages: HashSet<String> =
        tested("rust").into_iter().map(|(place, _)| place.split(':').next().unwrap().to_owned()).collect();
    assert!(pages.len() > 3, "{pages:?}");
    for page in pages {
        assert!(compiled.contains(&format!("../../{page}\"")), "tests/src/lib.rs does not compile the Rust of {page}");
    }
}

/// All files below a directory that git would know.
fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        match path.symlink_metadata().unwrap().file_type() {
            kind if kind.is_dir() && name != "target" && !name.starts_with('.') && name != "node_modules" => {
                sources(&path, into);
            }
            kind if kind.is_file() && (name.ends_with(".rs") || name.ends_with(".py")) => into.push(path),
            _ => {}
        }
    }
}

/// The inline code of a document.
fn code(text: &str) -> Vec<String> {
    let parts = Parser::new_ext(text, Options::ENABLE_TABLES);
    parts.filter_map(|part| if let Event::Code(code) = part { Some(code.into_string()) } else { None }).collect()
}

#[test]
fn every_test_and_file_that_the_documents_name_is_there() {
    let mut files = Vec::new();
    for part in ["bench", "crates", "examples", "fuzz", "python", "tests", "xtask"] {
        sources(&root().join(part), &mut files);
    }
    let defined = |line: &str| {
        let rest = line.trim_start().trim_start_matches("pub(crate) ").trim_start_matches("async ");
        let name = rest.strip_prefix("fn ").or_else(|| rest.strip_prefix("def "))?;
        Some(name.split(['(', '<']).next()?.to_owned())
    };
    let functions: HashSet<String> = files
        .iter()
        .flat_map(|file| std::fs::read_to_string(file).unwrap().lines().filter_map(defined).collect::<Vec<_>>())
        .collect();
    let is_test = |code: &str| {
        let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        code.split('_').count() > 4 && code.split('_').all(word)
    };
    let parts = ["bench/", "crates/", "docs/", "examples/", "python/", "tests/", "wit/", "xtask/"];
    let is_path = |code: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "/._-".contains(c);
        parts.iter().any(|part| code.starts_with(part)) && code.chars().all(plain) && !code.contains("/target/")
    };
    let names: HashSet<&str> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    let is_name = |code: &str| {
        let base = code.strip_suffix(".rs").or_else(|| code.strip_suffix(".py"));
        base.is_some_and(|base| base.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let (mut seen, mut missing) = (0, Vec::new());
    for (name, text) in documents() {
        for code in code(&text) {
            let is_there = match code.as_str() {
                // Those of another project.
                code if is_test(code) && name == "docs/cjm-names.md" => continue,
                code if is_test(code) => functions.contains(code) || functions.contains(&format!("hostile_{code}")),
                // Short for one beside it.
                code if is_path(code) => {
                    root().join(code).exists() || root().join("crates/bivium-wasm").join(code).exists()
                }
                code if is_name(code) => names.contains(code),
                _ => continue,
            };
            seen += 1;
            if !is_there {
                missing.push(format!("{name}: {code}"));
            }
        }
    }
    assert_eq!(missing, [""; 0]);
    assert!(seen > 150, "{seen}");
}
