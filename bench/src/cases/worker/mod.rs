//! Cases of the Python runtime. Our side is `bench/python/echo.py` in a worker, called through the manager by name.

use std::path::PathBuf;
use std::rc::Rc;

use anyhow::Result;
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::contest::{Contest, Role};
use crate::peers::driver::{Asked, Driver};
use crate::site::Site;

pub mod cancel;
pub mod concurrency;
pub mod density;
pub mod ends;
pub mod log;
pub mod need;
pub mod objects;
pub mod start;
pub mod stream;
pub mod unary_call;
pub mod ways;

const CJM: &str = "cjm-plugin-system";
const SUBSTRATE: &str = "cjm-substrate";
const FASTAPI: &str = "FastAPI + uvicorn + httpx";

/// The name of our plugin.
const ECHO: &str = "echo";

/// The manifest of the plugin that is measured.
fn echo(site: &Site) -> Value {
    json!({
        "name": ECHO,
        "version": "1.0.0",
        "module": "echo",
        "class": "Echo",
        "source": site.repository("bench/python"),
        "python_path": site.python,
    })
}

/// cjm-plugin-system and its successor, each in a separate program with the plugin loaded.
struct Peers {
    cjm: Result<Rc<Mutex<Driver>>>,
    substrate: Result<Rc<Mutex<Driver>>>,
}

impl Peers {
    /// Starts the peers that were prepared.
    async fn start(site: &Site) -> Self {
        Self {
            cjm: peer(site, site.cjm.as_ref(), "cjm_driver.py").await,
            substrate: peer(site, site.substrate.as_ref(), "cjm_driver.py").await,
        }
    }

    /// Adds both peers, with `end` appended to their names and the request from `request` for each.
    fn both(&self, contest: Contest, end: &str, request: impl Fn(&str) -> Value) -> Contest {
        [(CJM, &self.cjm), (SUBSTRATE, &self.substrate)].into_iter().fold(contest, |contest, (name, driver)| {
            contest.side(Role::Peer(format!("{name}{end}")), Asked::new(driver, request(name)))
        })
    }
}

/// FastAPI, in a separate program with its server started.
async fn fastapi(site: &Site) -> Result<Rc<Mutex<Driver>>> {
    peer(site, site.fastapi.as_ref(), "fastapi_driver.py").await
}

async fn peer(site: &Site, python: Option<&PathBuf>, script: &str) -> Result<Rc<Mutex<Driver>>> {
    let driver = Driver::start(python, script, &site.directory()?)?;
    Asked::share(driver, json!({"do": "load"})).await
}
