//! A host to be killed: loads the plugin `stubborn`, calls it, and waits for the end.
//!
//! `host MARKS HOW`: see `tests/plugins/stubborn`.

use std::path::PathBuf;

use bivium::{Call, PluginError};
use bivium_tests::manager;

#[tokio::main]
async fn main() -> Result<(), PluginError> {
    let mut arguments = std::env::args_os().skip(1).map(|argument| argument.into_string().ok());
    let (Some(Some(marks)), Some(Some(how))) = (arguments.next(), arguments.next()) else {
        return Err(PluginError::invalid_input("usage: host MARKS HOW"));
    };
    let manager = manager(&PathBuf::from(&marks).join("data"))?;
    manager.load("stubborn").await?;
    manager.execute("stubborn", Call::new().named("marks", marks).named("how", how)).await?;
    std::future::pending().await
}
