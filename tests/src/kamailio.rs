//! Kamailio as a second registrar, on the tables of a test's own PostgreSQL, and as a presence
//! server.
//!
//! For: showing that both find what the other has registered.
//! Not here: what a test does with it.
//! Invariants: it is told to stop and takes its children along; its tables are made by the scripts
//! of its own package.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::database::Server;
use crate::folder::Folder;
use crate::ports;
use crate::process::{PATIENCE, Process, Signal};

/// Where Debian keeps the scripts that make its tables.
const SCRIPTS: &str = "/usr/share/kamailio/postgres";

/// The same for SQLite.
const SQLITE_SCRIPTS: &str = "/usr/share/kamailio/db_sqlite";

/// A Kamailio that runs.
#[derive(Debug)]
pub struct Kamailio {
    process: Process,
    address: SocketAddr,
    // Removed at the end.
    folder: Folder,
}

impl Kamailio {
    /// Makes its tables for users and contacts, as its own package does.
    ///
    /// # Panics
    /// When a script is missing or fails.
    pub fn make_tables(server: &Server) {
        Kamailio::run_scripts(server, &["standard", "usrloc", "auth_db"]);
    }

    /// Makes its tables for calls.
    ///
    /// # Panics
    /// When a script is missing or fails.
    pub fn make_dialog_tables(server: &Server) {
        Kamailio::run_scripts(server, &["standard", "dialog"]);
    }

    fn run_scripts(server: &Server, scripts: &[&str]) {
        for script in scripts {
            let script = Path::new(SCRIPTS).join(format!("{script}-create.sql"));
            let text = std::fs::read_to_string(&script)
                .unwrap_or_else(|error| panic!("{}: {error}", script.display()));
            server.run(&text);
        }
    }

