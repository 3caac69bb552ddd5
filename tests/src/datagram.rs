//! A SIP peer by hand: a UDP socket that sends what it is told, right or wrong.
//!
//! For: hostile datagrams and single requests whose answer is looked at.
//! Not here: calls (SIPp makes those).

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

const RESEND: Duration = Duration::from_millis(500); // T1, RFC 3261 §17.1.1.1
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// One end of a conversation with the proxy.
#[derive(Debug)]
pub struct Peer {
    socket: UdpSocket,
    proxy: SocketAddr,
    sent: u32,
}

impl Peer {
    /// A socket of its own, on loopback.
    ///
    /// # Panics
    /// When the machine has no free port left.
    #[must_use]
    pub fn new(proxy: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free UDP port");
        Self { socket, proxy, sent: 0 }
    }

    /// A socket on this port, on loopback.
    ///
    /// # Panics
    /// When the port is taken.
    #[must_use]
    pub fn at(port: u16, proxy: SocketAddr) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a free UDP port");
        Self { socket, proxy, sent: 0 }
    }

    /// The address that the proxy sees.
    ///
    /// # Panics
    /// When the kernel does not know it.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("a bound socket has an address")
    }

    /// Sends the bytes as they are.
    ///
    /// # Panics
    /// When the kernel refuses them.
    pub fn send(&self, datagram: &[u8]) {
        self.socket.send_to(datagram, self.proxy).expect("loopback takes a datagram");
    }

    /// Answers a request that was received, where its Via says; the proxy adds nothing to what a
    /// sender on this machine writes there.
    ///
    /// # Panics
    /// When the request has no Via with an address.
    pub fn send_to_source(&self, request: &str, status: &str) {
        let via = header(request, "Via").expect("a request with a Via");
        let to = via.split([' ', ';', ',']).nth(1).and_then(|at| at.parse::<SocketAddr>().ok());
        let kept = ["via", "from", "call-id", "cseq"];
        let head = request.split("\r\n\r\n").next().unwrap_or_default();
        let mut answer = format!("SIP/2.0 {status}\r\n");
        for line in head.split("\r\n").skip(1) {
            let name = line.split(':').next().unwrap_or_default().trim().to_ascii_lowercase();
            if kept.contains(&name.as_str()) {
                answer.push_str(&format!("{line}\r\n"));
            } else if name == "to" {
                let tag = if line.contains(";tag=") { "" } else { ";tag=peer" };
                answer.push_str(&format!("{line}{tag}\r\n"));
            }
        }
        answer.push_str("Content-Length: 0\r\n\r\n");
        let to = to.expect("an address in Via");
        self.socket.send_to(answer.as_bytes(), to).expect("loopback takes a datagram");
    }

    /// A whole request with a fresh branch and Call-ID; `more` are header lines with their CRLF.
    #[must_use]
    pub fn request(&mut self, method: &str, uri: &str, more: &str) -> String {
        self.sent += 1;
        let (here, number) = (self.address(), self.sent);
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/UDP {here};branch=z9hG4bK-{port}-{number}\r\n\
             From: <sip:peer@{here}>;tag=peer-{number}\r\n\
             To: <{uri}>\r\n\
             Call-ID: {number}-{port}@127.0.0.1\r\n\
             CSeq: {number} {method}\r\n\
             Contact: <sip:peer@{here}>\r\n\
             {more}Content-Length: 0\r\n\r\n",
            port = here.port()
        )
    }

    /// Sends the request until a final response to its Call-ID comes, and returns that.
    ///
    /// # Panics
    /// When none has come by `limit`.
    pub fn ask(&self, request: &str, limit: Duration) -> String {
        let end = Instant::now() + limit;
        let call_id = header(request, "Call-ID").expect("a request with a Call-ID");
        while Instant::now() < end {
            self.send(request.as_bytes());
            let resend = Instant::now() + RESEND;
            while let Some(response) = self.receive(resend) {
                let ours = header(&response, "Call-ID") == Some(call_id);
                if ours && status(&response).is_some_and(|status| status >= 200) {
                    return response;
                }
            }
        }
        panic!("no final response in {limit:?} to\n{request}");
    }

    /// Acknowledges a final response that is not 2xx, so that it is not sent again (RFC 3261
    /// §17.1.1.3).
    ///
    /// # Panics
    /// When the request or the response has no To.
    pub fn acknowledge(&self, invite: &str, response: &str) {
        let asked = header(invite, "To").expect("a request with a To");
        let answered = header(response, "To").expect("a response with a To");
        let ack = invite
            .replacen("INVITE", "ACK", 1)
            .replace(" INVITE\r\n", " ACK\r\n")
            .replace(&format!("To: {asked}"), &format!("To: {answered}"));
        self.send(ack.as_bytes());
    }

    /// The next datagram that arrives before `end`.
    ///
    /// # Panics
    /// When the socket breaks.
    pub fn receive(&self, end: Instant) -> Option<String> {
        let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
        // The kernel rounds small time-outs to ticks and takes zero as "wait for ever".
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        self.socket.set_read_timeout(Some(left)).expect("a positive time-out");
        match self.socket.recv(&mut buffer) {
            Ok(length) => Some(String::from_utf8_lossy(&buffer[..length]).into_owned()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(error) => panic!("receive: {error}"),
        }
    }
}

/// The status code of a response; `None` for anything else.
#[must_use]
pub fn status(message: &str) -> Option<u16> {
    message.strip_prefix("SIP/2.0 ")?.get(..3)?.parse().ok()
}

/// The value of the first header with this name, in full form.
#[must_use]
pub fn header<'a>(message: &'a str, name: &str) -> Option<&'a str> {
    let head = message.split("\r\n\r\n").next()?;
    head.split("\r\n").skip(1).find_map(|line| {
        let (found, value) = line.split_once(':')?;
        found.trim().eq_ignore_ascii_case(name).then_some(value.trim())
    })
}
