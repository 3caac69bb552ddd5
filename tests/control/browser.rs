//! Chromium without a window, told what to do over a pair of pipes.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strowger_tests::folder::Folder;
use strowger_tests::process::Process;

/// How long the browser may take for anything. It starts slowly on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser with one page.
pub(crate) struct Browser {
    orders: File,
    answers: mpsc::Receiver<Value>,
    session: Option<String>,
    last: u64,
    _process: Process,
    _folder: Folder,
}

impl Browser {
    /// Starts it and opens a page.
    pub(crate) fn open(url: &str) -> Browser {
        let folder = Folder::new("browser");
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            assert!(Command::new("mkfifo").arg(&path).status().expect("mkfifo").success());
            path
        };
        let (orders, answers) = (pipe("orders"), pipe("answers"));
        let profile = folder.path().join("profile");
        let line = format!(
            "exec chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
             --no-first-run --disable-extensions --disable-background-networking \
             --remote-debugging-pipe --user-data-dir={} about:blank 3<{} 4>{}",
            profile.display(),
            orders.display(),
            answers.display()
        );
        let process = Process::start("chromium", Command::new("sh").args(["-c", &line]));
        let orders = OpenOptions::new().write(true).open(orders).expect("its orders");
        let mut browser = Browser {
            orders,
            answers: read(&answers),
            session: None,
            last: 0,
            _process: process,
            _folder: folder,
        };
        let target = browser.call("Target.createTarget", &json!({"url": url}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", &attach);
        browser.session = attached["sessionId"].as_str().map(str::to_owned);
        browser
    }

    /// Has the browser do something; what it answers.
    pub(crate) fn call(&mut self, method: &str, params: &Value) -> Value {
        self.last += 1;
        let mut order = json!({"id": self.last, "method": method, "params": params});
        if let Some(session) = &self.session {
            order["sessionId"] = json!(session);
        }
        self.orders.write_all(format!("{order}\0").as_bytes()).expect("taken");
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let answer = self.answers.recv_timeout(left).expect("an answer of the browser");
            if answer["id"] == self.last {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    /// The value of an expression in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let answer = self.call("Runtime.evaluate", &params);
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {answer}");
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    pub(crate) fn wait_until(&mut self, expression: &str) {
        let end = Instant::now() + PATIENCE;
        while self.evaluate(expression) != json!(true) {
            if Instant::now() > end {
                let page = self.evaluate("document.body.innerText");
                panic!("{expression} is not true of:\n{}", page.as_str().unwrap_or(""));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// A picture of the page, kept where STROWGER_PICTURES says, if it does.
    pub(crate) fn picture(&mut self, name: &str) {
        let Some(folder) = std::env::var_os("STROWGER_PICTURES") else { return };
        let answer = self.call("Page.captureScreenshot", &json!({"format": "png"}));
        let data = answer["data"].as_str().expect("a picture").as_bytes();
        let encoded = Path::new(&folder).join(format!("{name}.base64"));
        std::fs::write(&encoded, data).expect("written");
        let picture = File::create(Path::new(&folder).join(format!("{name}.png"))).expect("made");
        let decoded = Command::new("base64").arg("-d").arg(&encoded).stdout(picture).status();
        assert!(decoded.expect("base64").success());
        std::fs::remove_file(encoded).expect("removed");
    }
}

fn read(path: &Path) -> mpsc::Receiver<Value> {
    let (sender, answers) = mpsc::channel();
    let mut reader = BufReader::new(File::open(path).expect("its answers"));
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        while reader.read_until(0, &mut bytes).is_ok_and(|length| length > 0) {
            bytes.pop();
            if let Ok(answer) = serde_json::from_slice(&bytes)
                && sender.send(answer).is_err()
            {
                return;
            }
            bytes.clear();
        }
    });
    answers
}
