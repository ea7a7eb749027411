//! `bivium stats`: what a plugin uses when it is loaded and runs no call.

use std::time::Instant;

use bivium::manifest::RuntimeKind;
use bivium::{InstanceStats, PluginManager};
use serde_json::json;

use crate::args::{Global, Named};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Output, Table};

pub(super) async fn stats(global: &Global, output: &Output, named: &Named) -> Result<(), Failure> {
    let (host, name) = Host::for_plugin(global, output, named)?;
    let runtime = host.manager.manifest(&name)?.runtime.kind();
    let start = Instant::now();
    let ask = async |manager: &PluginManager| Ok((start.elapsed().as_secs_f64(), manager.stats(&name).await?));
    let (load_s, stats) = host.scope_loaded(&name, None, ask).await?;
    if output.is_json() {
        return output.value(&json!({"name": name, "load_s": load_s, "stats": stats}));
    }
    output.hint(&format!("{name}: loaded in {load_s:.2} s"));
    let mut table = Table::new(["INSTANCE", "MEMORY", "GPU MEMORY", "PROCESSES", "START"]).numbers_from(1);
    for InstanceStats { id, memory_bytes, gpu_memory_bytes, pids, start_s, .. } in &stats.instances {
        let gpu = gpu_memory_bytes.map_or_else(|| "-".to_owned(), mib);
        let processes = if runtime == RuntimeKind::Wasm { "-".to_owned() } else { pids.len().to_string() };
        table.row([&id.to_string(), &mib(*memory_bytes), &gpu, &processes, &format!("{start_s:.2} s")]);
    }
    output.line(&table.lines().join("\n"))
}

fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
