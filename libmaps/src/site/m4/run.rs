//! The main loop: tokens, calls and their arguments.

use super::{Call, Definition, Frame, M4, M4Error, Step, limits};

impl M4 {
    /// Expands on until the caller has something to do.
    pub fn step(&mut self) -> Result<Step, M4Error> {
        loop {
            self.count(0)?;
            if self.looking_at(|m4| Some(&m4.quote.0)) {
                let text = self.quoted()?;
                self.write(&text)?;
                continue;
            }
            if self.looking_at(|m4| m4.comment.as_ref().map(|c| &c.0)) {
                let text = self.comment_text();
                self.write(&text)?;
                continue;
            }
            let Some(octet) = self.next() else {
                if let Some(step) = self.at_end()? {
                    return Ok(step);
                }
                continue;
            };
            if octet.is_ascii_alphabetic() || octet == b'_' {
                let word = self.word(octet);
                if let Some(step) = self.word_read(word)? {
                    return Ok(step);
                }
            } else if let Some(step) = self.other(octet)? {
                return Ok(step);
            }
        }
    }

    /// At the end of all input, or of an evaluation.
    fn at_end(&mut self) -> Result<Option<Step>, M4Error> {
        match self.frames.last() {
            Some(frame) if frame.definition.is_some() => {
                let text = format!(
                    "the file ends inside the arguments of {}",
                    String::from_utf8_lossy(&frame.name)
                );
                Err(M4Error {
                    place: frame.place.clone(),
                    text,
                })
            }
            Some(_) => Ok(Some(Step::End)),
            None if self.wrapped.is_empty() => Ok(Some(Step::End)),
            None => {
                let text = std::mem::take(&mut self.wrapped).concat();
                self.push(text.into())?;
                Ok(None)
            }
        }
    }

    fn word_read(&mut self, word: Vec<u8>) -> Result<Option<Step>, M4Error> {
        let Some(definition) = self.macros.get(&word).and_then(|d| d.last()).cloned() else {
            self.write(&word)?;
            return Ok(None);
        };
        let open = self.peek() == Some(b'(');
        let needs_arguments = match &definition {
            Definition::Builtin(builtin) => builtin.needs_arguments(),
            Definition::Native => native_needs_arguments(&word),
            Definition::Text(_) => false,
        };
        if needs_arguments && !open {
            self.write(&word)?;
            return Ok(None);
        }
        self.calls += 1;
        if self.calls > limits::CALLS {
            return Err(self.error(format!(
                "{} is called without end",
                String::from_utf8_lossy(&word)
            )));
        }
        let frame = Frame {
            name: word,
            definition: Some(definition),
            place: self.place(),
            arguments: Vec::new(),
            current: Vec::new(),
            parentheses: 0,
            at_start: true,
        };
        if !open {
            return self.call(frame);
        }
        self.next();
        if self.frames.len() >= limits::NESTING {
            return Err(self.error("calls are nested too deeply"));
        }
        self.frames.push(frame);
        Ok(None)
    }

    /// An octet that is no part of a word, a quotation or a comment.
    fn other(&mut self, octet: u8) -> Result<Option<Step>, M4Error> {
        let Some(frame) = self.frames.last_mut().filter(|f| f.definition.is_some()) else {
            self.write(&[octet])?;
            return Ok(None);
        };
        if frame.at_start && octet.is_ascii_whitespace() {
            return Ok(None);
        }
        match octet {
            b',' if frame.parentheses == 0 => {
                frame.arguments.push(std::mem::take(&mut frame.current));
                frame.at_start = true;
                if frame.arguments.len() > limits::ARGUMENTS {
                    return Err(self.error("a call has too many arguments"));
                }
                return Ok(None);
            }
            b')' if frame.parentheses == 0 => {
                if let Some(mut frame) = self.frames.pop() {
                    frame.arguments.push(std::mem::take(&mut frame.current));
                    return self.call(frame);
                }
                return Ok(None);
            }
            b'(' => frame.parentheses += 1,
            b')' => frame.parentheses -= 1,
            _ => {}
        }
        frame.at_start = false;
        frame.current.push(octet);
        Ok(None)
    }

    fn call(&mut self, frame: Frame) -> Result<Option<Step>, M4Error> {
        match frame.definition {
            Some(Definition::Text(text)) => {
                let expansion = if text.contains(&b'$') {
                    self.expanded(&text, &frame.name, &frame.arguments)?.into()
                } else {
                    text
                };
                self.push(expansion)?;
                Ok(None)
            }
            Some(Definition::Builtin(builtin)) => self.run(builtin, frame.arguments, frame.place),
            Some(Definition::Native) => Ok(Some(Step::Native(Call {
                name: String::from_utf8_lossy(&frame.name).into_owned(),
                arguments: frame.arguments,
                place: frame.place,
            }))),
            None => Ok(None),
        }
    }
}

/// The native macros that mean something without arguments; the others are plain words then.
fn native_needs_arguments(name: &[u8]) -> bool {
    !(name.starts_with(b"LOCAL_") || name == b"MAILER_DEFINITIONS")
        || matches!(name, b"LOCAL_DOMAIN" | b"LOCAL_USER" | b"LOCAL_USER_FILE")
}
