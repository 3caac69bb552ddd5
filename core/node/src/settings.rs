//! What `[node]`, `[udp]`, `[tcp]`, `[mesh]` and `[dns]` say.
//!
//! For: the keys of the edge, their defaults and ranges.
//! Not here: reading files (`config.rs`); the sections of engine, modules and routing (their
//! readers).

use crate::http::ControlSettings;
use crate::log::LogSettings;
use crate::mesh::MeshSettings;
use crate::resolve::settings::DnsSettings;
use crate::secret::SECRET_CHARACTERS_MIN;
use crate::storage::StorageSettings;
use crate::stream::StreamSettings;
use crate::udp::UdpSettings;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use strowger_sip::limits::UDP_MTU;
use strowger_sip::settings::{Section, Text, Unit};
use strowger_sip::time::secs;
use strowger_sip::transport::Transport;

/// Shards of one node at most; a guess well above the cores of a machine.
const SHARDS_MAX: u64 = 1024;
/// Listeners of one node at most. A guess.
const LISTENERS_MAX: usize = 64;
/// 64*T1 with which a finished transaction lingers (RFC 3261 §17), and some to spare.
const DRAIN_TIMEOUT: Duration = secs(40);
const LISTEN_ALLOWED: &str = "\"udp:ADDRESS:PORT\" or \"tcp:ADDRESS:PORT\", \
                              \"advertise HOST[:PORT]\" after it, ADDRESS numeric, for example \
                              \"udp:192.0.2.1:5060\" or \"tcp:[2001:db8::1]:5060\"";
const ADVERTISE_ALLOWED: &str = "HOST or HOST:PORT, for example \"sip.example.com\"";

/// One address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// The protocol: UDP or TCP.
    pub transport: Transport,
    /// The address; port 0 lets the kernel choose.
    pub address: SocketAddr,
    /// `host[:port]` to write into messages instead, if configured.
    pub advertise: Option<String>,
}

impl Listen {
    /// What is written into Via and Record-Route, once the port is known.
    pub fn advertised(&self, bound: SocketAddr) -> String {
        match &self.advertise {
            Some(host) if has_port(host) => host.clone(),
            Some(host) => format!("{host}:{}", bound.port()),
            None => bound.to_string(),
        }
    }
}

/// Everything that the edge is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeSettings {
    /// Where to listen; not empty.
    pub listen: Vec<Listen>,
    /// How many shards; at least 1.
    pub shards: u16,
    /// The cores to pin them to, in order; empty for the first ones that are allowed.
    pub cores: Vec<usize>,
    /// Whether the listener that sends is chosen by the host's networks.
    pub mhomed: bool,
    /// How long running transactions may take to finish at a stop.
    pub drain_timeout: Duration,
    /// `secret`: what is sealed for others and must be readable after a restart.
    pub secret: Option<String>,
    /// `secret_file`: where it is kept instead; made at the first start.
    pub secret_file: Option<PathBuf>,
    /// `[udp]`.
    pub udp: UdpSettings,
    /// The longest request that is sent over UDP while TCP can be tried; none when it is not tried.
    pub udp_mtu: Option<usize>,
    /// `[tcp]`.
    pub tcp: StreamSettings,
    /// `[mesh]`.
    pub mesh: MeshSettings,
    /// `[dns]`.
    pub dns: DnsSettings,
    /// `[control]`; none when nobody may ask over HTTP.
    pub control: Option<ControlSettings>,
    /// `[log]`.
    pub log: LogSettings,
    /// `[storage]`; none when everything is kept in memory alone.
    pub storage: Option<StorageSettings>,
}

impl NodeSettings {
    /// Reads `[node]`, `[udp]`, `[tcp]`, `[mesh]`, `[dns]`, `[log]` and `[storage]`.
    pub fn read(root: &mut Section<'_>) -> NodeSettings {
        let (udp, udp_mtu) = read_udp(&mut root.section("udp"));
        let tcp = StreamSettings::read(&mut root.section("tcp"));
        let mesh = read_mesh(&mut root.section("mesh"));
        let dns = DnsSettings::read(&mut root.section("dns"));
        let storage = StorageSettings::read(&mut root.section("storage"));
        let control = ControlSettings::read(&mut root.section("control"));
        let log = LogSettings::read(&mut root.section("log"));
        let mut node = root.section("node");
        let advertise = node.parsed("advertise", |text| parse_advertise(text).map(str::to_owned));
        let listen = read_listen(&mut node, advertise.as_deref());
        let cores: Vec<usize> = node
            .integers("cores", 0..=4095)
            .unwrap_or_default()
            .into_iter()
            .filter_map(|core| usize::try_from(core).ok())
            .collect();
        let default = if cores.is_empty() {
            std::thread::available_parallelism().map_or(1, usize::from)
        } else {
            cores.len()
        };
        let default = u64::try_from(default).unwrap_or(1).min(SHARDS_MAX);
        let shards = node.integer("shards", default, 1..=SHARDS_MAX);
        let drain_timeout =
            node.duration("drain_timeout", DRAIN_TIMEOUT, secs(0)..=secs(86_400), Unit::Seconds);
        let shards = u16::try_from(shards).unwrap_or(1);
        let mhomed = node.switch("mhomed", false);
        let secret = read_secret(&mut node);
        let secret_file = node.string("secret_file").map(PathBuf::from);
        NodeSettings {
            listen,
            shards,
            cores,
            mhomed,
            drain_timeout,
            secret,
            secret_file,
            udp,
            udp_mtu,
            tcp,
            mesh,
            dns,
            control,
            log,
            storage,
        }
    }
}

