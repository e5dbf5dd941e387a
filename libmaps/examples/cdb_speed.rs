//! How long the cdb writer takes for a million entries, without any parsing.
//!
//! `cargo run --release -p libmaps --example cdb_speed -- OUT.cdb RECORDS.txt`
//! writes OUT.cdb and prints the seconds; RECORDS.txt is the same in the text
//! format of `cdb -c`, so that `time cdb -c PEER.cdb RECORDS.txt` compares.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::time::Instant;

use libmaps::store::CdbWriter;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(out), Some(records)) = (args.next(), args.next()) else {
        return Err("usage: cdb_speed OUT.cdb RECORDS.txt".into());
    };
    let entries: Vec<(String, String)> = (0..1_000_000_u64)
        .map(|number| {
            let scattered = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 24;
            (
                format!("connect:host{scattered}.example.org"),
                "REJECT".to_owned(),
            )
        })
        .collect();
    let mut text = BufWriter::new(File::create(records)?);
    for (lhs, rhs) in &entries {
        writeln!(text, "+{},{}:{lhs}->{rhs}", lhs.len(), rhs.len())?;
    }
    writeln!(text)?;
    text.flush()?;

    let start = Instant::now();
    let mut writer = CdbWriter::new(File::create(&out)?, &out);
    for (lhs, rhs) in &entries {
        writer.add(lhs.as_bytes(), rhs.as_bytes())?;
    }
    writer.finish()?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{} entries in {seconds:.3} s", entries.len());
    Ok(())
}
