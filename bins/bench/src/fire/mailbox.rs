//! The mailbox file at the end.

use std::fs;
use std::io;
use std::path::Path;

use super::ledger::Ledger;

/// Notes every message of a mailbox file.
///
/// # Errors
/// It can't be read.
pub(super) fn read(path: &Path, ledger: &Ledger) -> io::Result<()> {
    let text = fs::read(path)?;
    let mut message: Vec<u8> = Vec::new();
    let mut before_blank = true;
    for line in text.split_inclusive(|octet| *octet == b'\n') {
        if before_blank && line.starts_with(b"From ") {
            ledger.note_in_mailbox(without_end(&message));
            message.clear();
        } else {
            message.extend_from_slice(line);
        }
        before_blank = line == b"\n";
    }
    ledger.note_in_mailbox(without_end(&message));
    Ok(())
}

/// The message without the empty line that ends it.
fn without_end(message: &[u8]) -> &[u8] {
    match message.strip_suffix(b"\n\n") {
        Some(head) => message.get(..head.len() + 1).unwrap_or(message),
        None => message,
    }
}
