//! The record of a generation, a JSON object.

use std::time::Duration;

use libmaps::store::shared::{Digest, Offer, Origin, Way};
use serde_json::{Value, json};

use crate::engine::Generation;
use crate::fault::Fault;

/// The record of a new generation, without the time of its commit.
pub(super) fn text(generation: &Generation, pieces: u64) -> String {
    let offer = &generation.offer;
    let mut record = json!({
        "mark": generation.origin.mark,
        "entries": offer.digest.entries().to_string(),
        "digest": offer.digest.to_string(),
        "class": offer.class.as_str(),
        "duplicates": offer.duplicates_word(),
        "options": offer.options,
        "program": offer.program,
        "host": generation.host,
        "pieces": pieces,
    });
    if let Some(fields) = record.as_object_mut() {
        if let Some(source) = &offer.source {
            fields.insert("source".into(), source.as_str().into());
        }
        if let (Some(base), Some(keys)) = (generation.base, generation.keys()) {
            fields.insert("base".into(), base.into());
            fields.insert("keys".into(), keys.into());
        }
    }
    record.to_string()
}

/// A generation of its record, and the number of its pieces; `now_ms` is the server's clock.
pub(super) fn parse(number: u64, text: &str, now_ms: u64) -> Result<(Generation, u64), Fault> {
    let bad = |field: &str| Fault::damaged(format!("generation {number}: {field} makes no sense"));
    let record: Value = serde_json::from_str(text).map_err(|_| bad("its record"))?;
    let word = |field: &str| record.get(field).and_then(Value::as_str);
    // Lua writes whole numbers that are large as if they were fractions.
    let count = |field: &str| {
        let value = record.get(field)?;
        value.as_u64().or_else(|| value.as_f64().map(|n| n as u64))
    };
    let entries = word("entries").and_then(|n| n.parse().ok());
    let entries = entries.ok_or_else(|| bad("entries"))?;
    let digest = word("digest").and_then(|d| Digest::parse(d, entries));
    let class = word("class").and_then(Offer::class_of);
    let duplicates = word("duplicates").and_then(Offer::duplicates_of);
    let origin = format!("{number} {}", word("mark").unwrap_or_default());
    let base = count("base");
    let committed = count("committed_ms").unwrap_or(now_ms);
    let generation = Generation {
        origin: Origin::parse(&origin).ok_or_else(|| bad("mark"))?,
        base,
        offer: Offer {
            way: match (base, count("keys")) {
                (Some(_), Some(keys)) => Way::Difference { keys },
                _ => Way::Full,
            },
            digest: digest.ok_or_else(|| bad("digest"))?,
            class: class.ok_or_else(|| bad("class"))?,
            duplicates: duplicates.ok_or_else(|| bad("duplicates"))?,
            options: word("options").unwrap_or_default().to_owned(),
            source: word("source").map(str::to_owned),
            program: word("program").unwrap_or_default().to_owned(),
        },
        host: word("host").unwrap_or_default().to_owned(),
        age: Duration::from_millis(now_ms.saturating_sub(committed)),
    };
    Ok((generation, count("pieces").ok_or_else(|| bad("pieces"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::generation;

    #[test]
    fn records_come_back() {
        for base in [None, Some(3)] {
            let one = generation(7, base);
            let (back, pieces) = parse(7, &text(&one, 4), 5).unwrap();
            assert_eq!((back, pieces), (one, 4));
        }
        for bad in ["", "{}", "[]", r#"{"entries":"x"}"#] {
            assert!(parse(7, bad, 0).is_err(), "{bad}");
        }
    }
}
