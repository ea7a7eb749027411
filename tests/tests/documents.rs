//! The README's examples run as they stand there. Its Rust is compiled as documentation tests of this crate.

use std::process::Command;

use bivium::{Call, PluginManager};
use bivium_tests::root;

/// The first code block of a language in the README.
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
