//! Keys on a PKCS#11 token, tried with SoftHSM2: made there, shown, signed with, and every way in which it does not work.

#![cfg(feature = "pkcs11")]
#![expect(clippy::unwrap_used, reason = "a test stops where it fails")]

#[expect(dead_code, reason = "no controller is needed here")]
mod support;
#[path = "support/token.rs"]
mod token;

use support::Bench;
use token::{PIN, Token};

const ANN: &str = "pkcs11:token=ward;object=ann";

fn create<'a>(uri: &'a str, out: &'a str) -> [&'a str; 10] {
    ["key", "create", "--holder", "Ann Lee", "--role", "release", "--pkcs11", uri, "--out", out]
}

fn says(text: &str, exit: u8, words: &[&str]) {
    assert!(text.contains(&format!("\nexit {exit}\n")), "{text}");
    for word in words {
        assert!(text.contains(word), "lacks {word:?}: {text}");
    }
}

#[test]
fn a_key_is_made_on_a_token_and_signs_there() {
    let bench = Bench::new();
    let Some(token) = Token::new(&bench) else { return };
    says(&token.run(&bench, &create(ANN, "ann")), 0, &["Ann Lee (release)", "on the token", "ann.pub.json"]);
    let public: serde_json::Value = serde_json::from_str(&bench.read("ann.pub.json")).unwrap();
    assert_eq!(public["holder"], "Ann Lee");
    assert!(!bench.path().join("ann").exists(), "no secret is written");
    // Both without and with its PIN, the token shows the key that the public file names.
    let key = public["key"].as_str().unwrap();
    let show = ["key", "show", ANN];
    says(&bench.show(&mut token.command(&bench, &show, None), &show), 0, &[key, "token \"ward\""]);
    says(&token.run(&bench, &["key", "check", ANN, "--output", "json"]), 0, &[key]);
    // One key and one token: neither needs to be named.
    says(&token.run(&bench, &["key", "check", "pkcs11:object=ann"]), 0, &["key \"ann\""]);
    says(&token.run(&bench, &["key", "check", "pkcs11:token=ward"]), 0, &["signs"]);
    // The PIN out of files.
    bench.write("pin", &format!("{PIN}\n"));
    let by_flag = ["key", "check", ANN, "--passphrase-file", "pin"];
    says(&bench.show(&mut token.command(&bench, &by_flag, None), &by_flag), 0, &["signs"]);
    let uri = format!("{ANN}?pin-source=file:pin&module-path={}", token.module);
    let by_uri = ["key", "check", &uri];
    let mut command = token.command(&bench, &by_uri, None);
    says(&bench.show(command.env_remove("WARDROUND_PKCS11_MODULE"), &by_uri), 0, &["signs"]);
    // What is there is not made again.
    says(&token.run(&bench, &create(ANN, "other")), 3, &["never overwritten"]);
    says(&token.run(&bench, &create("pkcs11:token=ward;object=ben", "ann")), 3, &["ann.pub.json exists"]);
}

