//! The memory of an idle loaded component. Each plugin has its own component: the same program with a different custom section, because the
//! plugins of a host have different code.
//!
//! Freed memory is not completely returned to the system, so each sample is a separate process, which runs this program again.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use bivium::{Call, PluginManager, WasmConfig};
use serde_json::json;

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::Entry;
use crate::memory::{self, Memory};
use crate::peers::extism;
use crate::site::Site;

pub const NAME: &str = "density";

/// The argument with which this program takes one sample. After it come `ours` or `extism`, the number of plugins, and a directory.
pub const SAMPLE: &str = "density";

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let counts: &[usize] = if site.quick { &[10, 100] } else { &[10, 100, 1_000] };
    for &count in counts {
        let variant = format!("component, {count} plugins, memory of each");
        let sample = |whose, guest| -> Result<Sample> {
            let directory = site.directory()?;
            for n in 0..count {
                std::fs::write(directory.join(format!("p{n}.wasm")), distinct(&site.guest(guest), n)?)?;
            }
            let sample = Sample { whose, count, directory };
            // Fills the cache of compiled code: memory that compiling leaves behind does not belong to idle plugins.
            sample.take().with_context(|| format!("{whose} could not fill its cache"))?;
            Ok(sample)
        };
        let measures = vec![
            Measure::lower("memory", variant.clone(), "KiB"),
            Measure::lower("private", format!("{variant}, private"), "KiB"),
        ];
        let contest = Contest::new(NAME, measures)
            .side(Role::Ours, sample("ours", "echo"))
            .side(Role::Peer(extism::NAME.to_owned()), sample("extism", "echo-extism"));
        entries.extend(contest.run(if site.quick { 1 } else { 3 }).await?);
    }
    Ok(entries)
}

/// A component or module with a unique custom section.
fn distinct(path: &Path, n: usize) -> Result<Vec<u8>> {
    let mut bytes = std::fs::read(path)?;
    let content = format!("\x05bench{n:08}");
    bytes.extend([0, u8::try_from(content.len())?]);
    bytes.extend(content.bytes());
    Ok(bytes)
}

struct Sample {
    whose: &'static str,
    count: usize,
    directory: PathBuf,
}

impl Sample {
    /// The growth of a process.
    fn take(&self) -> Result<Memory> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([SAMPLE, self.whose, &self.count.to_string()]).arg(&self.directory);
        let output = command.output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let said = String::from_utf8(output.stdout)?;
        let (share, private) = said.trim().split_once(' ').context("the sample did not say two numbers")?;
        Ok(Memory { share: share.parse()?, private: private.parse()? })
    }
}

#[async_trait(?Send)]
impl Side for Sample {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let grown = self.take()?;
        let each = |mib: f64| mib * 1024.0 / self.count as f64;
        samples.entry("memory".to_owned()).or_default().push(each(grown.share));
        samples.entry("private".to_owned()).or_default().push(each(grown.private));
        Ok(())
    }
}

/// Loads this many plugins, calls each once, and prints by how many MiB this process has grown: its proportional share, and its private
/// memory.
///
/// # Errors
/// If one of them fails.
pub async fn sample(arguments: &[String]) -> Result<()> {
    let [whose, count, directory] = arguments else { bail!("whose, how many, where?") };
    let (count, directory): (usize, &Path) = (count.parse()?, directory.as_ref());
    let components = (0..count).map(|n| directory.join(format!("p{n}.wasm")));
    let grown = match whose.as_str() {
        "ours" => ours(directory, components).await?,
        _ => extism(directory, components)?,
    };
    println!("{} {}", grown.share, grown.private);
    Ok(())
}

async fn ours(directory: &Path, components: impl Iterator<Item = PathBuf>) -> Result<Memory> {
    let manifests = directory.join("manifests");
    std::fs::create_dir_all(&manifests)?;
    let mut names = Vec::new();
    for (n, component) in components.enumerate() {
        let name = format!("p{n}");
        let manifest = json!({"name": name, "version": "1.0.0", "component": component});
        std::fs::write(manifests.join(format!("{name}.json")), manifest.to_string())?;
        names.push(name);
    }
    let instances = u32::try_from(names.len())?.max(256);
    let wasm = WasmConfig::new().instances(instances).cache_dir(directory.join("cache"));
    let manager = PluginManager::builder().manifests(&manifests).data_dir(directory.join("data")).wasm(wasm).build()?;
    let before = memory::of_tree(std::process::id())?;
    for name in &names {
        manager.load(name).await?;
        manager.execute(name, Call::new().named("text", "twenty bytes of text")).await?;
    }
    let after = memory::of_tree(std::process::id())?;
    manager.unload_all().await;
    Ok(after.over(before))
}

fn extism(directory: &Path, modules: impl Iterator<Item = PathBuf>) -> Result<Memory> {
    let cache = extism::cache_in(directory)?;
    let before = memory::of_tree(std::process::id())?;
    let mut plugins = Vec::new();
    for module in modules {
        let mut plugin = extism::load(&module, &cache)?;
        extism::execute(&mut plugin, &json!({"text": "twenty bytes of text"}))?;
        plugins.push(plugin);
    }
    Ok(memory::of_tree(std::process::id())?.over(before))
}
