//! A flow that goes on piece by piece: a test in Rust plays some lines, looks, plays some more.
//!
//! For: the harness of a routing's own tests (`strowger::testing`).
//! Not here: the language and its interpreter, which are those of whole scripts (`runner.rs`).
//! Invariants: whatever fails comes with the ladder of all that was played.

use super::runner::{Run, Wrong};
use super::{Failure, Node, Setup, failure, guarded, parse};

/// A flow under way.
pub struct Play<N: Node> {
    run: Run<'static, N>,
}

/// A request of a party and the answer that it has read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchange {
    /// The request's method.
    pub method: String,
    /// Its Request-URI.
    pub uri: String,
    /// The answer's status.
    pub status: u16,
    /// The values of the answer's headers of one name.
    pub values: Vec<String>,
}

impl<N: Node> Play<N> {
    /// A flow at its beginning: of the set-up, listeners and parties count.
    pub fn new(setup: &Setup, node: N) -> Play<N> {
        Play { run: Run::new(setup, &|_| None, Box::new(node)) }
    }

    /// The node.
    pub fn node(&self) -> &N {
        &self.run.node
    }

    /// Works on the node itself, and gathers what it sent.
    ///
    /// # Errors
    /// When it sent something to nobody.
    pub fn with_node<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&mut N) -> T,
    ) -> Result<T, Box<Failure>> {
        let done = work(&mut self.run.node);
        self.step(name, (1, "(the node is asked)"), Run::collect)?;
        Ok(done)
    }

    /// Plays lines of the language; `name` says in a failure where they stand.
    ///
    /// # Errors
    /// The first line that is not as it says.
    pub fn play(&mut self, name: &str, lines: &str) -> Result<(), Box<Failure>> {
        let text = dedented(lines);
        let script = parse(&text).map_err(|fault| {
            let line = text.lines().nth(fault.line.saturating_sub(1)).unwrap_or_default();
            let expected = "lines that can be read".to_owned();
            let wrong = Wrong { expected, came: fault.what };
            failure(name, (fault.line, line.trim()), wrong, &self.run)
        })?;
        if script.setup != Setup::default() {
            let wrong = "nodes, parties, settings and routes are set up before the flow".into();
            return Err(failure(name, (1, "(the lines)"), wrong, &self.run));
        }
        // What it sent as it started is there to be read.
        self.step(name, (1, "(the start)"), Run::collect)?;
        for (block, event) in &script.events {
            self.step(name, (block.line, &block.text), |run| run.event(event))?;
        }
        Ok(())
    }

    /// Everything that was sent has been read.
    ///
    /// # Errors
    /// What has not.
    pub fn quiet(&mut self, name: &str) -> Result<(), Box<Failure>> {
        self.step(name, (1, "(the end)"), |run| run.all_read())
    }

    /// An hour passes; then nothing is left in the node's tables.
    ///
    /// # Errors
    /// What has not been read, or is left.
    pub fn end(&mut self, name: &str) -> Result<(), Box<Failure>> {
        self.step(name, (1, "(the end)"), Run::end)
    }

    /// Takes the next message that was sent to a party, whatever it is, octets that are no text
    /// replaced.
    ///
    /// # Errors
    /// When there is no such party.
    pub fn take(&mut self, name: &str, party: &str) -> Result<Option<String>, Box<Failure>> {
        let text = self.step(name, (1, party), |run| run.take(party))?;
        Ok(text.map(|text| String::from_utf8_lossy(&text.to_bytes()).into_owned()))
    }

    /// The last request of a party and what it has read for it, with the values of one header.
    ///
    /// # Errors
    /// When it has read no answer.
    pub fn exchange(
        &mut self,
        name: &str,
        party: &str,
        header: &[&str],
    ) -> Result<Exchange, Box<Failure>> {
        self.step(name, (1, party), |run| {
            let (asked, answer) = run.exchange(party)?;
            let values = header.iter().flat_map(|header| answer.all(header));
            Ok(Exchange {
                method: asked.method().to_owned(),
                uri: asked.uri().to_owned(),
                status: answer.status().unwrap_or(0),
                values: values.map(str::to_owned).collect(),
            })
        })
    }

    /// The flow so far.
    pub fn ladder(&self) -> String {
        self.run.draw()
    }

    fn step<T>(
        &mut self,
        name: &str,
        (line, text): (usize, &str),
        work: impl FnOnce(&mut Run<'static, N>) -> Result<T, Wrong>,
    ) -> Result<T, Box<Failure>> {
        let mut done = None;
        let run = &mut self.run;
        let result = guarded(|| {
            done = Some(work(run)?);
            Ok(())
        });
        match (result, done) {
            (Ok(()), Some(done)) => Ok(done),
            (Ok(()), None) => unreachable!("a step that went well has a result"),
            (Err(wrong), _) => Err(failure(name, (line, text), wrong, &self.run)),
        }
    }
}

/// Takes away the indentation that all lines have: a text in a function begins further right.
fn dedented(text: &str) -> String {
    let indentation = |line: &str| line.len() - line.trim_start_matches([' ', '\t']).len();
    let lines = || text.lines().filter(|line| !line.trim().is_empty());
    let least = lines().map(indentation).min().unwrap_or(0);
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        out.push_str(line.get(least..).unwrap_or_default());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::{Endpoint, PartyAddress, Scripted, bench};
    use super::*;
    use crate::rig::Bench;

    fn play() -> Play<Bench<Scripted>> {
        let endpoint = |text: &str| text.parse::<Endpoint>().unwrap();
        let party = |name: &str, text: &str| PartyAddress {
            name: name.to_owned(),
            inside: endpoint(text),
            outside: endpoint(text),
        };
        let setup = Setup {
            listeners: vec![endpoint("192.0.2.1:5060")],
            parties: vec![party("A", "192.0.2.10:5060"), party("B", "192.0.2.20:5060")],
            ..Setup::default()
        };
        let node = bench(&setup, Scripted::read(&[]).unwrap(), ()).unwrap();
        Play::new(&setup, node)
    }

    #[test]
    fn a_flow_goes_on_where_it_was() {
        let mut play = play();
        play.play("here", "    A -> OPTIONS sip:b@192.0.2.20\n    B <- OPTIONS\n").unwrap();
        play.play("here", "B -> 200\nA <- 200").unwrap();
        let seen = play.exchange("here", "A", &["Call-ID"]).unwrap();
        assert_eq!((seen.method.as_str(), seen.status), ("OPTIONS", 200));
        assert_eq!(seen.values, ["call-1@192.0.2.10"]);
        play.end("here").unwrap();
    }

    #[test]
    fn a_failure_has_its_place_and_the_ladder_of_all_pieces() {
        let mut play = play();
        play.play("here", "A -> OPTIONS sip:b@192.0.2.20").unwrap();
        let failure = play.play("there", "\n  B <- INVITE\n").unwrap_err();
        assert_eq!((failure.script.as_str(), failure.line), ("there", 2));
        assert!(failure.ladder.contains("OPTIONS"), "{failure}");
        assert!(play.play("there", "B <= 1").unwrap_err().came.contains("an event is"));
    }

    #[test]
    fn indentation_of_details_stays() {
        assert_eq!(dedented("\n    A\n      b\n\n    C"), "\nA\n  b\n\nC\n");
    }
}
