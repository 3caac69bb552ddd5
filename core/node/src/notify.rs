//! What systemd is told: ready, reloading, stopping, and that every shard still turns.
//!
//! For: `Type=notify` and `WatchdogSec=` of the unit (sd_notify(3)).
//! Not here: what a unit says (`tuning/`).
//! Invariants: the watchdog is fed only after every shard has answered; without a service manager
//! nothing is said to anybody.

use crate::command::Command;
use crate::node::{Desk, Running};
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The service manager, if this process has one that listens.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    to: Option<Arc<(UnixDatagram, SocketAddr)>>,
    /// How long it waits for a sign of life.
    watchdog: Option<Duration>,
}

impl Notifier {
    /// As the environment says (`NOTIFY_SOCKET`, `WATCHDOG_USEC`, `WATCHDOG_PID`).
    ///
    /// # Errors
    /// When there is a service manager that cannot be told anything.
    pub fn from_environment() -> io::Result<Notifier> {
        let Some(place) = std::env::var_os("NOTIFY_SOCKET") else {
            return Ok(Notifier::default());
        };
        let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        let watchdog = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0);
        Notifier::new(place.as_bytes(), watchdog.map(Duration::from_micros))
    }

    fn new(place: &[u8], watchdog: Option<Duration>) -> io::Result<Notifier> {
        let address = match place.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(place))?,
        };
        let socket = UnixDatagram::unbound()?;
        // A manager that does not read must not hold anybody up.
        socket.set_nonblocking(true)?;
        Ok(Notifier { to: Some(Arc::new((socket, address))), watchdog })
    }

    fn tell(&self, state: &str) {
        if let Some((socket, address)) = self.to.as_deref() {
            // It misses one sign of life at worst.
            let _ = socket.send_to_addr(state.as_bytes(), address);
        }
    }

    /// The node answers.
    pub fn ready(&self, status: &str) {
        self.tell(&format!("READY=1\nSTATUS={status}"));
    }

    /// The configuration is being read again; `ready` ends it.
    pub fn reloading(&self) {
        let clock = nix::time::ClockId::CLOCK_MONOTONIC;
        let now = nix::time::clock_gettime(clock).map(Duration::from).unwrap_or_default();
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// The node takes nothing new.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=draining");
    }

    /// Feeds the watchdog from here on, if there is one, as long as the shards of `running` turn.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub fn watch(&self, running: &Running) -> io::Result<()> {
        self.watch_desks(running.desks.clone())
    }

    fn watch_desks(&self, desks: Vec<Desk>) -> io::Result<()> {
        let Some(span) = self.watchdog.filter(|_| self.to.is_some()) else { return Ok(()) };
        let own = self.clone();
        let feed = move || {
            loop {
                let begin = Instant::now();
                if all_turn(&desks, span) {
                    own.tell("WATCHDOG=1");
                }
                // Half of the time, as sd_watchdog_enabled(3) advises.
                std::thread::sleep((span / 2).saturating_sub(begin.elapsed()));
            }
        };
        std::thread::Builder::new().name("watchdog".to_owned()).spawn(feed).map(|_| ())
    }
}

/// Whether every shard says within this time that it turns.
fn all_turn(desks: &[Desk], within: Duration) -> bool {
    let (turn, turns) = flume::bounded(desks.len());
    desks.iter().for_each(|desk| desk.tell(Command::Tick(turn.clone())));
    let until = Instant::now() + within;
    desks.iter().all(|_| turns.recv_deadline(until).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell;
    use std::sync::mpsc;
    use strowger_sip::shard::ShardId;

    fn manager(name: &str) -> (UnixDatagram, Vec<u8>) {
        let name = format!("strowger-notify-{name}-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("an address");
        let socket = UnixDatagram::bind_addr(&address).expect("bound");
        socket.set_read_timeout(Some(Duration::from_secs(10))).expect("set");
        (socket, [b"@", name.as_bytes()].concat())
    }

    fn heard(socket: &UnixDatagram) -> Option<String> {
        let mut bytes = [0; 256];
        let length = socket.recv(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
    }

    #[test]
    fn it_says_what_sd_notify_says() {
        let (manager, place) = manager("words");
        let notifier = Notifier::new(&place, None).expect("made");
        notifier.ready("2 shards");
        notifier.reloading();
        notifier.stopping();
        assert_eq!(heard(&manager).as_deref(), Some("READY=1\nSTATUS=2 shards"));
        assert!(heard(&manager).is_some_and(|it| it.starts_with("RELOADING=1\nMONOTONIC_USEC=")));
        assert!(heard(&manager).is_some_and(|it| it.starts_with("STOPPING=1\n")));
        Notifier::default().ready("nobody listens");
    }

    #[test]
    fn the_watchdog_is_fed_only_while_every_shard_turns() {
        let (manager, place) = manager("watchdog");
        let span = Duration::from_millis(400);
        let notifier = Notifier::new(&place, Some(span)).expect("made");
        let (mut desks, mut shards) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            let (bell, chime) = doorbell::pair().expect("a pair");
            let (command, commands) = mpsc::channel();
            desks.push(Desk::new(command, Arc::new(bell)));
            shards.push((commands, chime));
        }
        notifier.watch_desks(desks).expect("a thread");
        // Both answer three times; then the second falls silent.
        for _ in 0..3 {
            for (id, (commands, _)) in (0..).map(ShardId).zip(&shards) {
                let Ok(Command::Tick(turn)) = commands.recv() else { panic!("no tick") };
                turn.send(id).expect("taken");
            }
            assert_eq!(heard(&manager).as_deref(), Some("WATCHDOG=1"));
        }
        manager.set_read_timeout(Some(span * 4)).expect("set");
        let answer_first = std::thread::spawn(move || {
            let (commands, _) = &shards[0];
            for _ in 0..2 {
                if let Ok(Command::Tick(turn)) = commands.recv() {
                    let _ = turn.send(ShardId(0));
                }
            }
            shards
        });
        assert_eq!(heard(&manager), None, "one shard does not turn");
        drop(answer_first.join());
    }
}
