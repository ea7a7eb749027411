//! The time from a host with nothing loaded to the first result, with the compiled code in the cache.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use bivium::{Call, PluginManager};
use serde_json::{Value, json};

use crate::contest::{Contest, Measure, Role, Samples, Side};
use crate::entry::{Against, Entry};
use crate::floor::component::{AsyncLinker, Bare};
use crate::peers::extism;
use crate::site::Site;
use crate::timing::{each, ms};

pub const NAME: &str = "start from cache";

const WARM_UP: usize = 1;
const STARTS: usize = 5;

/// A component, and a call for it.
struct Guest {
    made_by: &'static str,
    component: PathBuf,
    argument: (&'static str, Value),
}

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let mut guests = vec![Guest {
        made_by: "Rust",
        component: site.guest("echo"),
        argument: ("text", json!("twenty bytes of text")),
    }];
    for (made_by, name) in [("JavaScript", "slug-js"), ("Python", "slug-py")] {
        let component = site.languages.as_ref().map(|dir| dir.join(format!("{name}.wasm")));
        match component.filter(|component| component.is_file()) {
            Some(component) => guests.push(Guest { made_by, component, argument: ("titles", json!(["A day"])) }),
            None => eprintln!("bench: {NAME}: {made_by} is left out, its component was not built"),
        }
    }
    let mut entries = Vec::new();
    for guest in guests {
        let arguments = json!({guest.argument.0: guest.argument.1.clone()});
        let ours = Ours::new(site, &guest).await;
        let floor = Floor::new(site, &guest, arguments.clone());
        let mut contest =
            Contest::new(NAME, vec![Measure::lower("time", guest.made_by, "ms").goal(Against::Floor, 1.5)])
                .side(Role::Ours, ours)
                .side(Role::Floor, floor);
        if guest.made_by == "Rust" {
            contest = contest.side(Role::Peer(extism::NAME.to_owned()), Extism::new(site, arguments));
        }
        entries.extend(contest.run(site.rounds(20)).await?);
    }
    Ok(entries)
}

struct Ours {
    manager: PluginManager,
    argument: (&'static str, Value),
}

impl Ours {
    async fn new(site: &Site, guest: &Guest) -> Result<Self> {
        let manifest = json!({
            "name": "started", "version": "1.0.0", "component": guest.component, "limits": {"compile_s": 300, "memory_mb": 512},
        });
        let manager = site.manager(&[manifest]).await?;
        manager.unload("started").await?;
        Ok(Self { manager, argument: guest.argument.clone() })
    }
}

#[async_trait(?Send)]
impl Side for Ours {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let times = samples.entry("time".to_owned()).or_default();
        for n in 0..WARM_UP + STARTS {
            let begun = std::time::Instant::now();
            self.manager.load("started").await?;
            let call = Call::new().named(self.argument.0, self.argument.1.clone());
            self.manager.execute("started", call).await?;
            let took = begun.elapsed();
            self.manager.unload("started").await?;
            if n >= WARM_UP {
                times.push(ms(took));
            }
        }
        Ok(())
    }
}

struct Floor {
    bare: Bare,
    linker: AsyncLinker,
    file: PathBuf,
    arguments: Value,
}

impl Floor {
    fn new(site: &Site, guest: &Guest, arguments: Value) -> Result<Self> {
        let bare = Bare::new(true)?;
        let file = site.directory()?.join("component.cwasm");
        bare.compile_to(&guest.component, &file)?;
        let linker = bare.linker(&bare.load(&file)?)?;
        Ok(Self { bare, linker, file, arguments })
    }
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let work = async || {
            let pre = self.linker.pre(&self.bare.load(&self.file)?)?;
            self.bare.instance(&pre).await?.execute(&self.arguments).await.map(drop)
        };
        let times = each(WARM_UP, STARTS, work).await?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(ms));
        Ok(())
    }
}

struct Extism {
    module: PathBuf,
    cache: PathBuf,
    arguments: Value,
}

impl Extism {
    fn new(site: &Site, arguments: Value) -> Result<Self> {
        let directory = site.directory()?;
        let cache = extism::cache_in(&directory)?;
        let module = site.guest("echo-extism");
        extism::load(&module, &cache).context("cannot fill Extism's cache")?;
        ensure!(has_files(&directory.join("cache")), "Extism's cache stayed empty");
        Ok(Self { module, cache, arguments })
    }
}

fn has_files(directory: &Path) -> bool {
    std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_some())
}

#[async_trait(?Send)]
impl Side for Extism {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        let work = async || extism::execute(&mut extism::load(&self.module, &self.cache)?, &self.arguments).map(drop);
        let times = each(WARM_UP, STARTS, work).await?;
        samples.entry("time".to_owned()).or_default().extend(times.into_iter().map(ms));
        Ok(())
    }
}
