//! The harness itself: that it drives what production runs, and that its failures can be read.

use super::*;
use crate::stock::Stock;
use strowger_sip::time::{ms, secs};

const REGISTRAR: &str = r#"
[node]
listen = ["udp:192.0.2.1:5060"]
[routing]
domains = ["example.com"]
registrar = true
realm = "example.com"
[[auth.account]]
user = "alice"
password = "secret"
[[auth.account]]
user = "bob"
password = "hidden"
"#;

fn proxy(toml: &str) -> Proxy<Stock> {
    Proxy::new(toml, Stock::from_config)
        .party("Alice", "192.0.2.10:5060")
        .party("Bob", "192.0.2.20:5060")
}

fn register(proxy: &mut Proxy<Stock>, party: &str, user: &str, password: &str) {
    let request = format!("{party} -> REGISTER sip:example.com\n  To: <sip:{user}@example.com>");
    proxy.play(&format!("{request}\n{party} <- 401"));
    let proof = proxy.credentials(party, user, password);
    proxy.play(&format!("{request}\n  {proof}\n{party} <- 200"));
}

#[test]
fn a_user_registers_and_is_called_whatever_shards_there_are() {
    for shards in [1, 4] {
        let mut proxy = proxy(REGISTRAR).shards(shards);
        register(&mut proxy, "Bob", "bob", "hidden");
        proxy.play(
            "
            Alice -> INVITE sip:bob@example.com
            Alice <- 100
            Bob <- INVITE sip:bob@192.0.2.20
            Bob -> 200
            Alice <- 200
            Alice -> ACK
            Bob <- ACK
            Bob -> BYE
            Alice <- BYE
            Alice -> 200
            Bob <- 200
            ",
        );
        assert_eq!(proxy.count("registrar_accepted_regs"), 1);
        proxy.end();
    }
}

#[test]
fn a_wrong_password_is_no_proof() {
    let mut proxy = proxy(REGISTRAR);
    let request = "Alice -> REGISTER sip:example.com\n  To: <sip:alice@example.com>";
    proxy.play(&format!("{request}\nAlice <- 401"));
    let proof = proxy.credentials("Alice", "alice", "guessed");
    proxy.play(&format!("{request}\n  {proof}\nAlice <- 401")).end();
}

#[test]
fn time_passes_as_it_is_told() {
    let mut proxy = proxy("[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n");
    proxy.play("Alice -> OPTIONS sip:bob@192.0.2.20\nBob <- OPTIONS").wait(ms(500));
    assert_eq!(proxy.now(), ms(500));
    proxy.play("Bob <- OPTIONS").skip(secs(30) - ms(500));
    proxy.play("Alice <- 408").end();
}

#[test]
fn names_are_answered_by_the_test() {
    let toml = "[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n\
                [routing]\nnext_hop = \"sip:next.example.com\"\n";
    let mut known = proxy(toml).host("next.example.com", &["192.0.2.20:5060"]);
    known.play("Alice -> OPTIONS sip:x@example.net\nBob <- OPTIONS\nBob -> 200\nAlice <- 200");
    known.end();
    let mut asked = proxy(toml);
    asked.play("Alice -> OPTIONS sip:x@example.net\nasks next.example.com");
    asked.play("name next.example.com 192.0.2.20:5060\nBob <- OPTIONS\nBob -> 200\nAlice <- 200");
}

#[test]
fn what_storage_has_outlives_a_crash_and_nothing_else_does() {
    let contacts = "[usrloc]\ndb_mode = 1\n[storage]\nurl = \"sqlite:/nowhere.db\"\n";
    for storage in [Storage::Memory, Storage::Off] {
        let is_kept = storage == Storage::Memory;
        let more = if is_kept { contacts } else { "" };
        let mut proxy = proxy(&format!("{REGISTRAR}{more}")).storage(storage).shards(2);
        register(&mut proxy, "Bob", "bob", "hidden");
        assert_eq!(proxy.rows("location").len(), usize::from(is_kept));
        proxy.skip(secs(60)).crash();
        proxy.play("Alice -> INVITE sip:bob@example.com\nAlice <- 100");
        if is_kept {
            proxy.play("Bob <- INVITE\nBob -> 486\nBob <- ACK\nAlice <- 486\nAlice -> ACK");
        } else {
            proxy.play("Alice <- 404\nAlice -> ACK");
        }
        proxy.end();
    }
}

#[test]
fn files_are_what_the_test_says() {
    let toml = "[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n[routing]\ntrunk_set = 1\n\
                [dispatcher]\nlist_file = \"trunks.list\"\n";
    let mut proxy = proxy(toml).file("trunks.list", "1 sip:192.0.2.20:5060\n");
    proxy.play("Alice -> OPTIONS sip:1@example.net\nBob <- OPTIONS\nBob -> 200\nAlice <- 200");
    assert!(
        proxy
            .command("dispatcher.list", &[])
            .iter()
            .any(|answer| { answer.as_ref().is_ok_and(|answer| answer.contains("192.0.2.20")) })
    );
}

fn failure(work: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).unwrap_err();
    panic.downcast_ref::<String>().cloned().unwrap_or_default()
}

#[test]
fn a_failure_shows_place_message_and_ladder() {
    let text = failure(|| {
        let mut proxy = proxy("[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n");
        proxy.play("Alice -> OPTIONS sip:bob@192.0.2.20\nBob <- OPTIONS\n  Max-Forwards: 70\n");
    });
    assert!(text.contains("tests.rs:"), "{text}");
    assert!(text.contains("expected: Max-Forwards: 70"), "{text}");
    assert!(text.contains("Max-Forwards: 69"), "{text}");
    assert!(text.contains("|--OPTIONS---"), "{text}");
}

#[test]
fn what_nobody_read_fails_the_test() {
    let text = failure(|| {
        let mut proxy = proxy("[node]\nlisten = [\"udp:192.0.2.1:5060\"]\n");
        proxy.play("Alice -> OPTIONS sip:bob@192.0.2.20");
    });
    assert!(text.contains("to Bob from 192.0.2.1:5060"), "{text}");
}

#[test]
fn a_wrong_configuration_fails_with_its_lines() {
    let text = failure(|| drop(proxy("[tm]\nfr_tmer = 1\n")));
    assert!(text.contains("test.toml:2"), "{text}");
}
