//! What `[tcp]` says, under Kamailio's names where it has them.
//!
//! For: the bounds of connections, their defaults and ranges.
//! Not here: what happens on reaching one (`streams.rs`, `outgoing.rs`, `accept.rs`).

use std::ops::RangeInclusive;
use std::time::Duration;
use strowger_sip::limits::{STREAM_HEAD_BYTES_MAX, STREAM_MESSAGE_BYTES_MAX};
use strowger_sip::settings::{Section, Unit};
use strowger_sip::time::{ms, secs};

/// What `[tcp]` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamSettings {
    /// Connections of the whole node; each shard has its share.
    pub connections_max: usize,
    /// Connections that one shard accepts from one address.
    pub source_max: usize,
    /// How long a connection may be idle.
    pub lifetime: Duration,
    /// How long a peer may take to accept a connection.
    pub connect_timeout: Duration,
    /// How long a peer may take nothing of what waits for it.
    pub send_timeout: Duration,
    /// How long a begun message may take to arrive.
    pub message_timeout: Duration,
    /// How long a peer may be silent after it has connected.
    pub data_timeout: Duration,
    /// Longest message, in bytes.
    pub message_bytes_max: usize,
    /// Bytes that may wait for one connection's peer.
    pub queue_bytes_max: usize,
    /// Bytes that may wait for all peers of one shard.
    pub queues_bytes_max: usize,
    /// Connections that the kernel accepts ahead of a shard.
    pub backlog: i32,
}

impl Default for StreamSettings {
    /// Kamailio's values where they are good ones. More connections, for a table costs little; more
    /// bytes a connection, for a burst to a trunk; 4 s to connect, after which a caller still
    /// waits.
    fn default() -> StreamSettings {
        StreamSettings {
            connections_max: 100_000,
            source_max: 4096,
            lifetime: secs(120),
            connect_timeout: secs(4),
            send_timeout: secs(10),
            message_timeout: secs(20),
            data_timeout: secs(20),
            message_bytes_max: STREAM_MESSAGE_BYTES_MAX,
            queue_bytes_max: 256 << 10,
            queues_bytes_max: 64 << 20,
            backlog: 1024,
        }
    }
}

impl StreamSettings {
    /// Reads `[tcp]`.
    pub(crate) fn read(section: &mut Section<'_>) -> StreamSettings {
        let default = StreamSettings::default();
        let mut number = |key, default: usize, allowed: RangeInclusive<u64>| {
            let number = section.integer_if_set(key, allowed);
            number.and_then(|number| usize::try_from(number).ok()).unwrap_or(default)
        };
        let head = u64::try_from(STREAM_HEAD_BYTES_MAX).unwrap_or(u64::MAX);
        let message = u64::try_from(STREAM_MESSAGE_BYTES_MAX).unwrap_or(u64::MAX);
        let connections_max =
            number("tcp_max_connections", default.connections_max, 1..=10_000_000);
        let source_max =
            number("tcp_max_connections_per_source", default.source_max, 1..=10_000_000);
        let message_bytes_max =
            number("tcp_rd_buf_size", default.message_bytes_max, head..=message);
        let queue_bytes_max = number("tcp_conn_wq_max", default.queue_bytes_max, head..=(1 << 30));
        let queues_bytes_max = number("tcp_wq_max", default.queues_bytes_max, head..=(1 << 34));
        let backlog = number("tcp_listen_backlog", 1024, 1..=65_535);
        let mut time =
            |key, default| section.duration(key, default, ms(100)..=secs(86_400), Unit::Seconds);
        StreamSettings {
            connections_max,
            source_max,
            lifetime: time("tcp_connection_lifetime", default.lifetime),
            connect_timeout: time("tcp_connect_timeout", default.connect_timeout),
            send_timeout: time("tcp_send_timeout", default.send_timeout),
            message_timeout: time("tcp_msg_read_timeout", default.message_timeout),
            data_timeout: time("tcp_msg_data_timeout", default.data_timeout),
            message_bytes_max,
            queue_bytes_max,
            queues_bytes_max,
            backlog: i32::try_from(backlog).unwrap_or(default.backlog),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn read(text: &str) -> (StreamSettings, String) {
        let (configuration, problems) = config::parse("t.toml", text);
        assert!(problems.is_empty(), "{problems}");
        let (settings, problems) =
            configuration.read(|root| StreamSettings::read(&mut root.section("tcp")));
        (settings, problems.to_string())
    }

    #[test]
    fn kamailios_names_and_seconds() {
        assert_eq!(read(""), (StreamSettings::default(), String::new()));
        let (settings, problems) = read(
            "[tcp]\ntcp_max_connections = 7\ntcp_max_connections_per_source = 3\n\
             tcp_connection_lifetime = 30\ntcp_connect_timeout = \"500ms\"\n\
             tcp_send_timeout = 5\ntcp_msg_read_timeout = 6\ntcp_msg_data_timeout = 8\n\
             tcp_rd_buf_size = 100000\ntcp_conn_wq_max = 100000\ntcp_wq_max = 200000\n\
             tcp_listen_backlog = 9\n",
        );
        assert_eq!(problems, "");
        let expected = StreamSettings {
            connections_max: 7,
            source_max: 3,
            lifetime: secs(30),
            connect_timeout: ms(500),
            send_timeout: secs(5),
            message_timeout: secs(6),
            data_timeout: secs(8),
            message_bytes_max: 100_000,
            queue_bytes_max: 100_000,
            queues_bytes_max: 200_000,
            backlog: 9,
        };
        assert_eq!(settings, expected);
    }

    #[test]
    fn what_is_out_of_range_is_reported() {
        let (settings, problems) = read("[tcp]\ntcp_send_timeout = 0\ntcp_rd_buf_size = 4096\n");
        assert_eq!(settings, StreamSettings::default());
        assert_eq!(problems.lines().count(), 2, "{problems}");
    }
}
