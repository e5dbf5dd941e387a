//! The queue under fire: killed again and again while it takes mail, its disk full, its files
//! used up. Every message that was answered with 250 must arrive, whole.
//!
//! `cargo run --release -p bench -- faults queue` does the same for long.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::path::Path;
use std::time::Duration;

use bench::fire::ruin::{Skipped, few_files, full_disk};
use bench::fire::{Fire, Pauses, Totals, under_kills};

fn fire(folder: &Path, messages: u32, connections: usize) -> Fire {
    Fire {
        programs: Path::new(env!("CARGO_BIN_EXE_smtpd"))
            .parent()
            .unwrap()
            .into(),
        folder: folder.into(),
        messages,
        connections,
    }
}

/// A folder that the server's user gets into.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    folder
}

/// What holds in every case.
fn judge(totals: &Totals, messages: u32) {
    println!("{totals:#?}");
    assert_eq!(totals.acknowledged, u64::from(messages), "{totals:#?}");
    assert_eq!(totals.losses, Vec::<String>::new());
    assert_eq!(totals.lost, 0);
    assert!(totals.found >= u64::from(messages));
}

#[test]
fn nothing_that_was_answered_with_250_is_lost_by_kills() {
    let folder = folder();
    let pauses = Pauses {
        least: Duration::from_millis(50),
        most: Duration::from_millis(250),
        kills: std::env::var_os("SMTPD_FIRE_MESSAGES").map_or(12, |_| u64::MAX),
    };
    // More for a longer fire.
    let messages = std::env::var("SMTPD_FIRE_MESSAGES").ok();
    let messages = messages.map_or(1000, |number| number.parse().unwrap());
    let totals = under_kills(&fire(folder.path(), messages, 16), pauses).unwrap();
    judge(&totals, messages);
    assert!(totals.kills > 0, "{totals:#?}");
}

#[test]
fn a_full_disk_refuses_and_loses_nothing() {
    let folder = folder();
    match full_disk(&fire(folder.path(), 600, 16)).unwrap() {
        Ok(totals) => {
            judge(&totals, 600);
            assert!(totals.not_now > 0, "{totals:#?}");
        }
        Err(Skipped(why)) => eprintln!("skipped: {why}"),
    }
}

#[test]
fn few_files_make_clients_wait_and_lose_nothing() {
    let folder = folder();
    for files in [230, 48] {
        let folder = folder.path().join(files.to_string());
        std::fs::create_dir(&folder).unwrap();
        let totals = few_files(&fire(&folder, 150, 40), files).unwrap();
        judge(&totals, 150);
    }
}
