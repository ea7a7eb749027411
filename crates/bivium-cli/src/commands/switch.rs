//! `bivium enable` and `bivium disable`.

use serde_json::json;

use crate::args::{Global, Named};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::Output;

pub(super) async fn enable(global: &Global, output: &Output, named: &Named, enabled: bool) -> Result<(), Failure> {
    let (host, name) = Host::for_kept_plugin(global, output, named)?;
    if enabled {
        host.manager.enable(&name)?
    } else {
        host.manager.disable(&name)?
    }
    if output.is_json() {
        return output.value(&json!({"name": name, "enabled": enabled}));
    }
    output.line(&format!("{name} is {}", if enabled { "enabled" } else { "disabled" }))
}
