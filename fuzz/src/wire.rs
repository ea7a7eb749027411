//! The messages of a worker, which may contain anything.

use std::sync::{Arc, OnceLock};

use bivium_exchange::{Area, Exchange};
use bivium_records::PluginLog;
use bivium_worker::fuzzing::{answers, channel};
use tokio::runtime::Runtime;

/// What all runs use.
struct Place {
    runtime: Runtime,
    log: PluginLog,
    area: Arc<Area>,
    _exchange: Exchange,
    directory: tempfile::TempDir,
}

fn place() -> &'static Place {
    static PLACE: OnceLock<Place> = OnceLock::new();
    PLACE.get_or_init(|| {
        let directory = tempfile::tempdir().expect("there is room");
        let exchange = Exchange::builder().root(directory.path()).open().expect("an exchange can be made");
        Place {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there is a runtime"),
            log: PluginLog::new("p"),
            area: Arc::new(exchange.area("p").expect("an area can be made")),
            _exchange: exchange,
            directory,
        }
    })
}

/// Reads `data` as a message on a worker's channel, and as each kind of answer.
pub fn run(data: &[u8]) {
    let Place { runtime, log, area, directory, .. } = place();
    let exchange = directory.path().canonicalize().expect("a directory that is there");
    // A file that an answer can name.
    std::fs::write(area.path().join("f"), "[1]").expect("there is room");
    runtime.block_on(async {
        if let Some(error) = channel(data, log).await {
            assert!(!error.to_string().is_empty());
        }
        for answer in answers(data, area).await {
            match answer {
                Ok(payload) => {
                    payload.check().expect("a payload names only its own files");
                    for blob in &payload.blobs {
                        let path = blob.path().canonicalize().expect("a file that is there");
                        assert!(path.starts_with(&exchange), "{} is not in the exchange", path.display());
                    }
                }
                Err(error) => assert!(!error.to_string().is_empty()),
            }
        }
    });
}