fn read_secret(node: &mut Section<'_>) -> Option<String> {
    let text = node.text("secret")?;
    if text.value.len() >= SECRET_CHARACTERS_MIN {
        return Some(text.value);
    }
    let allowed = format!("at least {SECRET_CHARACTERS_MIN} characters that nobody guesses");
    // What was written has no place in what is printed about it.
    node.problem_at(text.place, "secret", "too short", &allowed);
    None
}

fn read_udp(section: &mut Section<'_>) -> (UdpSettings, Option<usize>) {
    let default = UdpSettings::default();
    let mut bytes = |key, default: usize| {
        // The kernel takes a signed 32-bit number and doubles it.
        read_size(section, key, default, 4096..=(1 << 30))
    };
    let settings = UdpSettings {
        receive_buffer: bytes("receive_buffer", default.receive_buffer),
        send_buffer: bytes("send_buffer", default.send_buffer),
        // Each costs 64 KiB of every shard; the kernel takes 1024 at most.
        batch: read_size(section, "batch", default.batch, 1..=1024),
    };
    // Kamailio's names; there, 0 is the default, and neither is tried.
    let mtu = read_size(section, "udp_mtu", UDP_MTU, 0..=65_535);
    let tries_tcp = section.choice("udp_mtu_try_proto", true, &[("tcp", true), ("udp", false)]);
    (settings, (tries_tcp && mtu > 0).then_some(mtu))
}

fn read_mesh(section: &mut Section<'_>) -> MeshSettings {
    let default = MeshSettings::default();
    MeshSettings { capacity: read_size(section, "capacity", default.capacity, 1..=65_536) }
}

fn read_size(
    section: &mut Section<'_>,
    key: &'static str,
    default: usize,
    allowed: std::ops::RangeInclusive<u64>,
) -> usize {
    let number = section.integer_if_set(key, allowed);
    number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
}

fn read_listen(node: &mut Section<'_>, advertise: Option<&str>) -> Vec<Listen> {
    let Some(texts) = node.strings("listen") else {
        let address = SocketAddr::from(([127, 0, 0, 1], 5060));
        let (transport, advertise) = (Transport::Udp, advertise.map(str::to_owned));
        return vec![Listen { transport, address, advertise }];
    };
    if texts.is_empty() || texts.len() > LISTENERS_MAX {
        let allowed = format!("1 to {LISTENERS_MAX} addresses, {LISTEN_ALLOWED}");
        node.problem("listen", format_args!("{} addresses", texts.len()), &allowed);
        return Vec::new();
    }
    let mut listen: Vec<Listen> = Vec::with_capacity(texts.len());
    for text in &texts {
        let Some(one) = read_one(node, text, advertise) else { continue };
        let same =
            |other: &Listen| (other.transport, other.address) == (one.transport, one.address);
        if one.address.port() != 0 && listen.iter().any(same) {
            let what = format!("{:?} is listed twice", text.value);
            node.problem_at(text.place, "listen", what, "each address once");
            continue;
        }
        listen.push(one);
    }
    listen
}

fn read_one(node: &mut Section<'_>, text: &Text, advertise: Option<&str>) -> Option<Listen> {
    let listen = match parse_listen(&text.value) {
        Ok(listen) => listen,
        Err(what) => {
            node.problem_at(text.place, "listen", what, LISTEN_ALLOWED);
            return None;
        }
    };
    let advertise = listen.advertise.or_else(|| advertise.map(str::to_owned));
    if listen.address.ip().is_unspecified() && advertise.is_none() {
        let what = format!("{} cannot be written into messages", listen.address.ip());
        let allowed = "advertise HOST after the address, or [node] advertise = \"HOST\"";
        node.problem_at(text.place, "listen", what, allowed);
    }
    Some(Listen { advertise, ..listen })
}

