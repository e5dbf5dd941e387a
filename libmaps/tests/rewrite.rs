//! The recordings of address rewriting, asked of this library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    missing_docs
)]

mod recorded;

use recorded::{Tally, World, recorded, squash};

#[test]
fn every_recorded_address_is_rewritten_the_same() {
    let mut tally = Tally::default();
    for site in recorded("rewrite.jsonl") {
        let world = World::of(&site["files"]);
        for case in site["cases"].as_array().unwrap() {
            let text = |key: &str| case[key].as_str().unwrap();
            let role = text("as").parse().unwrap();
            let mailer = world.site.mailers.get(text("mailer")).unwrap();
            let decision = world.with(|addressing| {
                let address = text("address").as_bytes();
                addressing.rewrite(role, mailer, address).unwrap()
            });
            let result = String::from_utf8_lossy(&decision.outcome).into_owned();
            tally.compare(case, &squash(text("result")), &squash(&result));
        }
    }
    tally.check(2_000);
}
