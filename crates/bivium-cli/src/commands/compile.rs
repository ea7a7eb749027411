//! `bivium compile`: compiles a component into the cache before its first call.

use std::path::Path;
use std::time::Instant;

use bivium::Call;
use serde_json::json;

use crate::args::{Compile, Global, Named};
use crate::failure::Failure;
use crate::host::Host;
use crate::output::{Output, follow};

pub(super) async fn compile(global: &Global, output: &Output, args: &Compile) -> Result<(), Failure> {
    let path = Path::new(&args.what);
    let is_component = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("wasm"));
    let (host, name) = if is_component {
        (Host::open(global, output)?, args.what.clone())
    } else {
        Host::for_plugin(global, output, &Named { plugin: args.what.clone() })?
    };
    let start = Instant::now();
    let compile = async |host: &Host| {
        let call = Call::new().cancellation(host.stop.clone()).handle().clone();
        let work = async {
            output.screen().phase("compiling");
            if is_component { host.manager.compile_file(path).await } else { host.manager.compile(&name).await }
        };
        Ok(follow(output.screen(), &name, &call, call.guard(work)).await?)
    };
    let done = host.scope(compile).await?;
    let seconds = start.elapsed().as_secs_f64();
    if output.is_json() {
        let place = done.cache.as_ref().map(|cache| cache.display().to_string());
        return output.value(&json!({
            "name": name, "cached": done.was_cached, "seconds": seconds, "bytes": done.bytes, "cache": place
        }));
    }
    let how = if done.was_cached { "already compiled".to_owned() } else { format!("compiled in {seconds:.1} s") };
    let size = format!("{} kB of code", done.bytes.div_ceil(1000));
    output.line(&match &done.cache {
        Some(cache) => format!("{name}: {how}, {size} in {}", cache.display()),
        None => format!("{name}: {how}, {size}, not stored, because no cache can be used"),
    })
}