#[test]
fn what_is_missing_is_named() {
    let bench = Bench::new();
    let Some(token) = Token::new(&bench) else { return };
    says(&token.run(&bench, &create(ANN, "ann")), 0, &[]);
    let check = ["key", "check", ANN];
    let mut without = token.command(&bench, &check, Some(PIN));
    let said = bench.show(without.env_remove("WARDROUND_PKCS11_MODULE"), &check);
    says(&said, 2, &["no PKCS#11 library is named", "WARDROUND_PKCS11_MODULE"]);
    let mut none = token.command(&bench, &check, Some(PIN));
    let said = bench.show(none.env("WARDROUND_PKCS11_MODULE", "/nowhere/x.so"), &check);
    says(&said, 4, &["there is no PKCS#11 library /nowhere/x.so"]);
    bench.write("x.so", "not a library");
    let mut broken = token.command(&bench, &check, Some(PIN));
    let said = bench.show(broken.env("WARDROUND_PKCS11_MODULE", bench.path().join("x.so")), &check);
    says(&said, 1, &["can't be loaded as a PKCS#11 library"]);
    says(
        &token.run(&bench, &["key", "check", "pkcs11:token=theatre"]),
        4,
        &["token \"theatre\" is not there", "\"ward\""],
    );
    says(
        &token.run(&bench, &["key", "check", "pkcs11:object=ben"]),
        4,
        &["no Ed25519 key fits key \"ben\"", "\"ann\""],
    );
    says(&token.run(&bench, &create("pkcs11:token=ward;object=ben", "ben")), 0, &[]);
    says(
        &token.run(&bench, &["key", "check", "pkcs11:token=ward"]),
        2,
        &["several Ed25519 keys", "\"ann\"", "\"ben\""],
    );
    says(&token.run(&bench, &create("pkcs11:token=ward", "cy")), 2, &["needs a label"]);
    says(&token.run(&bench, &["key", "check", "pkcs11:token=ward?pin-value=1"]), 2, &["pin-value is refused"]);
}

#[test]
fn a_wrong_pin_is_tried_once_and_says_what_is_left() {
    let bench = Bench::new();
    let Some(token) = Token::new(&bench) else { return };
    says(&token.run(&bench, &create(ANN, "ann")), 0, &[]);
    let check = ["key", "check", ANN];
    let said = bench.show(&mut token.command(&bench, &check, Some("999999")), &check);
    says(&said, 3, &["the PIN of token \"ward\" is wrong", "tries are left", "will not be tried again"]);
    let said = bench.show(&mut token.command(&bench, &check, None), &check);
    says(&said, 2, &["needs its PIN", "nobody is at a terminal", "WARDROUND_PIN"]);
    // A passphrase is never taken for a PIN, so the token has one wrong try behind it, and goes on.
    says(&token.run(&bench, &check), 0, &["signs"]);
}

/// Ann's key for the root is on a token, the others' are in files: the result is the same to everyone who verifies it.
#[test]
fn a_root_is_signed_with_a_token() {
    let mut bench = Bench::new();
    let Some(token) = Token::new(&bench) else { return };
    let made = ["key", "create", "--holder", "Ann Lee", "--pkcs11", ANN, "--out", "ann.pub.json"];
    says(&token.run(&bench, &made), 0, &["key of Ann Lee, id"]);
    for (file, holder, role) in [
        ("ben.key", "Ben Ode", ""),
        ("rel.key", "Ann Lee", "release"),
        ("cli.key", "Ben Ode", "clinical"),
        ("cy.key", "Cy Fox", "on-call"),
        ("machine.key", "controller", ""),
    ] {
        bench.key(file, holder, role);
    }
    let init = [
        "root",
        "init",
        "--root",
        "ann.pub.json",
        "ben.pub.json",
        "--targets",
        "ann.pub.json",
        "ben.pub.json",
        "--release",
        "rel.pub.json",
        "--clinical",
        "cli.pub.json",
        "--on-call",
        "cy.pub.json",
        "--controller",
        "machine.pub.json",
    ];
    says(&token.run(&bench, &init), 0, &["! root: all 2 keys are needed"]);
    let ann = ["sign", "root.request.json", "--yes", "--key", ANN, "--out", "ann.answer.json"];
    says(&token.run(&bench, &ann), 0, &["signed: root 1 and targets 1 by key"]);
    let ben = ["sign", "root.request.json", "--yes", "--key", "ben.key", "--out", "ben.answer.json"];
    says(&token.run(&bench, &ben), 0, &["by Ben Ode"]);
    let both = ["root", "assemble", "root.request.json", "ann.answer.json", "ben.answer.json"];
    says(&token.run(&bench, &both), 0, &["complete: root 1 and targets 1"]);
    says(&bench.run(&["root", "verify", "repository"]), 0, &["good:"]);
}
