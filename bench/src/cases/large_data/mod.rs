//! Large data for a Python worker, which sums it with numpy: from the host's memory, from a component, from a file.
//!
//! Three times are measured. *Summed* is the whole time, from the data to the sum. *Written* is the time to make a blob from bytes in
//! memory, compared with one plain write to the same file system. *Passed on* is a call that gives the worker an existing file as an array,
//! which it does not read. This must not take longer for more data, so its growth is measured too: the time for the largest data divided by
//! the time for the smallest in the same round.
//!
//! A DTO of cjm writes its file to the temp directory, as Python does by default. Our blobs are in memory if there is room. A write to a
//! disk ends in the page cache, which may have larger pages than `tmpfs` and is then faster, until the system makes writers wait for the
//! disk.
//!
//! JSON with base64 is measured up to 64 MiB. For 256 MiB there would be several copies of over 300 MiB at once, without new information.

mod floor;
mod ours;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;

use anyhow::{Context, Result};
use bivium::PluginManager;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use self::floor::Floor;
use self::ours::{Ours, Source};
use crate::contest::{Contest, Measure, Role, Samples};
use crate::entry::{Against, Entry};
use crate::peers::driver::{Asked, Driver};
use crate::site::Site;

pub const NAME: &str = "large data";

const CJM: &str = "cjm-plugin-system proxy";
const HTTP: &str = "FastAPI, JSON + base64";

/// How many times longer passing on the largest data may take than the smallest: only the noise of a call.
const GROWTH: f64 = 1.2;

/// In MiB.
const SIZES: &[usize] = &[1, 64, 256];
const LARGEST_AS_JSON: usize = 64;

/// How often a round only writes data of each size.
const WRITES: usize = 5;

type Shared = Rc<Mutex<Driver>>;

pub async fn run(site: &Site) -> Result<Vec<Entry>> {
    let scene = Scene::new(site).await?;
    let mut entries = Vec::new();
    for contest in [host_bytes(&scene)?, component_output(&scene)?, existing_file(&scene)?] {
        entries.extend(contest.run(site.rounds(10)).await?);
    }
    scene.end().await?;
    Ok(entries)
}

fn host_bytes(scene: &Scene) -> Result<Contest> {
    let mut measures = scene.measures("host bytes", Kind::Summed);
    measures.extend(scene.measures("host bytes", Kind::Written));
    let contest = Contest::new(NAME, measures)
        .side(Role::Ours, Ok(scene.ours(Source::Host(scene.data.clone()))))
        .side(Role::Floor, Floor::writing(scene));
    Ok(scene.with_peers(contest, |sizes| json!({"do": "host_bytes", "sizes": sizes})))
}

fn component_output(scene: &Scene) -> Result<Contest> {
    let mut measures = scene.measures("component output", Kind::Summed);
    measures.extend(scene.measures("component output", Kind::Passed));
    let contest = Contest::new(NAME, measures)
        .side(Role::Ours, Ok(scene.ours(Source::Component)))
        .side(Role::Floor, Floor::writing(scene));
    Ok(scene.with_peers(contest, |sizes| json!({"do": "component_output", "sizes": sizes})))
}

fn existing_file(scene: &Scene) -> Result<Contest> {
    let files = scene.files()?;
    let mut measures = scene.measures("existing file", Kind::Summed);
    measures.extend(scene.measures("existing file", Kind::Passed));
    let contest = Contest::new(NAME, measures)
        .side(Role::Ours, Ok(scene.ours(Source::Files(files.clone()))))
        .side(Role::Floor, Ok(Floor::reading(scene, files.clone())));
    Ok(scene.with_peers(contest, |sizes| {
        let files: BTreeMap<_, _> = files.iter().filter(|(mib, _)| sizes.contains(mib)).collect();
        json!({"do": "existing_file", "files": files})
    }))
}

#[derive(Clone, Copy)]
enum Kind {
    Summed,
    Written,
    Passed,
}

/// What all variants use.
struct Scene {
    sizes: Vec<usize>,
    manager: PluginManager,
    /// Bytes with the value one, as many as the largest size.
    data: Bytes,
    /// The directory of the caller's files.
    directory: PathBuf,
    floor: Shared,
    cjm: Result<Shared>,
    http: Result<Shared>,
}

