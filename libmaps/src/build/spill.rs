//! A sorted run in a file.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::runs::{HEAD_OCTETS, Record};

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

impl SpilledRun {
    /// Writes the records at `start`; they come sorted.
    pub(super) fn write<'a>(
        file: Arc<File>,
        start: u64,
        records: impl Iterator<Item = Record<'a>>,
    ) -> io::Result<Self> {
        let mut end = start;
        let mut buffer = Vec::with_capacity(WINDOW_OCTETS * 2);
        for record in records {
            record.write(&mut buffer);
            if buffer.len() >= WINDOW_OCTETS {
                file.write_all_at(&buffer, end)?;
                end += buffer.len() as u64;
                buffer.clear();
            }
        }
        file.write_all_at(&buffer, end)?;
        end += buffer.len() as u64;
        Ok(SpilledRun {
            file,
            at: start,
            end,
            window: Vec::new(),
            head: 0,
        })
    }

    /// Where the run ends in the file.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// The record in front; `None` before [`SpilledRun::begin`] and after the last one.
    pub(super) fn head(&self) -> Option<Record<'_>> {
        Record::read(&self.window, self.head)
    }

    /// Reads the first record in.
    pub(super) fn begin(&mut self) -> io::Result<()> {
        self.refill()
    }

    /// Goes on to the next record.
    pub(super) fn advance(&mut self) -> io::Result<()> {
        if let Some(record) = self.head() {
            self.head += HEAD_OCTETS + record.lhs.len() + record.rhs.len();
        }
        if self.head().is_none() && self.at < self.end {
            self.refill()?;
        }
        Ok(())
    }

    /// Moves what is left to the front and reads on until a whole record is there.
    fn refill(&mut self) -> io::Result<()> {
        self.window.drain(..self.head);
        self.head = 0;
        while self.head().is_none() && self.at < self.end {
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
