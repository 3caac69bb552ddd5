//! `strowger top`: a node's shards, rates, dialogs and drops, live in a terminal.
//!
//! For: drawing what `core.live` says, once a second; `q` ends it.
//! Not here: the sums (`view.rs`).
//! Invariants: the terminal is put back as it was, whatever happens.

use super::client::{Client, Trouble};
use super::view::{ShardView, View};
use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Block, Cell, Paragraph, Row, Sparkline, Table};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use strowger_node::control::say;

/// How often the node is asked.
const EVERY: Duration = Duration::from_secs(1);
/// Seconds of calls that are drawn.
const HISTORY_MAX: usize = 512;

fn look(client: &Client) -> Result<Value, Trouble> {
    client.call("core.live", &json!([]))
}

/// Two looks, and what they say as plain text.
pub(super) fn once(client: &Client) -> Result<(), Trouble> {
    let before = look(client)?;
    std::thread::sleep(EVERY);
    let view = View::between(&before, &look(client)?);
    lines(&view).iter().for_each(|line| say(line));
    say("");
    for row in std::iter::once(HEADER.map(str::to_owned)).chain(view.shards.iter().map(cells)) {
        let row: Vec<String> = row.iter().map(|cell| format!("{cell:>9}")).collect();
        say(&row.join(" "));
    }
    Ok(())
}

/// Draws until somebody presses `q`.
pub(super) fn run(client: &Client) -> Result<(), Trouble> {
    let before = look(client)?;
    let mut terminal = ratatui::init();
    let ended = draw_all(client, before, &mut |view, calls| {
        // A terminal that is gone ends it with the next key.
        let _ = terminal.draw(|frame| draw(frame, view, calls));
    });
    ratatui::restore();
    ended
}

fn draw_all(
    client: &Client,
    mut before: Value,
    show: &mut impl FnMut(&View, &[u64]),
) -> Result<(), Trouble> {
    let mut calls: VecDeque<u64> = VecDeque::new();
    loop {
        if waits_for_end(EVERY) {
            return Ok(());
        }
        let now = look(client)?;
        let view = View::between(&before, &now);
        calls.push_back(view.calls_per_second.round() as u64);
        if calls.len() > HISTORY_MAX {
            calls.pop_front();
        }
        show(&view, calls.make_contiguous());
        before = now;
    }
}

/// Waits so long; whether somebody wants to leave.
fn waits_for_end(span: Duration) -> bool {
    let end = Instant::now() + span;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match event::poll(left) {
            Ok(true) => {}
            Ok(false) => return false,
            Err(_) => return true,
        }
        match event::read() {
            Ok(Event::Key(key)) => {
                let is_break = key.modifiers.contains(KeyModifiers::CONTROL);
                let leaves = matches!(key.code, KeyCode::Char('q') | KeyCode::Esc);
                if leaves || (is_break && key.code == KeyCode::Char('c')) {
                    return true;
                }
            }
            Ok(_) => {}
            Err(_) => return true,
        }
    }
}

const HEADER: [&str; 11] = [
    "shard", "core", "busy", "cpu", "in/s", "out/s", "mesh/s", "routing", "dialogs", "shed",
    "kdrops",
];

fn cells(it: &ShardView) -> [String; 11] {
    [
        it.shard.to_string(),
        it.core.map_or_else(|| "any".to_owned(), |core| core.to_string()),
        format!("{:.0}%", it.busy * 100.0),
        format!("{:.0}%", it.cpu * 100.0),
        format!("{:.0}", it.received),
        format!("{:.0}", it.sent),
        format!("{:.0}", it.handed_over),
        it.routing.to_string(),
        it.dialogs.to_string(),
        it.shed.to_string(),
        it.kernel_drops.to_string(),
    ]
}

fn lines(view: &View) -> Vec<String> {
    let View { version, uptime, draining, memory, .. } = view;
    let state = if *draining { ", draining" } else { "" };
    let (hours, minutes) = (uptime / 3600, uptime % 3600 / 60);
    let setup = match view.setup {
        Some((half, most)) => {
            format!("{} ms half, {} ms 99 of 100", half * 1000.0, most * 1000.0)
        }
        None => "no calls".to_owned(),
    };
    let drops: Vec<String> =
        view.drops.iter().map(|(kind, count, _)| format!("{kind} {count}")).collect();
    vec![
        format!("strowger {version}  up {hours}h{minutes:02}m{state}  memory {} MiB", memory >> 20),
        format!(
            "calls/s {:.1}  answered/s {:.1}  failed/s {:.1}  requests/s {:.1}",
            view.calls_per_second,
            view.answered_per_second,
            view.failed_per_second,
            view.requests_per_second
        ),
        format!("set-up within {setup}"),
        format!(
            "dialogs {}  ringing {}  users {}  contacts {}",
            view.dialogs, view.ringing, view.users, view.contacts
        ),
        format!("drops: {}", drops.join("  ")),
    ]
}

fn draw(frame: &mut Frame<'_>, view: &View, calls: &[u64]) {
    let rows = u16::try_from(view.shards.len()).unwrap_or(u16::MAX).saturating_add(3);
    let [head, chart, table] =
        Layout::vertical([Constraint::Length(7), Constraint::Min(4), Constraint::Length(rows)])
            .areas(frame.area());
    let text: Vec<Line<'_>> = lines(view).into_iter().map(Line::from).collect();
    frame.render_widget(Paragraph::new(text).block(Block::bordered()), head);
    let width = usize::from(chart.width.saturating_sub(2));
    let shown = calls.get(calls.len().saturating_sub(width)..).unwrap_or_default();
    let sparkline = Sparkline::default()
        .data(shown)
        .style(Style::new().fg(Color::Green))
        .block(Block::bordered().title(" calls a second "));
    frame.render_widget(sparkline, chart);
    draw_shards(frame, view, table);
}

fn draw_shards(frame: &mut Frame<'_>, view: &View, area: Rect) {
    let rows = view.shards.iter().map(|it| {
        let color = match it.busy {
            busy if busy >= 0.9 => Color::Red,
            busy if busy >= 0.7 => Color::Yellow,
            _ => Color::Reset,
        };
        Row::new(cells(it).map(Cell::from)).style(Style::new().fg(color))
    });
    let widths = HEADER.map(|_| Constraint::Min(6));
    let header = Row::new(HEADER).style(Style::new().add_modifier(Modifier::BOLD));
    let title = Block::bordered().title(" shards; q ends ");
    frame.render_widget(Table::new(rows, widths).header(header).block(title), area);
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::looks;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    #[test]
    fn everything_is_on_the_screen() {
        let (before, now) = looks();
        let view = View::between(&before, &now);
        let mut terminal = Terminal::new(TestBackend::new(90, 24)).expect("a screen");
        terminal.draw(|frame| draw(frame, &view, &[1, 5, 100])).expect("drawn");
        let screen = terminal.backend().to_string();
        for wanted in ["calls/s 100.0", "dialogs 7", "shed 30", "50%", "calls a second", "kdrops"] {
            assert!(screen.contains(wanted), "{wanted}:\n{screen}");
        }
    }

    #[test]
    fn a_small_terminal_is_no_reason_to_fail() {
        let (before, now) = looks();
        let view = View::between(&before, &now);
        for size in [(1, 1), (10, 3), (200, 2)] {
            let mut terminal = Terminal::new(TestBackend::new(size.0, size.1)).expect("a screen");
            terminal.draw(|frame| draw(frame, &view, &[])).expect("drawn");
        }
    }
}
