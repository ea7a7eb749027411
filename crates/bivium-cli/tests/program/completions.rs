//! Completion scripts for shells, and manual pages.

use std::process::Command;

use crate::place::Place;

#[test]
fn every_shell_is_given_a_script_with_all_commands() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let ran = place.run(&["completions", shell]);
        for word in ["run", "pipeline", "validate", "completions", "manifests", "unused-for"] {
            assert!(ran.assert_status(0).stdout.contains(word), "{shell}: {word}");
        }
    }
    place.run(&["completions", "cmd"]).assert_status(2);
}

#[test]
fn bash_completes_commands_and_options() {
    let place = Place::new();
    place.write("completions", &place.run(&["completions", "bash"]).stdout);
    let complete = |words: &str| {
        let script = format!(
            "source completions; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _bivium bivium \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &script]).current_dir(place.path("")).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("bivium val").trim(), "validate");
    assert_eq!(complete("bivium comp").trim(), "compile completions", "the hidden command is none for people");
    assert_eq!(complete("bivium run --meth").trim(), "--method");
    assert_eq!(complete("bivium run --data").trim(), "--data-dir");
    assert_eq!(complete("bivium config un").trim(), "unset");
}

#[test]
fn every_command_has_a_manual_page() {
    let place = Place::new();
    let ran = place.run(&["man", "man"]);
    assert!(ran.assert_status(0).stdout.is_empty(), "{}", ran.all());
    let page = |name: &str| std::fs::read_to_string(place.path(&format!("man/{name}"))).unwrap();
    assert!(page("bivium.1").contains("\\-\\-data\\-dir") && page("bivium.1").contains(".SH OPTIONS"));
    assert!(page("bivium-run.1").contains("\\-\\-method") && !page("bivium-run.1").contains("\\-\\-data\\-dir"));
    assert!(page("bivium-config-set.1").contains("RFC 7396"));
    assert!(!place.path("man/bivium-compiler.1").exists());
    let pages = std::fs::read_dir(place.path("man")).unwrap().map(|page| page.unwrap().file_name());
    assert!(!pages.into_iter().any(|page| page.to_string_lossy().contains("help")), "`help` only shows other pages");
    place.write("file", "");
    let ran = place.run(&["man", "file/man"]);
    assert!(ran.stderr.contains("cannot write manual pages") && ran.status != 0, "{}", ran.all());
}
