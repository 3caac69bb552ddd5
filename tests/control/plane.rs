//! A proxy with a control plane, and a client that speaks just enough HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use strowger_tests::folder::Folder;
use strowger_tests::process::PATIENCE;
use strowger_tests::proxy::Proxy;

/// A proxy with a control plane.
pub(crate) struct Controlled {
    pub(crate) proxy: Proxy,
    pub(crate) control: SocketAddr,
}

pub(crate) fn start(more: &str) -> Controlled {
    let folder = Folder::new("control");
    let file = format!("[control]\nlisten = \"127.0.0.1:0\"\n{more}");
    let file = folder.write("strowger.toml", &file);
    let mut proxy = Proxy::start(&["-f", file.to_str().expect("a readable path")]);
    let control = proxy.process().wait_until("where the control plane is", |output| {
        let line = output.lines().find(|line| line.starts_with("control plane on http://"))?;
        line.strip_prefix("control plane on http://")?.parse().ok()
    });
    Controlled { proxy, control }
}

/// Sends a request and reads the whole answer: status and body.
pub(crate) fn ask(control: SocketAddr, start: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(control).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("a positive time-out");
    let length = body.len();
    let request = format!(
        "{start} HTTP/1.1\r\nHost: {control}\r\nConnection: close\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    );
    // A server that refuses early may close before it has read everything.
    let _ = stream.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    let (_, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    (status.unwrap_or_else(|| panic!("no HTTP: {answer:?}")), body.to_owned())
}

pub(crate) fn get(control: SocketAddr, path: &str) -> (u16, String) {
    ask(control, &format!("GET {path}"), "", "")
}

/// Posts a call of JSON-RPC.
pub(crate) fn call(control: SocketAddr, text: &str) -> (u16, String) {
    ask(control, "POST /rpc", "Content-Type: application/json\r\n", text)
}

/// The value of a sample, by everything before it.
pub(crate) fn sample(page: &str, name: &str) -> Option<u64> {
    page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}
