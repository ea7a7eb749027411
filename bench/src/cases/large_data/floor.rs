//! The floor: one plain write of the data (if it is not a file yet) to the directory of our blob; then one Python process maps the file and
//! sums it. Time in between is not counted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use bytes::Bytes;
use serde_json::json;

use super::{Scene, Shared, WRITES, add, bytes, expected, repeats};
use crate::contest::{Samples, Side};
use crate::timing::ms;

pub struct Floor {
    driver: Shared,
    files: BTreeMap<usize, PathBuf>,
    /// The data that is written to the files each time.
    data: Option<Bytes>,
}

impl Floor {
    /// A floor for existing files.
    pub fn reading(scene: &Scene, files: BTreeMap<usize, PathBuf>) -> Self {
        Self { driver: Rc::clone(&scene.floor), files, data: None }
    }

    /// A floor for data in memory.
    pub fn writing(scene: &Scene) -> Result<Self> {
        let mut files = BTreeMap::new();
        for mib in &scene.sizes {
            let blob = scene.manager.exchange().write(bytes(&scene.data, *mib)?, "application/octet-stream")?;
            files.insert(*mib, blob.path().with_file_name(format!("floor-{mib}")));
        }
        Ok(Self { driver: Rc::clone(&scene.floor), files, data: Some(scene.data.clone()) })
    }

    /// Writes the data, if it is in memory, and returns the time.
    fn write(&self, mib: usize, path: &Path) -> Result<Option<Duration>> {
        let Some(data) = &self.data else { return Ok(None) };
        let begun = Instant::now();
        std::fs::write(path, bytes(data, mib)?)?;
        Ok(Some(begun.elapsed()))
    }
}

#[async_trait(?Send)]
impl Side for Floor {
    async fn round(&mut self, samples: &mut Samples) -> Result<()> {
        for (mib, path) in &self.files {
            for _ in 0..repeats(*mib) {
                let wrote = self.write(*mib, path)?;
                let request = json!({"do": "sum", "path": path, "expected": expected(*mib)});
                let mut told = self.driver.lock().await.ask(&request).await?;
                let summed = told.remove("sum").and_then(|times| times.first().copied()).context("no time was told")?;
                add(samples, "summed", *mib, wrote.map_or(0.0, ms) + summed);
                if wrote.is_some() {
                    std::fs::remove_file(path)?;
                }
            }
        }
        for (mib, path) in self.files.iter().filter(|_| self.data.is_some()) {
            for _ in 0..WRITES {
                if let Some(wrote) = self.write(*mib, path)? {
                    add(samples, "written", *mib, *mib as f64 / wrote.as_secs_f64());
                }
                std::fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}
