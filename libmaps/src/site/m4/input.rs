//! What is read, octet by octet, and where what was read goes.

use std::sync::Arc;

use super::{M4, M4Error, Source, limits};

impl M4 {
    pub(super) fn push(&mut self, text: Arc<[u8]>) -> Result<(), M4Error> {
        while self
            .input
            .last()
            .is_some_and(|s| s.at >= s.text.len() && s.file.is_none() && !s.barrier)
        {
            self.input.pop();
        }
        if self.input.len() >= limits::PENDING {
            return Err(self.error("a macro calls itself without end"));
        }
        self.octets += text.len();
        let file_below = match self.input.last() {
            Some(top) if top.file.is_some() => Some(self.input.len() - 1),
            top => top.and_then(|top| top.file_below),
        };
        self.input.push(Source {
            text,
            at: 0,
            file: None,
            file_below,
            barrier: false,
        });
        Ok(())
    }

    /// Counts octets before they are made.
    pub(super) fn count(&mut self, octets: usize) -> Result<(), M4Error> {
        self.octets = self.octets.saturating_add(octets);
        if self.octets > limits::OCTETS {
            return Err(self.error("the configuration expands without end"));
        }
        Ok(())
    }

    /// Writes to the arguments that are being collected, else to the current diversion.
    pub(super) fn write(&mut self, text: &[u8]) -> Result<(), M4Error> {
        if let Some(frame) = self.frames.last_mut() {
            frame.at_start = false;
            frame.current.extend_from_slice(text);
            return Ok(());
        }
        if self.diversion < 0 {
            return Ok(());
        }
        let place = self.place();
        self.output.write(self.diversion, text, &place);
        if self.output.octets() > limits::OUTPUT {
            return Err(self.error("the configuration writes too much"));
        }
        Ok(())
    }

    pub(super) fn peek(&mut self) -> Option<u8> {
        loop {
            let source = self.input.last()?;
            if let Some(octet) = source.text.get(source.at) {
                return Some(*octet);
            }
            if source.barrier {
                return None;
            }
            self.last_line = source.file.or(self.last_line);
            self.input.pop();
        }
    }

    pub(super) fn next(&mut self) -> Option<u8> {
        let octet = self.peek()?;
        self.skip(1);
        Some(octet)
    }

    /// Passes over `octets` of the text on top.
    pub(super) fn skip(&mut self, octets: usize) {
        self.octets += octets;
        if let Some(source) = self.input.last_mut() {
            let end = source.text.len().min(source.at + octets);
            if let Some((_, line)) = &mut source.file {
                let passed = source.text.get(source.at..end).unwrap_or_default();
                let lines = passed.iter().filter(|b| **b == b'\n').count();
                *line = line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
            }
            source.at = end;
        }
    }

    pub(super) fn looking_at(&mut self, text: impl Fn(&M4) -> Option<&Vec<u8>>) -> bool {
        if self.peek().is_none() {
            return false;
        }
        text(self).is_some_and(|wanted| !wanted.is_empty() && self.rest().starts_with(wanted))
    }

    /// What is left of the text on top.
    fn rest(&self) -> &[u8] {
        self.input
            .last()
            .and_then(|source| source.text.get(source.at..))
            .unwrap_or_default()
    }

    pub(super) fn word(&mut self, first: u8) -> Vec<u8> {
        let mut word = vec![first];
        while self.peek().is_some() {
            let rest = self.rest();
            let octets = rest
                .iter()
                .take_while(|b| b.is_ascii_alphanumeric() || **b == b'_')
                .count();
            if octets == 0 {
                break;
            }
            word.extend_from_slice(rest.get(..octets).unwrap_or_default());
            self.skip(octets);
        }
        word
    }

    /// A quotation without its outer quotes.
    pub(super) fn quoted(&mut self) -> Result<Vec<u8>, M4Error> {
        let start = self.place();
        let (open, close) = self.quote.clone();
        self.skip(open.len());
        let mut text = Vec::new();
        let mut depth = 1usize;
        loop {
            if self.looking_at(|m4| Some(&m4.quote.1)) {
                self.skip(close.len());
                depth -= 1;
                if depth == 0 {
                    return Ok(text);
                }
                text.extend_from_slice(&close);
            } else if self.looking_at(|m4| Some(&m4.quote.0)) {
                self.skip(open.len());
                depth += 1;
                text.extend_from_slice(&open);
            } else if self.peek().is_none() {
                return Err(M4Error {
                    place: start,
                    text: "a quotation that starts here does not end".to_owned(),
                });
            } else {
                // At least one octet, then all up to what may be a quote.
                let marks = [open.first(), close.first()];
                let rest = self.rest();
                let plain = rest
                    .iter()
                    .skip(1)
                    .take_while(|b| !marks.contains(&Some(*b)))
                    .count();
                text.extend_from_slice(rest.get(..=plain).unwrap_or_default());
                self.skip(plain + 1);
            }
        }
    }

    pub(super) fn comment_text(&mut self) -> Vec<u8> {
        let mut text = Vec::new();
        let Some((start, end)) = self.comment.clone() else {
            return text;
        };
        self.skip(start.len());
        text.extend_from_slice(&start);
        while !self.looking_at(|m4| m4.comment.as_ref().map(|c| &c.1)) {
            match self.next() {
                Some(octet) => text.push(octet),
                None => return text,
            }
        }
        self.skip(end.len());
        text.extend_from_slice(&end);
        text
    }
}
