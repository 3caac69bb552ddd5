//! `strowger tune`: what the configuration says about the host, for `strowger_tuning`.
//!
//! For: the shard map, the ports and the connections that are planned.
//! Not here: the knobs (`tuning/`).

use std::process::ExitCode;
use strowger_node::kernel;
use strowger_node::settings::NodeSettings;
use strowger_sip::transport::Transport;
use strowger_tuning::{Plan, Task};

/// Files beside connections: sockets, rings, databases. A guess.
const FILES_BESIDE: u64 = 256;

/// Does it, for a node with these settings.
pub(crate) fn run(task: &Task, node: &NodeSettings) -> ExitCode {
    let udp = node.listen.iter().filter(|listen| listen.transport == Transport::Udp);
    let mut ports: Vec<u16> = udp.map(|listen| listen.address.port()).collect();
    ports.retain(|port| *port != 0);
    ports.sort_unstable();
    ports.dedup();
    let connections = u64::try_from(node.tcp.connections_max).unwrap_or(u64::MAX);
    let plan = Plan {
        shards: usize::from(node.shards),
        cores: node.cores.clone(),
        ports,
        ring: || kernel::check().map_err(|refusal| refusal.to_string()),
        open_files: connections.saturating_add(FILES_BESIDE),
        ..Plan::default()
    };
    strowger_tuning::run(task, plan)
}
