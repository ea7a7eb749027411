//! A component reads and writes a blob piece by piece.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::{Blob, Call, PluginManager};
use serde_json::json;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component_files::FileComponent;
use crate::site::Site;
use crate::timing::ms;

pub const NAME: &str = "blob by pieces";

const MIB: usize = 64;
const SIZE: u64 = (MIB as u64) << 20;
const METHOD: &str = "copy";

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut manifest = site.echo();
    manifest["limits"] = json!({"blob_mb": 2 * MIB});
    let manager = site.manager(&[manifest]).await?;
    let source = manager.exchange().write(&vec![1; MIB << 20], "application/octet-stream")?;
    // The same directory as that of the blobs.
    let directory = source.path().parent().context("a file without a directory")?.to_owned();
    let component = FileComponent::load(&site.guest("echo"), &directory);
    let floor = component.map(|component| Floor { component, source: source.path().to_owned(), directory });
    let variant = format!("{MIB} MiB, 256 KiB at once");
    let measure = Measure::lower("time", variant, "ms").goal(Against::Floor, 1.2);
    let contest = Contest::new(NAME, vec![measure])
        .side(Role::Ours, Ok(Ours { manager: manager.clone(), source }))
        .side(Role::Floor, floor);
    let entries = contest.run(site.rounds(20)).await?;
    manager.unload_all().await;
    Ok(entries)
}

struct Ours {
    manager: PluginManager,
    source: Blob,
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let call = Call::new().method(METHOD).blob("data", self.source.clone());
        let begun = Instant::now();
        let made = self.manager.execute("echo", call).await?;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        let made = made.json.get("data").and_then(|data| made.blob(data)).context("no blob came")?;
        ensure!(made.size() == SIZE, "{} bytes came", made.size());
        Ok(())
    }
}

struct Floor {
    component: FileComponent,
    source: PathBuf,
    directory: PathBuf,
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let begun = Instant::now();
        let size = self.component.transform(METHOD, &json!({"data": {"$blob": 0}}), &self.source)?;
        samples.entry("time".to_owned()).or_default().push(ms(begun.elapsed()));
        ensure!(size == SIZE, "{size} bytes came");
        remove_written(&self.directory)
    }
}

/// Removes the files that the bare component has written. Their names are numbers.
fn remove_written(directory: &Path) -> Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_some_and(|name| name.parse::<usize>().is_ok()) {
            std::fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}
