//! Lines for the operator: text, JSON or the journal, by a queue that nobody waits for.
//!
//! For: `[log]`, the level at run time, the count of lines that were lost.
//! Not here: who says what. Shards say nothing: they count, and who traces a call says its messages
//! on a thread of its own (`trace/`).
//! Invariants: a reader that stands still costs lines, which are counted, and no time.

use std::fmt;
use std::io::{self, Write};
use std::str::FromStr;
use std::sync::{Mutex, OnceLock, PoisonError};
use strowger_sip::settings::Section;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::format::{DefaultFields, FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::{FmtContext, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};
use tracing_subscriber::{Layer, reload};

/// Lines that wait for a slow reader. A guess: a minute of a busy trace.
const LINES_MAX: usize = 16_384;
/// Whose events are lines; what libraries say about themselves is not for operators.
const TARGET: &str = "strowger";

/// How lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// As they are.
    #[default]
    Text,
    /// An object each.
    Json,
    /// To journald, by its own protocol.
    Journald,
}

/// The least important line that is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Level {
    /// What went wrong.
    Error,
    /// And what may go wrong.
    Warn,
    /// And what happened.
    #[default]
    Info,
    /// And everything else.
    Debug,
}

const LEVELS: [(&str, Level); 4] = [
    ("error", Level::Error),
    ("warn", Level::Warn),
    ("info", Level::Info),
    ("debug", Level::Debug),
];

impl Level {
    const fn filter(self) -> LevelFilter {
        match self {
            Level::Error => LevelFilter::ERROR,
            Level::Warn => LevelFilter::WARN,
            Level::Info => LevelFilter::INFO,
            Level::Debug => LevelFilter::DEBUG,
        }
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Level, String> {
        let found = LEVELS.iter().find(|(name, _)| *name == text);
        found.map(|(_, level)| *level).ok_or_else(|| "level: error, warn, info or debug".to_owned())
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = LEVELS.iter().find(|(_, level)| level == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

/// `[log]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// `format`
    pub format: Format,
    /// `level`; can change while the node runs.
    pub level: Level,
}

impl LogSettings {
    /// Reads `[log]`.
    pub fn read(section: &mut Section<'_>) -> LogSettings {
        let formats =
            [("text", Format::Text), ("json", Format::Json), ("journald", Format::Journald)];
        LogSettings {
            format: section.choice("format", Format::default(), &formats),
            level: section.choice("level", Level::default(), &LEVELS),
        }
    }
}

/// The log of this process, once it was started.
struct Log {
    level: Mutex<Level>,
    filter: reload::Handle<Targets, Registry>,
    /// Their ends flush what waits.
    guards: Mutex<Vec<WorkerGuard>>,
    dropped: Vec<ErrorCounter>,
}

static LOG: OnceLock<Log> = OnceLock::new();

fn targets(level: Level) -> Targets {
    Targets::new().with_target(TARGET, level.filter())
}

/// Starts it; before that, and without it, lines are printed.
///
/// # Errors
/// When there is no journal to write to.
pub fn start(settings: LogSettings) -> io::Result<()> {
    let (filter, handle) = reload::Layer::new(targets(settings.level));
    let mut guards = Vec::new();
    let mut dropped = Vec::new();
    let mut queue = |to: Box<dyn Write + Send>| {
        let made = NonBlockingBuilder::default().buffered_lines_limit(LINES_MAX).lossy(true);
        let (queue, guard) = made.finish(to);
        guards.push(guard);
        dropped.push(queue.error_counter());
        queue
    };
    let layer: Box<dyn Layer<_> + Send + Sync> = match settings.format {
        Format::Text => {
            let split =
                Split { out: queue(Box::new(io::stdout())), err: queue(Box::new(io::stderr())) };
            let lines = tracing_subscriber::fmt::layer().event_format(Plain);
            Box::new(lines.with_writer(split))
        }
        Format::Json => {
            let lines = tracing_subscriber::fmt::layer().json().flatten_event(true);
            let lines = lines.with_current_span(false).with_span_list(false).with_target(false);
            Box::new(lines.with_writer(queue(Box::new(io::stdout()))))
        }
        Format::Journald => Box::new(tracing_journald::layer()?.with_field_prefix(None)),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(layer);
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let level = Mutex::new(settings.level);
        let log = Log { level, filter: handle, guards: Mutex::new(guards), dropped };
        // It was not there before, or the line above would have failed.
        let _ = LOG.set(log);
    }
    Ok(())
}

/// Writes what waits; to be called when nothing more is said.
pub fn finish() {
    if let Some(log) = LOG.get() {
        log.guards.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// Lines lost so far because their reader was too slow.
pub fn dropped() -> u64 {
    let lost = LOG.get().map(|log| log.dropped.iter().map(ErrorCounter::dropped_lines).sum());
    lost.map_or(0, |lost: usize| u64::try_from(lost).unwrap_or(u64::MAX))
}

/// The level in force.
pub fn level() -> Level {
    let level = LOG.get().map(|log| *log.level.lock().unwrap_or_else(PoisonError::into_inner));
    level.unwrap_or_default()
}

/// Sets it.
pub fn set_level(level: Level) {
    let Some(log) = LOG.get() else { return };
    // It fails only when there is no subscriber any more.
    if log.filter.reload(targets(level)).is_ok() {
        *log.level.lock().unwrap_or_else(PoisonError::into_inner) = level;
    }
}

/// Says what happened; a reader that went away does not stop the node.
pub fn say(line: &str) {
    if LOG.get().is_some() {
        return tracing::info!(target: TARGET, "{line}");
    }
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
}

/// Says what went wrong.
pub fn complain(line: &str) {
    if LOG.get().is_some() {
        return tracing::error!(target: TARGET, "{line}");
    }
    eprintln!("strowger: {line}");
}

/// What went wrong goes where such things go.
struct Split {
    out: NonBlocking,
    err: NonBlocking,
}

impl<'w> MakeWriter<'w> for Split {
    type Writer = NonBlocking;

    fn make_writer(&'w self) -> NonBlocking {
        self.out.clone()
    }

    fn make_writer_for(&'w self, about: &Metadata<'_>) -> NonBlocking {
        let is_bad = *about.level() <= tracing::Level::WARN;
        if is_bad { self.err.clone() } else { self.out.clone() }
    }
}

/// The message and nothing else; what went wrong says who says so.
struct Plain;

impl<S> FormatEvent<S, DefaultFields> for Plain
where
    S: Subscriber + for<'l> LookupSpan<'l>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, DefaultFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        if *event.metadata().level() <= tracing::Level::WARN {
            writer.write_str("strowger: ")?;
        }
        context.field_format().format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn the_section_has_a_format_and_a_level() {
        let (configuration, _) =
            config::parse("t.toml", "[log]\nformat = \"json\"\nlevel = \"warn\"\n");
        let (settings, problems) =
            configuration.read(|root| LogSettings::read(&mut root.section("log")));
        assert_eq!(problems.to_string(), "");
        assert_eq!(settings, LogSettings { format: Format::Json, level: Level::Warn });
        assert_eq!("debug".parse(), Ok(Level::Debug));
        assert!("loud".parse::<Level>().is_err());
        assert_eq!(Level::Error.to_string(), "error");
    }
}
