//! Cases of the WebAssembly runtime.

pub mod cancel;
pub mod chunks;
pub mod concurrency;
pub mod density;
pub mod fresh;
pub mod start;
pub mod storm;
pub mod stream;
pub mod typed;
pub mod warm_call;

use anyhow::{Result, ensure};
use serde_json::Value;

/// Fails if the answer is not the text that was sent.
fn check(answer: &Value, text: &str) -> Result<()> {
    ensure!(answer.get("text").and_then(Value::as_str) == Some(text), "another answer came");
    Ok(())
}
