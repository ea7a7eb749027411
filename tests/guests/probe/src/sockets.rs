//! Sockets. `address` and `port` are those of the other side.

use std::cell::RefCell;
use std::net::IpAddr;

use serde_json::{Value, json};

use crate::wasi::sockets::instance_network::instance_network;
use crate::wasi::sockets::ip_name_lookup::resolve_addresses;
use crate::wasi::sockets::network::{
    ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use crate::wasi::sockets::tcp::{ShutdownType, TcpSocket};
use crate::wasi::sockets::tcp_create_socket::create_tcp_socket;
use crate::wasi::sockets::udp::OutgoingDatagram;
use crate::wasi::sockets::udp_create_socket::create_udp_socket;
use crate::{Outcome, Probe, text};

pub(crate) const METHODS: &[(&str, Probe)] = &[
    ("lookup", lookup),
    ("tcp", tcp),
    ("tcp-keep", |arguments| {
        for _ in 0..arguments["times"].as_u64().unwrap_or_default() {
            let socket = create_tcp_socket(IpAddressFamily::Ipv4).map_err(code)?;
            SOCKETS.with_borrow_mut(|sockets| sockets.push(socket));
        }
        Ok(json!(SOCKETS.with_borrow(Vec::len)))
    }),
    ("tcp-drop", |_| {
        SOCKETS.take();
        Ok(json!(null))
    }),
    ("tcp-bind", |arguments| bind(arguments).map(|_| json!(null))),
    ("tcp-listen", |arguments| {
        let socket = bind(arguments)?;
        socket.start_listen().map_err(code)?;
        socket.finish_listen().map_err(code)?;
        Ok(json!(null))
    }),
    ("udp", udp),
];

thread_local! {
    static SOCKETS: RefCell<Vec<TcpSocket>> = const { RefCell::new(Vec::new()) };
}

fn code(error: ErrorCode) -> String {
    error.name().to_owned()
}

fn written(address: IpAddress) -> String {
    match address {
        IpAddress::Ipv4((a, b, c, d)) => IpAddr::from([a, b, c, d]).to_string(),
        IpAddress::Ipv6((a, b, c, d, e, f, g, h)) => IpAddr::from([a, b, c, d, e, f, g, h]).to_string(),
    }
}

fn socket_address(arguments: &Value) -> Result<(IpAddressFamily, IpSocketAddress), String> {
    let port = u16::try_from(arguments["port"].as_u64().unwrap_or_default()).map_err(|error| error.to_string())?;
    let address: IpAddr = text(arguments, "address").parse().map_err(|_| "no address")?;
    Ok(match address {
        IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            (IpAddressFamily::Ipv4, IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }))
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, e, f, g, h] = address.segments();
            let address = (a, b, c, d, e, f, g, h);
            let address = Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 };
            (IpAddressFamily::Ipv6, IpSocketAddress::Ipv6(address))
        }
    })
}

fn lookup(arguments: &Value) -> Outcome {
    let addresses = resolve_addresses(&instance_network(), text(arguments, "name")).map_err(code)?;
    let mut all = Vec::new();
    loop {
        match addresses.resolve_next_address() {
            Ok(Some(address)) => all.push(written(address)),
            Ok(None) => return Ok(json!(all)),
            Err(ErrorCode::WouldBlock) => addresses.subscribe().block(),
            Err(error) => return Err(code(error)),
        }
    }
}

/// Connects, sends `text` and gives what comes back until the end.
fn tcp(arguments: &Value) -> Outcome {
    let (family, address) = socket_address(arguments)?;
    let socket = create_tcp_socket(family).map_err(code)?;
    socket.start_connect(&instance_network(), address).map_err(code)?;
    let (input, output) = loop {
        match socket.finish_connect() {
            Err(ErrorCode::WouldBlock) => socket.subscribe().block(),
            connected => break connected.map_err(code)?,
        }
    };
    output.blocking_write_and_flush(text(arguments, "text").as_bytes()).map_err(|error| format!("{error:?}"))?;
    socket.shutdown(ShutdownType::Send).map_err(code)?;
    let mut received = Vec::new();
    while let Ok(piece) = input.blocking_read(4096) {
        received.extend(piece);
    }
    Ok(json!(String::from_utf8_lossy(&received)))
}

fn bind(arguments: &Value) -> Result<TcpSocket, String> {
    let (family, address) = socket_address(arguments)?;
    let socket = create_tcp_socket(family).map_err(code)?;
    socket.start_bind(&instance_network(), address).map_err(code)?;
    socket.finish_bind().map_err(code)?;
    Ok(socket)
}

/// Sends a datagram and gives the first that comes back.
fn udp(arguments: &Value) -> Outcome {
    let (family, address) = socket_address(arguments)?;
    let socket = create_udp_socket(family).map_err(code)?;
    let any = json!({"address": if matches!(family, IpAddressFamily::Ipv4) { "0.0.0.0" } else { "::" }, "port": 0});
    socket.start_bind(&instance_network(), socket_address(&any)?.1).map_err(code)?;
    socket.finish_bind().map_err(code)?;
    let (incoming, outgoing) = socket.stream(None).map_err(code)?;
    outgoing.check_send().map_err(code)?;
    let data = text(arguments, "text").as_bytes().to_vec();
    outgoing.send(&[OutgoingDatagram { data, remote_address: Some(address) }]).map_err(code)?;
    loop {
        match incoming.receive(1).map_err(code)?.pop() {
            Some(datagram) => return Ok(json!(String::from_utf8_lossy(&datagram.data))),
            None => incoming.subscribe().block(),
        }
    }
}
