//! Plays recorded SMTP dialogues against the server: whole program, real sockets, free
//! ports, and a name server of our own.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

mod name_server;
mod play;
mod site;

use serde_json::Value;

/// Dialogues whose replies are late by design; they take longer than a test should.
const SLOW: &[&str] = &["many-noop", "many-helo", "data-extra-args"];

/// Steps where this server says something else on purpose, with the reason.
const DIFFERENT: &[(&str, &str)] = &[];

#[test]
fn every_recorded_dialogue() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../testdata/conformance/live.jsonl"
    );
    let text = std::fs::read_to_string(path).unwrap();
    let (mut steps, mut faults) = (0, Vec::new());
    for line in text.lines() {
        let site: Value = serde_json::from_str(line).unwrap();
        let name = site["site"].as_str().unwrap();
        let running = site::Running::start(&site);
        for dialogue in site["dialogues"].as_array().unwrap() {
            let id = dialogue["id"].as_str().unwrap();
            let place = format!("{name}/{id}");
            if SLOW.contains(&id) || DIFFERENT.iter().any(|(known, _)| *known == place) {
                continue;
            }
            for (step, want, got) in play::play(&running, dialogue) {
                steps += 1;
                if !play::same(&step, &want, &got) {
                    faults.push(format!(
                        "{place} {step}\n  recorded {want:?}\n  said     {got:?}"
                    ));
                }
            }
        }
    }
    assert!(
        faults.is_empty(),
        "{} of {steps}:\n{}",
        faults.len(),
        faults.join("\n")
    );
    assert!(steps > 400, "only {steps} steps");
}
