//! A sorted run in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::record::Record;

const WINDOW_OCTETS: usize = 128 << 10;

/// A sorted run in a part of a file that several runs share.
pub(super) struct SpilledRun {
    file: Arc<File>,
    /// What of the file has not been read into the window yet.
    at: u64,
    end: u64,
    window: Vec<u8>,
    /// Where in the window the head begins.
    head: usize,
}

/// Writes a run, record by record in order.
pub(super) struct SpillWriter {
    file: Arc<File>,
    start: u64,
    end: u64,
    buffer: Vec<u8>,
}

impl SpillWriter {
    /// A run that begins at `start`.
    pub(super) fn new(file: Arc<File>, start: u64) -> Self {
        SpillWriter {
            file,
            start,
            end: start,
            buffer: Vec::with_capacity(WINDOW_OCTETS * 2),
        }
    }

    pub(super) fn put(&mut self, record: Record<'_>) -> io::Result<()> {
        record.write(&mut self.buffer);
        if self.buffer.len() >= WINDOW_OCTETS {
            self.flush()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.end)?;
        self.end += self.buffer.len() as u64;
        self.buffer.clear();
        Ok(())
    }

    pub(super) fn finish(mut self) -> io::Result<SpilledRun> {
        self.flush()?;
        Ok(SpilledRun {
            file: self.file,
            at: self.start,
            end: self.end,
            window: Vec::new(),
            head: 0,
        })
    }
}

impl SpilledRun {
    /// Where the run ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// What is in the window from the record in front on.
    pub(super) fn rest(&self) -> &[u8] {
        self.window.get(self.head..).unwrap_or_default()
    }

    fn has_no_whole_record(&self) -> bool {
        Record::split(self.rest()).is_none()
    }

    /// Reads the first record in.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.refill()
    }

    /// Goes on to the next record, behind one of so many octets.
    pub(super) fn advance(&mut self, len: usize) -> io::Result<()> {
        self.head += len;
        if self.has_no_whole_record() && self.at < self.end {
            self.refill()?;
        }
        Ok(())
    }

    /// Moves what is left to the front and reads on until a whole record is there.
    fn refill(&mut self) -> io::Result<()> {
        self.window.drain(..self.head);
        self.head = 0;
        while self.has_no_whole_record() && self.at < self.end {
            let kept = self.window.len();
            let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX);
            self.window.resize(kept + left.min(WINDOW_OCTETS), 0);
            let room = self.window.get_mut(kept..).unwrap_or_default();
            self.file.read_exact_at(room, self.at)?;
            self.at += room.len() as u64;
        }
        Ok(())
    }
}