/// Reads `udp:ADDRESS:PORT` or `tcp:ADDRESS:PORT`, with `advertise HOST[:PORT]` after it as
/// Kamailio's `listen` has it.
fn parse_listen(text: &str) -> Result<Listen, String> {
    let mut words = text.split_whitespace();
    let first = words.next().unwrap_or_default();
    let (transport, address) = first.split_once(':').unwrap_or((first, ""));
    let transport = match Transport::from_name(transport.as_bytes()) {
        Some(transport @ (Transport::Udp | Transport::Tcp)) => transport,
        Some(other @ (Transport::Tls | Transport::Ws | Transport::Wss)) => {
            return Err(format!("{other} is not there yet"));
        }
        None => return Err(format!("{text:?} does not begin with a transport")),
    };
    let address: SocketAddr =
        address.parse().map_err(|_| format!("{address:?} is not an address with a port"))?;
    let advertise = match (words.next(), words.next(), words.next()) {
        (None, None, None) => None,
        (Some("advertise"), Some(host), None) => {
            Some(parse_advertise(host).map_err(|_| format!("{host:?} is not a host"))?.to_owned())
        }
        (_, _, _) => return Err(format!("{text:?} has words that are not understood")),
    };
    Ok(Listen { transport, address, advertise })
}

/// Accepts `host`, `host:port`, `192.0.2.1`, `[2001:db8::1]:5060`.
fn parse_advertise(text: &str) -> Result<&str, String> {
    let allowed = || ADVERTISE_ALLOWED.to_owned();
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if has_port(text) => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_ok_and(|port| port == 0) || port.is_empty()) {
        return Err(allowed());
    }
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return Err(allowed());
    }
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let good = match bracketed {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let octet = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.';
            !host.is_empty() && host.chars().all(octet)
        }
    };
    if good { Ok(text) } else { Err(allowed()) }
}

/// A colon that is not inside brackets begins a port.
fn has_port(host: &str) -> bool {
    host.rsplit_once(']').map_or(host, |(_, after)| after).contains(':')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> (NodeSettings, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) = configuration.read(NodeSettings::read);
        (settings, problems.to_string())
    }

    #[test]
    fn without_a_word_it_listens_on_loopback() {
        let (settings, problems) = read("");
        assert_eq!(problems, "");
        assert_eq!(settings.listen.len(), 1);
        assert_eq!(settings.listen[0].address.to_string(), "127.0.0.1:5060");
        assert_eq!(settings.drain_timeout, secs(40));
        assert!(settings.shards >= 1);
    }

    #[test]
    fn everything_can_be_set() {
        let (settings, problems) = read(
            "[node]\nlisten = [\"udp:127.0.0.1:5070\", \
             \"tcp:[::1]:5070 advertise sip.example.com\"]\n\
             advertise = \"192.0.2.9:5099\"\ncores = [1, 0]\ndrain_timeout = \"5s\"\n\
             [udp]\nreceive_buffer = 1000000\nsend_buffer = 500000\nbatch = 8\nudp_mtu = 1200\n\
             [tcp]\ntcp_max_connections = 50\n\
             [mesh]\ncapacity = 16\n",
        );
        assert_eq!(problems, "");
        assert_eq!((settings.shards, settings.cores), (2, vec![1, 0]));
        let bound = "127.0.0.1:5070".parse().expect("an address");
        let advertised: Vec<String> =
            settings.listen.iter().map(|listen| listen.advertised(bound)).collect();
        assert_eq!(advertised, ["192.0.2.9:5099", "sip.example.com:5070"]);
        assert_eq!((settings.udp.batch, settings.udp_mtu), (8, Some(1200)));
        assert_eq!(settings.tcp.connections_max, 50);
        let transports: Vec<Transport> = settings.listen.iter().map(|l| l.transport).collect();
        assert_eq!(transports, [Transport::Udp, Transport::Tcp]);
        assert_eq!(settings.mesh.capacity, 16);
    }

    #[test]
    fn every_mistake_is_reported_with_its_line() {
        let (_, problems) = read(
            "[node]\nlisten = [\"udp:127.0.0.1:5060\",\n \"udp:localhost:5060\",\n \
             \"tls:127.0.0.1:1\",\n \
             \"udp:0.0.0.0:5060\",\n \"udp:127.0.0.1:5060\"]\nshards = 0\nadvertise = \"a b\"\n\
             [udp]\nbtach = 4\n[mesh]\ncapacity = \"x\"\n[nodes]\n",
        );
        let lines: Vec<&str> =
            problems.lines().filter_map(|line| line.split(": ").next()).collect();
        let expected = ["3", "4", "5", "6", "7", "8", "10", "12", "13"];
        assert_eq!(lines, expected.map(|line| format!("t.toml:{line}")), "{problems}");
        assert!(problems.contains("did you mean \"batch\"?"), "{problems}");
        assert!(problems.contains("did you mean [node]?"), "{problems}");
    }

    #[test]
    fn hosts_to_advertise() {
        for good in ["sip.example.com", "192.0.2.1:5060", "[2001:db8::1]", "[2001:db8::1]:5061"] {
            assert_eq!(parse_advertise(good), Ok(good));
        }
        for bad in ["", "a b", "host:", "host:0", "host:70000", "2001:db8::1", "[::g]", "h\r\nVia:"]
        {
            assert!(parse_advertise(bad).is_err(), "{bad:?}");
        }
    }
}
