//! A client of the control plane: one request, one answer, the connection closed.
//!
//! For: JSON-RPC over HTTP, by TCP or a unix socket.
//! Not here: what is made of the answers.
//! Invariants: nobody waits longer than [`WITHIN`] for the next piece of an answer.

use serde_json::{Value, json};
use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;
use strowger_node::http::ControlListen;

/// How long a node may be silent.
const WITHIN: Duration = Duration::from_secs(30);
/// Longest answer: a list has 10,000 entries at most.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// Where a node is asked.
#[derive(Clone, Debug)]
enum Place {
    Tcp(String),
    Unix(PathBuf),
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The place is not understood.
    Place(String),
    /// Nobody answers there, or not in HTTP.
    Unanswered { place: String, cause: String },
    /// The node refuses.
    Refused { code: i64, message: String },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Place(place) => {
                write!(f, "{place:?} is no control plane; allowed: ADDRESS:PORT or unix:/PATH")
            }
            Trouble::Unanswered { place, cause } => write!(f, "no answer from {place}: {cause}"),
            Trouble::Refused { code, message } => write!(f, "{message} ({code})"),
        }
    }
}

/// Asks one node.
#[derive(Clone, Debug)]
pub(super) struct Client {
    place: Place,
    token: Option<String>,
}

impl Client {
    /// At `ADDRESS:PORT`, with `http://` or without, or at `unix:/PATH`.
    pub(super) fn new(place: &str, token: Option<String>) -> Result<Client, Trouble> {
        let wrong = || Trouble::Place(place.to_owned());
        if let Some(path) = place.strip_prefix("unix:") {
            return Ok(Client { place: Place::Unix(Path::new(path).to_owned()), token });
        }
        let address = place.strip_prefix("http://").unwrap_or(place).trim_end_matches('/');
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        if host.is_empty() || host.contains('/') || port.parse::<u16>().is_err() {
            return Err(wrong());
        }
        Ok(Client { place: Place::Tcp(address.to_owned()), token })
    }

    /// Where a node of this configuration listens.
    pub(super) fn of(listen: &ControlListen, token: Option<String>) -> Client {
        let place = match listen {
            ControlListen::Address(address) => {
                let mut address = *address;
                if address.ip().is_unspecified() {
                    // Who listens everywhere listens on loopback too.
                    address.set_ip(match address.ip() {
                        std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                        std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
                    });
                }
                Place::Tcp(address.to_string())
            }
            ControlListen::Unix(path) => Place::Unix(path.clone()),
        };
        Client { place, token }
    }

    /// Has a command carried out.
    pub(super) fn call(&self, name: &str, params: &Value) -> Result<Value, Trouble> {
        let body = json!({"jsonrpc": "2.0", "method": name, "params": params, "id": 1});
        let answer = self.post(&body.to_string()).map_err(|cause| Trouble::Unanswered {
            place: match &self.place {
                Place::Tcp(address) => address.clone(),
                Place::Unix(path) => path.display().to_string(),
            },
            cause: cause.to_string(),
        })?;
        let (status, body) = answer;
        let answer: Value = serde_json::from_str(&body).unwrap_or_default();
        if let Some(error) = answer.get("error") {
            let code = error.get("code").and_then(Value::as_i64).unwrap_or(status.into());
            let message = error.get("message").and_then(Value::as_str).unwrap_or("refused");
            return Err(Trouble::Refused { code, message: message.to_owned() });
        }
        match answer.get("result") {
            Some(result) => Ok(result.clone()),
            None => Err(Trouble::Refused { code: status.into(), message: body.trim().to_owned() }),
        }
    }

    fn post(&self, body: &str) -> io::Result<(u16, String)> {
        match &self.place {
            Place::Tcp(address) => {
                let addresses = address.to_socket_addrs()?;
                let mut last = io::Error::other("no such host");
                for address in addresses {
                    match TcpStream::connect_timeout(&address, WITHIN) {
                        Ok(stream) => {
                            stream.set_read_timeout(Some(WITHIN))?;
                            stream.set_write_timeout(Some(WITHIN))?;
                            return self.exchange(stream, body);
                        }
                        Err(cause) => last = cause,
                    }
                }
                Err(last)
            }
            Place::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(WITHIN))?;
                stream.set_write_timeout(Some(WITHIN))?;
                self.exchange(stream, body)
            }
        }
    }

    fn exchange(&self, mut stream: impl Read + Write, body: &str) -> io::Result<(u16, String)> {
        let token = self.token.as_ref().map(|token| format!("Authorization: Bearer {token}\r\n"));
        let request = format!(
            "POST /rpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
             Content-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{body}",
            token.unwrap_or_default(),
            body.len()
        );
        stream.write_all(request.as_bytes())?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let no_http = || io::Error::other("what answers there does not speak HTTP");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_http)?;
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Ok((status.ok_or_else(no_http)?, body.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_addresses_or_sockets() {
        for good in ["127.0.0.1:9494", "http://[::1]:80/", "node.example.com:1", "unix:/run/s"] {
            assert!(Client::new(good, None).is_ok(), "{good}");
        }
        for bad in ["", "9494", "host", "http://a/b:1", "host:port"] {
            assert!(Client::new(bad, None).is_err(), "{bad}");
        }
    }

    #[test]
    fn who_listens_everywhere_is_asked_on_loopback() {
        let everywhere = "0.0.0.0:9494".parse().expect("an address");
        let client = Client::of(&ControlListen::Address(everywhere), None);
        assert!(matches!(client.place, Place::Tcp(place) if place == "127.0.0.1:9494"));
    }
}