    /// Starts one that challenges in realm `example.com`, with accounts from table `subscriber`,
    /// and keeps contacts in table `location` alone (`db_mode` 3).
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn start(server: &Server) -> Kamailio {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let url = server.url();
        let modules = ["tm", "sl", "rr", "pv", "usrloc", "registrar", "auth", "auth_db"];
        let modules = ["db_postgres"].iter().chain(&modules);
        let modules: String = modules.map(|name| format!("loadmodule \"{name}.so\"\n")).collect();
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\ndebug=1\nchildren=2\nauto_aliases=no\n\
             listen=udp:{address}\nalias=\"example.com\"\ndisable_tcp=yes\n{modules}\
             modparam(\"usrloc\", \"db_mode\", 3)\n\
             modparam(\"usrloc\", \"db_url\", \"{url}\")\n\
             modparam(\"usrloc\", \"use_domain\", 0)\n\
             modparam(\"auth_db\", \"db_url\", \"{url}\")\n\
             modparam(\"auth_db\", \"calculate_ha1\", 0)\n\
             modparam(\"auth_db\", \"password_column\", \"ha1\")\n\
             request_route {{\n\
             if (is_method(\"REGISTER\")) {{\n\
             if (!www_authenticate(\"example.com\", \"subscriber\")) {{\n\
             www_challenge(\"example.com\", \"0\"); exit; }}\n\
             save(\"location\"); exit; }}\n\
             if (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\n\
             t_relay(); }}\n"
        );
        let text = text.replace("is_method(\"REGISTER\")", "method==\"REGISTER\"");
        Kamailio::run(address, &text)
    }

    /// Starts one that tracks every call, writes it at once (`db_mode` 1), and relays it to this
    /// port.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn tracking(server: &Server, callee: u16) -> Kamailio {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let modules = ["db_postgres", "tm", "sl", "rr", "pv", "maxfwd", "dialog"];
        let modules = modules.iter().map(|name| format!("loadmodule \"{name}.so\"\n"));
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\ndebug=1\nchildren=2\nauto_aliases=no\n\
             listen=udp:{address}\ndisable_tcp=yes\n{modules}\
             modparam(\"rr\", \"append_fromtag\", 1)\n\
             modparam(\"dialog\", \"db_mode\", 1)\n\
             modparam(\"dialog\", \"db_url\", \"{url}\")\n\
             request_route {{\n\
             mf_process_maxfwd_header(\"10\");\n\
             if (loose_route()) {{ t_relay(); exit; }}\n\
             if (method==\"INVITE\") {{\n\
             record_route(); dlg_manage(); $dlg_var(account) = \"gold\"; }}\n\
             $du = \"sip:127.0.0.1:{callee}\"; t_relay(); }}\n",
            modules = modules.collect::<String>(),
            url = server.url()
        );
        Kamailio::run(address, &text)
    }

    /// Starts a presence server of `presence`, `reg`, `dialog` and `message-summary`, with its
    /// tables in SQLite.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn presence() -> Kamailio {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let folder = Folder::new("presence");
        let url = make_sqlite(&folder);
        let modules = ["db_sqlite", "tm", "sl", "rr", "pv", "maxfwd", "presence", "presence_xml"];
        let more = ["presence_reginfo", "presence_dialoginfo", "presence_mwi"];
        let modules = modules.iter().chain(&more);
        let modules: String = modules.map(|name| format!("loadmodule \"{name}.so\"\n")).collect();
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\ndebug=1\nchildren=1\nauto_aliases=no\n\
             listen=udp:{address}\ndisable_tcp=yes\n{modules}\
             modparam(\"presence\", \"db_url\", \"{url}\")\n\
             modparam(\"presence\", \"server_address\", \"sip:{address}\")\n\
             modparam(\"presence\", \"subs_db_mode\", 0)\n\
             modparam(\"presence_xml\", \"db_url\", \"{url}\")\n\
             modparam(\"presence_xml\", \"force_active\", 1)\n\
             request_route {{\n\
             if (method==\"PUBLISH\") {{ handle_publish(); exit; }}\n\
             if (method==\"SUBSCRIBE\") {{ handle_subscribe(); exit; }}\n\
             sl_send_reply(\"404\", \"Not Found\"); }}\n"
        );
        Kamailio::run_in(folder, address, &text)
    }

    /// What its presence server holds of this user, document by document.
    ///
    /// # Panics
    /// When its tables cannot be read.
    #[must_use]
    pub fn published(&self, user: &str) -> Vec<String> {
        let file = self.folder.path().join("presence.sqlite");
        let query = format!(
            "SELECT replace(replace(body, char(10), ''), char(13), '') FROM presentity \
             WHERE username = '{user}' ORDER BY id"
        );
        let mut command = Command::new("sqlite3");
        command.args(["-cmd", ".timeout 5000"]).arg(file).arg(query);
        let output = command.output().expect("sqlite3");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    }

    /// Starts a provider for `provider.example`: a registrar that challenges user `trunk01` with
    /// password `pw1`, and a proxy that challenges every request but ACK and CANCEL, within calls
    /// too, and refuses a number in CSeq that is not greater than the one before. What comes from
    /// this port of 127.0.0.1, the callee's, is not challenged; a call from there goes to the
    /// user's contact, all others go there.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn provider(callee: u16) -> Kamailio {
        Kamailio::provider_with(callee, "modparam(\"auth\", \"qop\", \"auth\")\n")
    }

    /// The same with these settings of module `auth`.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn provider_with(callee: u16, settings: &str) -> Kamailio {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let modules = ["tm", "sl", "rr", "pv", "usrloc", "registrar", "auth", "htable"];
        let modules = modules.iter().map(|name| format!("loadmodule \"{name}.so\"\n"));
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\ndebug=1\nchildren=2\nauto_aliases=no\n\
             listen=udp:{address}\nalias=\"provider.example\"\ndisable_tcp=yes\n{modules}\
             modparam(\"usrloc\", \"db_mode\", 0)\n\
             {settings}\
             modparam(\"htable\", \"htable\", \"last=>size=8;autoexpire=600\")\n\
             request_route {{\n\
             if (method==\"REGISTER\") {{\n\
             if (!pv_www_authenticate(\"provider.example\", \"pw1\", \"0\")) {{\n\
             www_challenge(\"provider.example\", \"0\"); exit; }}\n\
             save(\"location\"); exit; }}\n\
             if (method==\"ACK\") {{ loose_route(); t_relay(); exit; }}\n\
             if (method==\"CANCEL\") {{ t_relay(); exit; }}\n\
             if (!t_newtran()) {{ exit; }}\n\
             $var(key) = $ci + \":\" + $ft;\n\
             $var(number) = $(cs{{s.int}});\n\
             if ($sht(last=>$var(key)) != $null && $var(number) <= $sht(last=>$var(key))) {{\n\
             t_reply(\"500\", \"Number Too Low\"); exit; }}\n\
             $sht(last=>$var(key)) = $var(number);\n\
             if ($sp != {callee}) {{\n\
             if (!pv_proxy_authenticate(\"provider.example\", \"pw1\", \"0\")) {{\n\
             proxy_challenge(\"provider.example\", \"0\"); exit; }}\n\
             consume_credentials(); }}\n\
             if (loose_route()) {{ t_relay(); exit; }}\n\
             record_route();\n\
             if ($sp == {callee}) {{\n\
             if (!lookup(\"location\")) {{ t_reply(\"404\", \"Not Found\"); exit; }}\n\
             }} else {{ $du = \"sip:127.0.0.1:{callee}\"; }}\n\
             t_relay(); }}\n",
            modules = modules.collect::<String>(),
        );
        Kamailio::run(address, &text)
    }

    /// Starts a registrar that publishes its registrations at this presence server, follows whom an
    /// INFO names, and takes in what it is told.
    ///
    /// # Panics
    /// When it is not installed or does not start.
    #[must_use]
    pub fn in_step(server: SocketAddr) -> Kamailio {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free()));
        let folder = Folder::new("kamailio-reginfo");
        let url = make_sqlite(&folder);
        let own = ["usrloc", "registrar", "pua", "pua_reginfo"];
        let modules = ["db_sqlite", "tm", "sl", "rr", "pv", "maxfwd"].iter().chain(&own);
        let modules: String = modules.map(|name| format!("loadmodule \"{name}.so\"\n")).collect();
        let text = format!(
            "#!KAMAILIO\nlog_stderror=yes\ndebug=1\nchildren=1\nauto_aliases=no\n\
             listen=udp:{address}\nalias=\"example.com\"\ndisable_tcp=yes\n{modules}\
             modparam(\"usrloc\", \"db_mode\", 0)\nmodparam(\"usrloc\", \"timer_interval\", 1)\n\
             modparam(\"pua\", \"db_url\", \"{url}\")\n\
             modparam(\"pua\", \"outbound_proxy\", \"sip:{server}\")\n\
             modparam(\"pua\", \"check_remote_contact\", 0)\n\
             modparam(\"pua_reginfo\", \"default_domain\", \"example.com\")\n\
             modparam(\"pua_reginfo\", \"outbound_proxy\", \"sip:{server}\")\n\
             modparam(\"pua_reginfo\", \"server_address\", \"sip:reginfo@{address}\")\n\
             request_route {{\n\
             if (method==\"REGISTER\") {{ save(\"location\"); exit; }}\n\
             if (method==\"NOTIFY\") {{ reginfo_handle_notify(\"location\");\n\
             sl_send_reply(\"200\", \"OK\"); exit; }}\n\
             if (method==\"INFO\") {{ reginfo_subscribe(\"$ru\");\n\
             sl_send_reply(\"200\", \"OK\"); exit; }}\n\
             if (!lookup(\"location\")) {{ sl_send_reply(\"404\", \"Not Found\"); exit; }}\n\
             t_relay(); }}\n"
        );
        Kamailio::run_in(folder, address, &text)
    }

    fn run(address: SocketAddr, text: &str) -> Kamailio {
        Kamailio::run_in(Folder::new("kamailio"), address, text)
    }

    fn run_in(folder: Folder, address: SocketAddr, text: &str) -> Kamailio {
        let file = folder.write("kamailio.cfg", text);
        let path = |name: &str| -> PathBuf { folder.path().join(name) };
        let mut command = Command::new("kamailio");
        // Kamailio keeps dates in the time of its machine's clock.
        command.env("TZ", "UTC").arg("-f").arg(file).args(["-DD", "-E", "-m", "32", "-M", "8"]);
        command
            .arg("-P")
            .arg(path("pid"))
            .arg("-Y")
            .arg(folder.path())
            .arg("-w")
            .arg(folder.path());
        let mut process = Process::start("kamailio", &mut command);
        let bound = format!("{:X}", address.port());
        process.wait_until("its socket", |_| {
            let sockets = std::fs::read_to_string("/proc/net/udp").ok()?;
            sockets.contains(&format!(":{bound:0>4} ")).then_some(())
        });
        Kamailio { process, address, folder }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Makes the tables for presence in a file of this folder; its URL.
fn make_sqlite(folder: &Folder) -> String {
    let file = folder.path().join("presence.sqlite");
    let mut made = Command::new("sqlite3");
    made.args(["-cmd", "PRAGMA synchronous = OFF"]).arg(&file);
    for script in ["standard", "presence"] {
        made.arg(format!(".read {SQLITE_SCRIPTS}/{script}-create.sql"));
    }
    let made = made.output().expect("sqlite3");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    format!("sqlite:///{}", file.display())
}

impl Drop for Kamailio {
    fn drop(&mut self) {
        if self.process.is_running() {
            // By itself it ends its children; killed, it would leave them behind.
            self.process.signal(Signal::Term);
            self.process.wait(PATIENCE);
        }
    }
}
