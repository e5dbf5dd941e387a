//! The text of a queued message: its header, and its body in blocks.

use std::io::{self, Read};

use tokio::sync::mpsc;

use crate::queue::Text;
use crate::relay::mime::QuotedPrintable;

/// Octets of a block.
const BLOCK_OCTETS: usize = 64 * 1024;
/// Blocks that are read ahead.
const AHEAD: usize = 4;
/// Headers are refused at arrival beyond a mebibyte; what was added fits in here.
const MAX_HEADER_OCTETS: usize = 2 * 1024 * 1024;

/// The header with the empty line behind it taken off, and where the body starts.
///
/// # Errors
/// What reading says, or that there is no end of the header.
pub(crate) fn header(text: Text) -> io::Result<(Vec<u8>, u64)> {
    let mut reader = text.into_reader();
    let mut header = Vec::new();
    let mut searched = 0usize;
    loop {
        let mut block = vec![0; BLOCK_OCTETS];
        let octets = reader.read(&mut block)?;
        header.extend_from_slice(block.get(..octets).unwrap_or_default());
        if header.starts_with(b"\r\n") {
            return Ok((Vec::new(), 2));
        }
        let from = searched.saturating_sub(3);
        let fresh = header.get(from..).unwrap_or_default();
        if let Some(at) = fresh.windows(4).position(|w| w == b"\r\n\r\n") {
            let end = from + at + 2;
            header.truncate(end);
            return Ok((header, end as u64 + 2));
        }
        searched = header.len();
        if octets == 0 {
            // All header and no body.
            let end = header.len() as u64;
            return Ok((header, end));
        }
        if searched > MAX_HEADER_OCTETS {
            return Err(io::Error::other("a header without end"));
        }
    }
}

/// A piece of the way of a text.
#[derive(Debug, PartialEq, Eq)]
pub enum Block {
    /// Some of it.
    Text(Vec<u8>),
    /// All of it has been read. A reader that is gone without having said so has not.
    End,
}

/// How the body goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    AsIs,
    /// As quoted-printable.
    QuotedPrintable,
}

/// The header, an empty line, and the body of the text from an octet on, in blocks.
/// Reading blocks a thread of its own.
#[must_use]
pub(super) fn blocks(
    header: &[u8],
    text: Text,
    body_at: u64,
    coding: Coding,
) -> mpsc::Receiver<io::Result<Block>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    let head = [header, b"\r\n"].concat();
    tokio::task::spawn_blocking(move || {
        let result = send_all(head, text, body_at, coding, &sender);
        if let Err(error) = result {
            let _ = sender.blocking_send(Err(error));
        }
    });
    receiver
}

fn send_all(
    head: Vec<u8>,
    text: Text,
    body_at: u64,
    coding: Coding,
    sender: &mpsc::Sender<io::Result<Block>>,
) -> io::Result<()> {
    let mut reader = text.into_reader();
    if io::copy(&mut (&mut reader).take(body_at), &mut io::sink())? != body_at {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut encoder = match coding {
        Coding::AsIs => None,
        Coding::QuotedPrintable => Some(QuotedPrintable::default()),
    };
    let mut out = head;
    loop {
        let mut block = vec![0; BLOCK_OCTETS];
        let octets = reader.read(&mut block)?;
        block.truncate(octets);
        match &mut encoder {
            Some(encoder) => encoder.push(&block, &mut out),
            None if out.is_empty() => out = block,
            None => out.extend_from_slice(&block),
        }
        if octets == 0 {
            if let Some(encoder) = encoder.take() {
                encoder.finish(&mut out);
            }
            if !out.is_empty() {
                let _ = sender.blocking_send(Ok(Block::Text(out)));
            }
            let _ = sender.blocking_send(Ok(Block::End));
            return Ok(());
        }
        if out.len() >= BLOCK_OCTETS / 2
            && sender
                .blocking_send(Ok(Block::Text(std::mem::take(&mut out))))
                .is_err()
        {
            // The connection has gone.
            return Ok(());
        }
    }
}

/// Whether an octet of the body has its eighth bit set. This blocks.
///
/// # Errors
/// What reading says.
pub(super) fn has_eighth_bit(text: Text, body_at: u64) -> io::Result<bool> {
    let mut reader = text.into_reader();
    io::copy(&mut (&mut reader).take(body_at), &mut io::sink())?;
    let mut block = vec![0; BLOCK_OCTETS];
    loop {
        let octets = reader.read(&mut block)?;
        if octets == 0 {
            return Ok(false);
        }
        if !block.get(..octets).unwrap_or_default().is_ascii() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::queue::Stored;

    fn whole(text: &str) -> Text {
        let octets = text.len() as u64;
        Text::new(Stored::Memory(Cursor::new(text.as_bytes().into())), octets)
    }

    #[test]
    fn where_the_body_starts() {
        for (text, want, at) in [
            ("A: b\r\n\r\nbody\r\n", "A: b\r\n", 8),
            ("\r\nbody\r\n", "", 2),
            ("A: b\r\n", "A: b\r\n", 6),
            ("", "", 0),
        ] {
            let (header, found) = header(whole(text)).unwrap();
            assert_eq!(
                (String::from_utf8(header).unwrap().as_str(), found),
                (want, at)
            );
        }
        let long = format!("{}\r\n\r\nx", "A: b\r\n".repeat(100_000));
        let (found, at) = header(whole(&long)).unwrap();
        assert_eq!((found.len() as u64 + 2, at), (600_002, 600_002));
    }

    #[tokio::test]
    async fn all_of_it_in_blocks() {
        let body = "line\r\n".repeat(100_000);
        let text = format!("Old: x\r\n\r\n{body}");
        let mut all = Vec::new();
        let mut blocks = blocks(b"New: y\r\n", whole(&text), 10, Coding::AsIs);
        while let Block::Text(block) = blocks.recv().await.unwrap().unwrap() {
            all.extend(block);
        }
        assert!(blocks.recv().await.is_none());
        assert_eq!(
            String::from_utf8(all).unwrap(),
            format!("New: y\r\n\r\n{body}")
        );
    }

    #[tokio::test]
    async fn a_text_that_is_cut_off_has_no_end() {
        let text = Text::new(Stored::Memory(Cursor::new((*b"\r\nbody\r\n").into())), 100);
        let mut blocks = blocks(b"", text, 2, Coding::AsIs);
        let mut last = None;
        while let Some(block) = blocks.recv().await {
            last = Some(block.map_err(|e| e.kind()));
        }
        assert_eq!(last, Some(Err(io::ErrorKind::UnexpectedEof)));
    }
}
