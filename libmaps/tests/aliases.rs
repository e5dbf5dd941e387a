//! The recordings of alias expansion, asked of this library.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    dead_code,
    missing_docs
)]

mod recorded;

use libmaps::policy::expand::Expander;
use libmaps::policy::expand::include::SiteIncludes;
use recorded::{Tally, World, got, recorded, want};

#[test]
fn every_recorded_expansion_is_made_again() {
    let mut tally = Tally::default();
    for site in recorded("aliases.jsonl") {
        let world = World::of(&site["files"]);
        let aliases = world.maps.alias_table();
        for case in site["cases"].as_array().unwrap() {
            let address = case["address"].as_str().unwrap();
            let expansion = world.with(|addressing| {
                let expander = Expander {
                    addressing,
                    aliases: &aliases,
                    users: &world.users,
                    includes: &SiteIncludes { site: &world.site },
                };
                expander.expand(address.as_bytes()).unwrap()
            });
            let expect = &case["expect"];
            let list = |key: &str| expect[key].as_array().unwrap().clone();
            let mut deliver: Vec<_> = list("deliver").iter().map(want).collect();
            deliver.sort();
            let mut unknown: Vec<_> = list("unknown")
                .iter()
                .map(|name| name.as_str().unwrap().to_owned())
                .collect();
            unknown.sort();
            unknown.dedup();
            let mut delivered: Vec<_> = expansion.deliver().into_iter().map(got).collect();
            delivered.sort();
            delivered.dedup();
            tally.compare(case, &deliver, &delivered);
            tally.compare(case, &unknown, &expansion.unknown());
            let any = |errors: usize| errors > 0;
            tally.compare(
                case,
                &any(list("errors").len()),
                &any(expansion.errors().len()),
            );
        }
    }
    tally.check(1_400);
}
