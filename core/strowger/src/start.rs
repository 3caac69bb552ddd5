//! From a command line to a running node, or to a list of everything that is wrong.
//!
//! For: reading every section once before a socket is bound, then once more on each shard.
//! Not here: what the sections hold (their readers), running (`strowger_node`).
//! Invariants: a bad configuration binds nothing and ends with status 78.

use crate::arguments::{Action, Arguments};
use crate::{db, manual, remote, tm, tune};
use std::io;
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use strowger_node::control::{self, Order, Unanswered, say};
use strowger_node::http::{self, ControlSettings, Facts};
use strowger_node::lists::Lists;
use strowger_node::log::{self, LogSettings};
use strowger_node::node::{Node, Running, Seat};
use strowger_node::notify::Notifier;
use strowger_node::reload::Renewal;
use strowger_node::{config, interfaces, secret, settings::NodeSettings, storage};
use strowger_sip::date::Epoch;
use strowger_sip::engine::{Engine, RowOf, Settings, Setup};
use strowger_sip::module::{ConfiguredModules, NodeFacts};
use strowger_sip::routing::Routing;
use strowger_sip::settings::{Configuration, Problems, Section};
use strowger_sip::shard::ShardMap;
use strowger_sip::storage::Rows;
use strowger_sip::transport::{Listeners, Transport};

/// Exit status for a bad configuration (sysexits.h, EX_CONFIG).
pub const EXIT_CONFIGURATION: u8 = 78;
/// Exit status for a command line that cannot be carried out (sysexits.h, EX_USAGE).
pub(crate) const EXIT_USAGE: u8 = 64;
/// Exit status for what the system refuses: an address, a ring (sysexits.h, EX_OSERR).
pub const EXIT_SYSTEM: u8 = 71;
/// Exit status for a fault of our own (sysexits.h, EX_SOFTWARE).
const EXIT_SOFTWARE: u8 = 70;
/// What a routing reads for itself can change live, for new requests get a new routing; `domains`
/// cannot, for it is read into the engine.
const STOCK_LIVE: &[&str] = &[
    "caller_limit",
    "dialog",
    "nat",
    "next_hop",
    "path",
    "realm",
    "registrar",
    "rules",
    "trunk",
    "trunk_algorithm",
    "trunk_set",
    "trusted_group",
    "uac_auth",
    "uac_from",
    "uac_registrations",
    "uac_trunk",
];

