//! WASI 0.2: the interfaces of `wasmtime-wasi`, with the host's own implementations of those that give access to something.

mod cli;
mod clocks;
mod error;
mod filesystem;
mod http;
mod metered;
mod random;
mod sockets;

use wasmtime::component::Linker;

use crate::state::HostState;

pub(super) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    http::add_to_linker(linker)?;
    linker.allow_shadowing(true);
    cli::add_to_linker(linker)?;
    clocks::add_to_linker(linker)?;
    error::add_to_linker(linker)?;
    filesystem::add_to_linker(linker)?;
    random::add_to_linker(linker)?;
    sockets::add_to_linker(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_replaced_functions_exist() {
        let engine = wasmtime::Engine::default();
        let mut linker = Linker::<HostState>::new(&engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
        wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker).unwrap();
        for (interface, function) in [
            (sockets::TCP, "create-tcp-socket"),
            (sockets::UDP, "create-udp-socket"),
            (sockets::LOOKUP, "resolve-addresses"),
            (sockets::LOOKUP, "[method]resolve-address-stream.resolve-next-address"),
            (sockets::LOOKUP, "[method]resolve-address-stream.subscribe"),
            (http::HANDLER, "handle"),
        ] {
            let defined = linker.instance(interface).unwrap().func_wrap(function, |_, (): ()| Ok(()));
            assert!(defined.is_err(), "{interface} {function}: WASI has another version now");
        }
    }
}
