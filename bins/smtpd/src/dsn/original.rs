//! The message that a notice is about, as its last part.

use std::io::{self, BufRead, BufReader, Read, Write};

use super::Returns;

/// Lines are looked at in pieces of at most so many octets.
const PIECE_OCTETS: u64 = 64 * 1024;

/// Whether what would be returned has octets above 127.
///
/// # Errors
/// What reading says.
pub(super) fn has_eight_bits(message: impl Read, returns: Returns) -> io::Result<bool> {
    let mut eight = false;
    each_piece(message, returns, |piece| {
        eight |= !piece.is_ascii();
        Ok(())
    })?;
    Ok(eight)
}

/// Writes the message, or its header.
///
/// # Errors
/// What reading and writing say.
pub(super) fn copy(message: impl Read, returns: Returns, out: &mut dyn Write) -> io::Result<()> {
    each_piece(message, returns, |piece| out.write_all(piece))
}

fn each_piece(
    message: impl Read,
    returns: Returns,
    mut with: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut message = BufReader::new(message);
    let (mut piece, mut at_start) = (Vec::new(), true);
    loop {
        piece.clear();
        if (&mut message)
            .take(PIECE_OCTETS)
            .read_until(b'\n', &mut piece)?
            == 0
        {
            return Ok(());
        }
        if at_start && returns == Returns::Header && piece == b"\r\n" {
            return Ok(());
        }
        with(&piece)?;
        at_start = piece.ends_with(b"\n");
    }
}