/// Runs a routing as the command line says: the whole of a binary's `main`.
///
/// `from_config` makes the routing from `[routing]`. It is called once to find mistakes, and once
/// on each shard, for every shard has a routing of its own.
pub fn main<R, F>(from_config: F) -> ExitCode
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
    F: Fn(&mut Section<'_>) -> R + Send + Sync + 'static,
{
    start(&Arguments::from_command_line(), from_config)
}

/// The same, for a binary with arguments of its own.
pub fn start<R, F>(arguments: &Arguments, from_config: F) -> ExitCode
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
    F: Fn(&mut Section<'_>) -> R + Send + Sync + 'static,
{
    if let Some(ended) = before_reading(arguments) {
        return ended;
    }
    let (mut configuration, mut problems) = match &arguments.file {
        Some(path) => config::read_file(path),
        None => (Configuration::empty("configuration"), Problems::new("configuration")),
    };
    arguments.apply(&mut configuration);
    let (mut read, found) = configuration.read(|root| Read::all(root, &from_config));
    found.sorted().into_iter().for_each(|problem| problems.add(problem.clone()));
    if !problems.is_empty() {
        eprint!("{problems}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    if let Some(ended) = asking(arguments, read.node.control.as_ref()) {
        return ended;
    }
    // What is wrong with the sections themselves has been reported.
    let (lists, _) = configuration.read(R::Modules::lists);
    if let Some(storage) = &mut read.node.storage {
        let (tables, _) = configuration.read(storage::configured_tables::<RowOf<R>>);
        storage.tables = Some(tables);
    }
    let lists = Lists::new(lists, &configuration.source, arguments.file.as_deref());
    if let Err(faults) = lists.check_files::<RowOf<R>>() {
        eprintln!("{faults}");
        return ExitCode::from(EXIT_CONFIGURATION);
    }
    match &arguments.action {
        Some(Action::Check) => {
            say(&format!("{}: good", configuration.source));
            ExitCode::SUCCESS
        }
        Some(Action::Db { task }) => db::run(read.node.storage.as_ref(), *task),
        Some(Action::Tune { task }) => tune::run(task, &read.node),
        Some(_) | None => {
            let is_default = arguments.file.is_none() && !arguments.says_where_to_listen();
            run(arguments, configuration, read, (lists, is_default), from_config)
        }
    }
}

/// What needs no configuration: how it ended, if it was that.
fn before_reading(arguments: &Arguments) -> Option<ExitCode> {
    match arguments.action.as_ref()? {
        Action::Completions { shell } => Some(manual::completions(arguments.command(), *shell)),
        Action::Man { folder } => Some(manual::pages(arguments.command(), folder)),
        Action::New(wanted) => Some(wanted.run()),
        Action::Run
        | Action::Check
        | Action::Db { .. }
        | Action::Rpc { .. }
        | Action::Top { .. }
        | Action::Reload { .. }
        | Action::Tune { .. } => None,
    }
}

/// What is asked of a node that runs: how it ended, if it was that.
fn asking(arguments: &Arguments, control: Option<&ControlSettings>) -> Option<ExitCode> {
    let whom = arguments.whom();
    match arguments.action.as_ref()? {
        Action::Rpc { name, arguments, json } => {
            Some(remote::rpc(&whom, control, (name, arguments, *json)))
        }
        Action::Top { once } => Some(remote::top(&whom, control, *once)),
        Action::Reload { dry_run, json } => Some(remote::reload(&whom, control, (*dry_run, *json))),
        Action::Run
        | Action::Check
        | Action::Db { .. }
        | Action::Completions { .. }
        | Action::Man { .. }
        | Action::New(_)
        | Action::Tune { .. } => None,
    }
}

/// What all sections say, but for the routing, which each shard reads for itself.
pub(crate) struct Read {
    pub(crate) node: NodeSettings,
    pub(crate) engine: Settings,
}

impl Read {
    pub(crate) fn all<R>(
        root: &mut Section<'_>,
        from_config: &impl Fn(&mut Section<'_>) -> R,
    ) -> Read
    where
        R: Routing,
        R::Modules: ConfiguredModules,
    {
        let node = NodeSettings::read(root);
        let mut engine = tm::read(root);
        engine.udp_mtu = node.udp_mtu;
        let mut routing = root.section("routing");
        engine.aliases = read_domains(&mut routing);
        drop(from_config(&mut routing));
        drop(routing);
        drop(R::Modules::configured(root, &facts_to_check(node.storage.is_some())));
        Read { node, engine }
    }
}

/// What modules are told while their sections are only checked.
fn facts_to_check(has_storage: bool) -> NodeFacts<'static> {
    let epoch = Epoch::new(0);
    NodeFacts { name: "check", secret: b"check", lasting_secret: b"check", has_storage, epoch }
}

/// Unix time as this process starts.
fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// `domains`: hosts by which this node is known beside its own addresses.
fn read_domains(section: &mut Section<'_>) -> Vec<String> {
    let mut domains = Vec::new();
    for text in section.strings("domains").unwrap_or_default() {
        let is_host =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | ':' | '[' | ']');
        if text.value.is_empty() || !text.value.chars().all(is_host) {
            let allowed = "HOST or HOST:PORT, for example \"example.com\"";
            let what = format!("{:?} is not a domain", text.value);
            section.problem_at(text.place, "domains", what, allowed);
            continue;
        }
        domains.push(text.value);
    }
    domains
}

fn run<R, F>(
    arguments: &Arguments,
    configuration: Configuration,
    read: Read,
    (lists, is_default): (Lists, bool),
    from_config: F,
) -> ExitCode
where
    R: Routing,
    R::Modules: ConfiguredModules,
    RowOf<R>: Rows,
    F: Fn(&mut Section<'_>) -> R + Send + Sync + 'static,
{
    control::die_on_panic();
    let Read { node, mut engine } = read;
    let (drain_timeout, shards) = (node.drain_timeout, node.shards);
    let plane = node.control.clone();
    let (order, orders) = match begin(node.log) {
        Ok(orders) => orders,
        Err(cause) => return refuse(cause),
    };
    engine.unix_start = unix_now();
    match node.mhomed.then(interfaces::read).transpose() {
        Ok(found) => engine.interfaces = found,
        Err(cause) => return refuse(format!("cannot list the host's addresses: {cause}")),
    }
    let has_storage = node.storage.is_some();
    let lasting = match secret::lasting(&node) {
        Ok(lasting) => lasting,
        Err(cause) => return refuse(cause.to_string()),
    };
    let node = match Node::bind(node) {
        Ok(node) => node,
        Err(cause) => return refuse(cause.to_string()),
    };
    node.notices().iter().for_each(|notice| say(&format!("note: {notice}")));
    let listeners = node.listeners().clone();
    let facts = Facts { aliases: engine.aliases.clone(), orders: order };
    let from_config = Arc::new(from_config);
    let current = Arc::new(Mutex::new(Arc::new(configuration)));
    let renewal =
        renewal::<R, F>(arguments.clone(), Arc::clone(&current), Arc::clone(&from_config));
    let make = move |seat: Seat| {
        let lasting = (lasting.as_deref(), has_storage);
        let configuration = Arc::clone(&current.lock().unwrap_or_else(PoisonError::into_inner));
        seated(&configuration, seat, engine.clone(), lasting, &*from_config)
    };
    let mut running = match node.start_with(lists, make) {
        Ok(running) => running,
        Err(cause) if cause.is_configuration() => {
            eprintln!("strowger: {cause}");
            return ExitCode::from(EXIT_CONFIGURATION);
        }
        Err(cause) => return refuse(cause.to_string()),
    };
    running.renew_by(renewal);
    if let Err(cause) = plane.map_or(Ok(()), |plane| open_control(&running, &plane, facts)) {
        return refuse(format!("control plane: {cause}"));
    }
    welcome(&listeners, shards, is_default);
    match tell_manager(&running) {
        Ok(notifier) => supervise(running, &orders, drain_timeout, &notifier),
        Err(cause) => refuse(format!("NOTIFY_SOCKET: {cause}")),
    }
}

fn refuse(cause: String) -> ExitCode {
    eprintln!("strowger: {cause}");
    ExitCode::from(EXIT_SYSTEM)
}

/// The log, and signals before anything else runs, so that none is missed.
fn begin(log: LogSettings) -> Result<(Sender<Order>, Receiver<Order>), String> {
    log::start(log).map_err(|cause| format!("cannot write to the journal: {cause}"))?;
    control::orders_from_signals().map_err(|cause| format!("cannot receive signals: {cause}"))
}

fn supervise(
    running: Running,
    orders: &Receiver<Order>,
    drain_timeout: Duration,
    notifier: &Notifier,
) -> ExitCode {
    let ended = control::supervise(running, orders, drain_timeout, notifier);
    let status = ended.map_or_else(give_up, |()| ExitCode::SUCCESS);
    log::finish();
    status
}

/// The service manager, and its watchdog fed.
fn tell_manager(running: &Running) -> io::Result<Notifier> {
    let notifier = Notifier::from_environment()?;
    notifier.watch(running)?;
    Ok(notifier)
}

/// How a node that runs comes by a changed configuration.
fn renewal<R, F>(
    arguments: Arguments,
    current: Arc<Mutex<Arc<Configuration>>>,
    from_config: Arc<F>,
) -> Renewal
where
    R: Routing,
    R::Modules: ConfiguredModules,
    F: Fn(&mut Section<'_>) -> R + Send + Sync + 'static,
{
    let check = move |configuration: &Configuration| {
        let (_, problems) = configuration.read(|root| Read::all(root, &*from_config));
        if problems.is_empty() { Ok(()) } else { Err(problems.to_string()) }
    };
    let check = Arc::new(check);
    let checked = Arc::clone(&check);
    let read = move || {
        let (mut configuration, problems) = match &arguments.file {
            Some(path) => config::read_file(path),
            None => (Configuration::empty("configuration"), Problems::new("configuration")),
        };
        if !problems.is_empty() {
            return Err(problems.to_string());
        }
        arguments.apply(&mut configuration);
        checked(&configuration)?;
        Ok(configuration)
    };
    let mut live = R::Modules::live();
    live.extend([("routing", STOCK_LIVE), ("overload", &["*"][..]), ("log", &["level"][..])]);
    Renewal {
        read: Box::new(read),
        check: Box::new(move |configuration| check(configuration)),
        current,
        live,
        apply: Box::new(|configuration| {
            let log = |root: &mut Section<'_>| LogSettings::read(&mut root.section("log"));
            log::set_level(configuration.read(log).0.level);
        }),
    }
}

fn give_up(unanswered: Unanswered) -> ExitCode {
    eprintln!("strowger: {unanswered}; not waiting for the others");
    ExitCode::from(EXIT_SOFTWARE)
}

fn open_control(running: &Running, settings: &ControlSettings, facts: Facts) -> io::Result<()> {
    let place = http::start(running, settings, facts)?;
    say(&format!("control plane on {place}"));
    Ok(())
}

/// How this run of the node is called in ids: another one, and another node, has another name.
fn name_of(map: ShardMap) -> String {
    let bytes = map.derive("name").first_chunk().copied().unwrap_or_default();
    format!("{:08x}", u32::from_be_bytes(bytes))
}

/// The engine of one shard, its routing and modules read from the configuration once more.
pub(crate) fn seated<R>(
    configuration: &Configuration,
    Seat { shard, map, listeners, seed }: Seat,
    settings: Settings,
    (lasting, has_storage): (Option<&[u8]>, bool),
    from_config: &impl Fn(&mut Section<'_>) -> R,
) -> Engine<R>
where
    R: Routing,
    R::Modules: ConfiguredModules,
{
    let start = u64::try_from(settings.unix_start.as_micros()).unwrap_or(0);
    let fleeting = map.derive("lasting");
    let facts = NodeFacts {
        name: &name_of(map),
        secret: &map.derive("modules"),
        has_storage,
        lasting_secret: lasting.unwrap_or(&fleeting),
        epoch: Epoch::new(start),
    };
    let ((routing, modules), _) = configuration.read(|root| {
        let routing = from_config(&mut root.section("routing"));
        (routing, R::Modules::configured(root, &facts))
    });
    Engine::new(Setup { shard, map, listeners, seed, settings, routing, modules })
}

fn welcome(listeners: &Listeners, shards: u16, is_default: bool) {
    for (_, listener) in listeners.iter() {
        say(&format!("listening on {}:{}", listener.transport, listener.bound));
    }
    let Some((_, first)) = listeners.iter().next().filter(|_| is_default) else {
        return say(&format!("ready, shards: {shards}"));
    };
    let transport = match first.transport {
        Transport::Udp => String::new(),
        other @ (Transport::Tcp | Transport::Tls | Transport::Ws | Transport::Wss) => {
            format!(";transport={other}")
        }
    };
    say(&format!(
        "ready, shards: {shards}; reach it from this machine as sip:{}{transport}",
        first.bound
    ));
    say(
        "open it up with --listen udp:ADDRESS:5060 (your interface's address), or with a file: -f \
         strowger.toml",
    );
}