impl Scene {
    async fn new(site: &Site) -> Result<Self> {
        let sizes: Vec<usize> = SIZES.iter().copied().filter(|mib| !site.quick || *mib <= LARGEST_AS_JSON).collect();
        let largest = sizes.iter().copied().max().unwrap_or_default();
        let mut echo = site.echo();
        echo["limits"] = json!({"blob_mb": largest});
        let sums = json!({
            "name": "sums", "version": "1.0.0", "module": "sums", "class": "Sums",
            "source": site.repository("bench/python"), "python_path": site.python,
        });
        let scene = Self {
            manager: site.manager(&[echo, sums]).await?,
            data: vec![1; largest << 20].into(),
            directory: site.directory()?,
            floor: Rc::new(Mutex::new(Driver::start(Some(&site.python), "large_data_floor.py", &site.directory()?)?)),
            cjm: peer(site.cjm.as_ref(), "large_data_cjm.py", site).await,
            http: peer(site.fastapi.as_ref(), "large_data_http.py", site).await,
            sizes,
        };
        // Imports and compilation in a first call are not measured.
        let mut first = scene.ours(Source::Component);
        first.sizes.truncate(1);
        crate::contest::Side::round(&mut first, &mut Samples::new()).await?;
        Ok(scene)
    }

    fn measures(&self, variant: &str, kind: Kind) -> Vec<Measure> {
        let each = |mib: &usize| match kind {
            Kind::Summed => Measure::lower(format!("summed {mib}"), format!("{variant} → numpy sum, {mib} MiB"), "ms"),
            Kind::Written => {
                Measure::higher(format!("written {mib}"), format!("{variant} written to a blob, {mib} MiB"), "MiB/s")
                    .goal(Against::Floor, 0.8)
            }
            Kind::Passed => Measure::lower(format!("passed {mib}"), format!("{variant} passed on, {mib} MiB"), "ms"),
        };
        let mut measures: Vec<Measure> = self.sizes.iter().map(each).collect();
        if let (Kind::Passed, [smallest, .., largest]) = (kind, self.sizes.as_slice()) {
            let variant = format!("{variant} passed on, time for {largest} MiB by time for {smallest} MiB");
            measures.push(Measure::lower("growth", variant, "×").goal(Against::Value, GROWTH));
        }
        measures
    }

    fn ours(&self, source: Source) -> Ours {
        Ours { manager: self.manager.clone(), sizes: self.sizes.clone(), source }
    }

    fn with_peers(&self, contest: Contest, request: impl Fn(&[usize]) -> Value) -> Contest {
        let short: Vec<usize> = self.sizes.iter().copied().filter(|mib| *mib <= LARGEST_AS_JSON).collect();
        contest
            .side(Role::Peer(CJM.to_owned()), Asked::new(&self.cjm, request(&self.sizes)))
            .side(Role::Peer(HTTP.to_owned()), Asked::new(&self.http, request(&short)))
    }

    /// The caller's files, by size.
    fn files(&self) -> Result<BTreeMap<usize, PathBuf>> {
        let make = |mib: &usize| {
            let path = self.directory.join(format!("{mib}.bin"));
            std::fs::write(&path, bytes(&self.data, *mib)?)?;
            Ok((*mib, path))
        };
        self.sizes.iter().map(make).collect()
    }

    async fn end(self) -> Result<()> {
        self.manager.unload_all().await;
        for driver in [Ok(self.floor), self.cjm, self.http].into_iter().flatten() {
            Rc::try_unwrap(driver).ok().context("a driver is still in use")?.into_inner().end().await?;
        }
        Ok(())
    }
}

async fn peer(python: Option<&PathBuf>, script: &str, site: &Site) -> Result<Shared> {
    Asked::share(Driver::start(python, script, &site.directory()?)?, json!({"do": "prepare"})).await
}

/// The first `mib` MiB of the data.
fn bytes(data: &Bytes, mib: usize) -> Result<&[u8]> {
    data.get(..mib << 20).context("there is less data")
}

/// The sum of `mib` MiB of ones, read as 64-bit numbers; only the lower half, which all sides return.
fn expected(mib: usize) -> u64 {
    ((mib as u64) << 17) * 0x0101_0101 % (1 << 32)
}

/// How often a round measures the whole time; short ones more often. (As in `bench/python/large_data.py`.)
fn repeats(mib: usize) -> usize {
    (32 / mib).clamp(1, 10)
}

fn add(samples: &mut Samples, measure: &str, mib: usize, value: f64) {
    samples.entry(format!("{measure} {mib}")).or_default().push(value);
}
