//! A SIP peer by hand over TCP: a connection that sends what it is told, right or wrong.
//!
//! For: hostile streams and single requests whose answer is looked at.
//! Not here: calls (SIPp makes those); datagrams (`datagram.rs`).

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::datagram;

const READ_BYTES: usize = 65_536;

/// One connection, whoever opened it.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    /// What came and was not looked at.
    held: Vec<u8>,
    sent: u32,
    /// The sent-by of its requests.
    named: SocketAddr,
}

impl Connection {
    /// Connects to the proxy.
    ///
    /// # Panics
    /// When the proxy does not accept.
    #[must_use]
    pub fn open(proxy: SocketAddr) -> Self {
        Self::over(TcpStream::connect(proxy).expect("the proxy accepts"))
    }

    /// The next connection that somebody opens.
    ///
    /// # Panics
    /// When nobody has by `end`.
    #[must_use]
    pub fn accept(listener: &TcpListener, end: Instant) -> Self {
        Self::accept_before(listener, end).expect("nobody has connected")
    }

    /// The next connection that somebody opens before `end`.
    ///
    /// # Panics
    /// When the listener breaks.
    #[must_use]
    pub fn accept_before(listener: &TcpListener, end: Instant) -> Option<Self> {
        listener.set_nonblocking(true).expect("a listener can be told not to wait");
        loop {
            match listener.accept() {
                Ok((stream, _)) => return Some(Self::over(stream)),
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                    std::thread::sleep(Duration::from_millis(5));
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                Err(error) => panic!("accept: {error}"),
            }
        }
    }

    fn over(stream: TcpStream) -> Self {
        stream.set_nonblocking(false).expect("a stream can be told to wait");
        stream.set_nodelay(true).expect("a stream can be told not to gather");
        let named = stream.local_addr().expect("a connected socket has an address");
        Self { stream, held: Vec::new(), sent: 0, named }
    }

    /// Has its requests name this address in their Via.
    #[must_use]
    pub fn naming(self, named: SocketAddr) -> Self {
        Self { named, ..self }
    }

    /// A whole request with a fresh branch and Call-ID; `more` are header lines with their CRLF.
    #[must_use]
    pub fn request(&mut self, method: &str, uri: &str, more: &str) -> String {
        self.sent += 1;
        let (here, number) = (self.named, self.sent);
        let own = self.stream.local_addr().map_or(0, |own| own.port());
        format!(
            "{method} {uri} SIP/2.0\r\n\
             Via: SIP/2.0/TCP {here};branch=z9hG4bK-{own}-{number}\r\n\
             From: <sip:peer@{here}>;tag=peer-{number}\r\n\
             To: <{uri}>\r\n\
             Call-ID: {number}-{own}-tcp@127.0.0.1\r\n\
             CSeq: {number} {method}\r\n\
             Contact: <sip:peer@{here};transport=tcp>\r\n\
             {more}Content-Length: 0\r\n\r\n"
        )
    }

    /// Sends the bytes as they are.
    ///
    /// # Panics
    /// When the peer does not take them.
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the proxy takes what is sent");
    }

    /// Sends as much as the peer takes; `false` when it took all.
    pub fn send_if_taken(&mut self, bytes: &[u8], within: Duration) -> bool {
        // Zero would mean "for ever"; nobody passes it.
        let _ = self.stream.set_write_timeout(Some(within));
        self.stream.write_all(bytes).is_err()
    }

    /// The next message that arrives before `end`, cut as Content-Length says; answers to
    /// keep-alives are skipped.
    ///
    /// # Panics
    /// When what arrives is no message.
    pub fn receive(&mut self, end: Instant) -> Option<String> {
        loop {
            let blank = self.held.iter().take_while(|octet| b"\r\n".contains(octet)).count();
            self.held.drain(..blank);
            let text = String::from_utf8_lossy(&self.held).into_owned();
            if let Some(head) = text.find("\r\n\r\n") {
                let length = datagram::header(&text, "Content-Length").expect("a Content-Length");
                let length: usize = length.parse().expect("a number");
                let whole = head + 4 + length;
                if self.held.len() >= whole {
                    let message = self.held.drain(..whole).collect();
                    return Some(String::from_utf8(message).expect("text"));
                }
            }
            let arrived = self.read(end)?;
            if arrived == 0 {
                return None;
            }
        }
    }

    /// The final response to what was sent last.
    ///
    /// # Panics
    /// When none has come by `end`.
    pub fn answer(&mut self, end: Instant) -> String {
        while let Some(message) = self.receive(end) {
            if datagram::status(&message).is_some_and(|status| status >= 200) {
                return message;
            }
        }
        panic!("no final response; {} octets came", self.held.len());
    }

    /// Exactly these octets come next.
    ///
    /// # Panics
    /// When others come, or none.
    pub fn expect(&mut self, bytes: &[u8], end: Instant) {
        while self.held.len() < bytes.len() {
            assert!(self.read(end).is_some_and(|arrived| arrived > 0), "{:?}", self.held);
        }
        let came: Vec<u8> = self.held.drain(..bytes.len()).collect();
        assert_eq!(came, bytes);
    }

    /// Waits for the peer to close, throwing away what comes before.
    ///
    /// # Panics
    /// When it has not by `end`.
    pub fn expect_end(&mut self, end: Instant) {
        loop {
            match self.read(end) {
                Some(0) => return,
                Some(_) => {}
                None => panic!("the connection is still open"),
            }
        }
    }

    /// Ends the own side only.
    ///
    /// # Panics
    /// When the connection is gone.
    pub fn end(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the connection is open");
    }

    /// Breaks the connection: the system resets one that is closed with something left to read, and
    /// the answer to a keep-alive is left.
    ///
    /// # Panics
    /// When the keep-alive is not answered.
    pub fn reset(mut self) {
        self.send(b"\r\n\r\n");
        self.stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a positive time-out");
        assert_eq!(self.stream.peek(&mut [0]).expect("an answer"), 1);
    }

    /// Reads once: how much came, 0 at the end of the stream or when it broke, nothing in time.
    fn read(&mut self, end: Instant) -> Option<usize> {
        let left = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())?;
        self.stream.set_read_timeout(Some(left)).expect("a positive time-out");
        let mut buffer = vec![0; READ_BYTES];
        match self.stream.read(&mut buffer) {
            Ok(length) => {
                self.held.extend_from_slice(&buffer[..length]);
                Some(length)
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                None
            }
            Err(_) => Some(0),
        }
    }
}
