//! `bivium run`: the whole program from start to end, with a filled cache.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, ensure};
use async_trait::async_trait;
use serde_json::json;
use tokio::process::Command;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::Entry;
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "a run of the program";

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let Some(program) = &site.program else {
        eprintln!("bench: {NAME} is left out: the program was not built");
        return Ok(Vec::new());
    };
    let home = site.directory()?;
    let worker = home.join("worker.json");
    let manifest = json!({
        "name": "worker", "version": "1.0.0", "module": "echo", "class": "Echo",
        "source": site.repository("bench/python"), "python_path": site.python,
    });
    std::fs::write(&worker, manifest.to_string())?;
    let ran = |arguments: &[&Path]| Ran {
        program: program.clone(),
        arguments: arguments.iter().map(|argument| argument.to_path_buf()).collect(),
        home: home.clone(),
    };
    let text = Path::new("text=twenty bytes of text");
    let mut entries = Vec::new();
    for (variant, plugin) in [("a component", site.guest("echo")), ("a Python class", worker)] {
        let mut ours = ran(&["run".as_ref(), &plugin, text]);
        // Fills the cache.
        ours.round(&mut Samples::new()).await?;
        let contest = Contest::new(NAME, vec![Measure::lower("time", variant, "ms")])
            .side(Role::Ours, Ok(ours))
            .side(Role::Also("the program's version".to_owned()), Ok(ran(&["--version".as_ref()])));
        entries.extend(contest.run(site.rounds(20)).await?);
    }
    Ok(entries)
}

struct Ran {
    program: PathBuf,
    arguments: Vec<PathBuf>,
    home: PathBuf,
}

#[async_trait(?Send)]
impl Side for Ran {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let begun = Instant::now();
        let output = Command::new(&self.program).args(&self.arguments).env("BIVIUM_HOME", &self.home).output().await?;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        ensure!(output.status.success(), "it failed: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}
