//! The routes of the recorded sessions, asked of this library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    missing_docs
)]

mod recorded;

use recorded::{Tally, World, got, recorded, want};

#[test]
fn every_recorded_recipient_goes_the_same_way() {
    let mut tally = Tally::default();
    for site in recorded("decisions.jsonl") {
        let world = World::of(&site["files"]);
        for case in site["cases"].as_array().unwrap() {
            let to = case["session"]["rcpt_to"].as_str().unwrap();
            let decision = world.with(|addressing| addressing.route(to.as_bytes()).unwrap());
            tally.compare(
                case,
                &want(&case["expect"]["route"]),
                &got(&decision.outcome),
            );
        }
    }
    tally.check(1_400);
}
