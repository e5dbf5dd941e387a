//! The header of a message as it comes in: what is added, what is taken out, what is
//! counted. Text in, text out; nothing is read or written here.
//!
//! As sendmail does: the Received line and missing Date, From and Message-Id fields
//! stand first, then the fields that came, without Return-Path, Bcc, Resent-Bcc,
//! Content-Length, Full-Name and empty ones of the fields that are added where they are
//! missing. A message that is sent once more gets Resent-Date, Resent-From and
//! Resent-Message-Id too. A line that is neither a field nor a continuation begins the body,
//! and an empty line is put before it.

use std::collections::BTreeMap;

use crate::queue::schedule::Urgency;

/// Header text is held in memory up to its end, so there is a limit in any case.
const MAX_HEADER_OCTETS: usize = 1024 * 1024;
/// The name of a field ends, with its colon, within so many octets of its line.
const MAX_NAME_OCTETS: usize = 4096;

/// The limit for a header where the site allows `max_octets`; 0 is no limit of the site's.
pub(crate) fn header_limit(max_octets: usize) -> usize {
    match max_octets {
        0 => MAX_HEADER_OCTETS,
        octets => octets.min(MAX_HEADER_OCTETS),
    }
}

/// Values for fields that may be missing.
#[derive(Clone, Debug, Default)]
pub struct Stamp {
    /// The Received field's value, folded with `\n\t`.
    pub received: String,
    /// A date for Date and Resent-Date.
    pub date: String,
    /// A Message-Id with its brackets.
    pub message_id: String,
    /// The sender's address for From; `None` for the null sender, who gets none.
    pub from: Option<String>,
    /// The sender's name as a phrase (RFC 5322 section 3.2.5), for a From field that is added.
    pub full_name: Option<String>,
    /// Texts of X-Authentication-Warning fields.
    pub warnings: Vec<String>,
    /// Most octets of all fields together, a line end counted as one; 0 is no limit.
    pub max_octets: usize,
}

impl Stamp {
    fn limit(&self) -> usize {
        header_limit(self.max_octets)
    }
}

/// What was learned from the header.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Received fields that came with the message.
    pub hops: u32,
    /// The Message-Id that it has now.
    pub message_id: String,
    /// The Precedence class, as sendmail numbers it.
    pub class: i32,
    /// What the Priority field says, or a Precedence below 0.
    pub urgency: Urgency,
    /// Whether it has a Return-Receipt-To field.
    pub wants_receipt: bool,
}

/// The header was longer than allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Passes a message through, working on its header.
#[derive(Debug)]
pub struct HeaderFilter {
    stamp: Stamp,
    precedences: BTreeMap<String, i32>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Collecting header text: whole lines, and one that is unfinished.
    Header {
        /// All of it.
        text: Vec<u8>,
        /// Its lines before the unfinished one.
        lines: Judged,
    },
    /// The body goes through; the last two octets are kept to see whether it ends in CRLF.
    Body(Summary, [u8; 2]),
    /// Too much header; everything is thrown away.
    Overfull,
}

impl HeaderFilter {
    /// A filter for one message.
    #[must_use]
    pub fn new(stamp: Stamp) -> Self {
        HeaderFilter {
            stamp,
            precedences: BTreeMap::new(),
            state: State::Header {
                text: Vec::new(),
                lines: Judged::default(),
            },
        }
    }

    /// With the numbers that the site gives to words of Precedence.
    #[must_use]
    pub fn with_precedences(self, precedences: &BTreeMap<String, i32>) -> Self {
        HeaderFilter {
            precedences: precedences.clone(),
            ..self
        }
    }

    /// Takes the next piece of text (lines end in CRLF) and appends what is to be kept.
    pub fn push(&mut self, piece: &[u8], out: &mut Vec<u8>) {
        match &mut self.state {
            State::Overfull => {}
            State::Body(_, last) => pass(piece, last, out),
            State::Header { text, lines } => {
                let scanned = text.len();
                text.extend_from_slice(piece);
                let limit = self.stamp.limit();
                match reach(text, lines, scanned, limit) {
                    Reach::Ends(end) => self.begin_body(end, out),
                    Reach::TooLarge => self.state = State::Overfull,
                    Reach::Open => {}
                }
            }
        }
    }

    /// How much of the header is held in memory: nothing once it is whole.
    #[must_use]
    pub fn held_octets(&self) -> usize {
        match &self.state {
            State::Header { text, .. } => text.capacity(),
            State::Body(..) | State::Overfull => 0,
        }
    }

    /// Gives up what is held: the message is not wanted any more.
    pub fn forget(&mut self) {
        self.state = State::Overfull;
    }

    fn begin_body(&mut self, end: usize, out: &mut Vec<u8>) {
        let state = std::mem::replace(&mut self.state, State::Overfull);
        let State::Header { text, .. } = state else {
            return;
        };
        let (header, body) = text.split_at_checked(end).unwrap_or((&text, b""));
        let summary = write_header(&self.stamp, &self.precedences, header, out);
        out.extend_from_slice(b"\r\n");
        let body = body.strip_prefix(b"\r\n").unwrap_or(body);
        let mut last = *b"\r\n";
        pass(body, &mut last, out);
        self.state = State::Body(summary, last);
    }

    /// The message has ended.
    ///
    /// # Errors
    /// When there was more header than allowed.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Summary, TooLarge> {
        if let State::Header { text, lines } = &mut self.state {
            let limit = self.stamp.limit();
            if let Reach::Ends(end) = last_reach(text, lines, limit) {
                self.begin_body(end, out);
            }
        }
        match self.state {
            State::Body(summary, last) => {
                if last != *b"\r\n" {
                    out.extend_from_slice(b"\r\n");
                }
                Ok(summary)
            }
            _ => Err(TooLarge),
        }
    }
}

fn pass(piece: &[u8], last: &mut [u8; 2], out: &mut Vec<u8>) {
    out.extend_from_slice(piece);
    for octet in piece.iter().skip(piece.len().saturating_sub(2)) {
        *last = [last[1], *octet];
    }
}

/// How far a header goes that comes in pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Its end has not come yet.
    Open,
    /// So many octets are header.
    Ends(usize),
    /// Further than allowed.
    TooLarge,
}

/// The whole lines that were judged so far, and are header.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Judged {
    /// Where the first line starts that is not judged yet.
    end: usize,
    /// How many they are.
    count: usize,
}

impl Judged {
    /// The octets up to `end` as MaxHeadersLength counts them: a line end is one.
    fn octets(self, end: usize) -> usize {
        end.saturating_sub(self.count)
    }
}

/// Judges the header that `text` begins with, which may have `limit` octets, a line end
/// counted as one. This is the one judge: what `sendmail` accepts the server takes. `lines` and
/// `scanned` are as for [`header_end`].
pub(crate) fn reach(text: &[u8], lines: &mut Judged, scanned: usize, limit: usize) -> Reach {
    match header_end(text, lines, scanned) {
        Some(end) if lines.octets(end) > limit => Reach::TooLarge,
        Some(end) => Reach::Ends(end),
        // The line at hand may turn out to be body: leave it room.
        None if lines.octets(text.len()) > limit.saturating_add(MAX_NAME_OCTETS) => Reach::TooLarge,
        None => Reach::Open,
    }
}

/// Judges the header of a message that has ended; where its last line has no end, that is
/// added.
pub(crate) fn last_reach(text: &mut Vec<u8>, lines: &mut Judged, limit: usize) -> Reach {
    if !text.is_empty() && !text.ends_with(b"\r\n") {
        text.extend_from_slice(b"\r\n");
    }
    let scanned = lines.end;
    match header_end(text, lines, scanned).unwrap_or(text.len()) {
        end if lines.octets(end) > limit => Reach::TooLarge,
        end => Reach::Ends(end),
    }
}

/// Where the header ends, if its end is in `text`: before an empty line or before a
/// line that is no field, which a long one is known to be before its end has come. `lines`
/// are those judged before, and grow; the first `scanned` octets of text were searched for the
/// end of the next one before.
fn header_end(text: &[u8], lines: &mut Judged, scanned: usize) -> Option<usize> {
    let mut search = scanned.saturating_sub(1).max(lines.end);
    loop {
        let length = text.get(search..)?.windows(2).position(|w| w == b"\r\n");
        let end = length.map_or(text.len(), |length| search + length);
        let this = text.get(lines.end..end)?;
        if length.is_none() && this.len() < MAX_NAME_OCTETS {
            return None;
        }
        let head = this.get(..MAX_NAME_OCTETS).unwrap_or(this);
        let first = lines.end == 0;
        let continued = !first && matches!(head.first(), Some(b' ' | b'\t'));
        if !(continued || field_name(head).is_some() || (first && is_unix_from(head))) {
            return Some(lines.end);
        }
        length?;
        lines.end = end + 2;
        lines.count += 1;
        search = lines.end;
    }
}

/// `From someone at some time`: the separator of mailbox files, not a field.
fn is_unix_from(line: &[u8]) -> bool {
    line.starts_with(b"From ") && field_name(line).is_none()
}

/// The name of a field (RFC 5322 section 2.2), blanks before the colon allowed.
pub(crate) fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|c| *c == b':')?;
    let name = line.get(..colon)?.trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// The fields that make a message one that is sent once more, as sendmail knows them. Others
/// whose names begin with `Resent-` are mere text, `Resent-By` and `Resent-User-Agent` among them.
const RESENT_FIELDS: [&[u8]; 8] = [
    b"resent-sender",
    b"resent-from",
    b"resent-reply-to",
    b"resent-to",
    b"resent-cc",
    b"resent-bcc",
    b"resent-date",
    b"resent-message-id",
];

/// Whether a field of this name says that the message is sent once more
/// (RFC 5322 section 3.6.6).
pub(crate) fn is_resent(name: &[u8]) -> bool {
    RESENT_FIELDS
        .iter()
        .any(|known| name.eq_ignore_ascii_case(known))
}

/// Fields that are added where they are missing, and replaced where they are empty.
const NEVER_EMPTY: [&str; 6] = [
    "Date",
    "From",
    "Message-Id",
    "Resent-Date",
    "Resent-From",
    "Resent-Message-Id",
];

/// One field: its name, and all its lines behind the colon.
struct Field<'a> {
    name: &'a [u8],
    value: &'a [u8],
}

fn fields(header: &[u8]) -> Vec<Field<'_>> {
    let mut all = Vec::new();
    for field in each_field(header) {
        let Some(name) = field_name(field) else {
            continue;
        };
        let colon = field.iter().position(|c| *c == b':').unwrap_or(0);
        let value = field.get(colon + 1..).unwrap_or_default();
        let value = value.strip_suffix(b"\r\n").unwrap_or(value);
        all.push(Field { name, value });
    }
    all
}

/// The fields one by one, each with its continuation lines and line ends.
pub(crate) fn each_field(header: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = header;
    std::iter::from_fn(move || {
        let (field, tail) = rest.split_at_checked(field_length(rest))?;
        rest = tail;
        (!field.is_empty()).then_some(field)
    })
}

/// Octets of the first field with its continuation lines.
fn field_length(text: &[u8]) -> usize {
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        match rest.windows(2).position(|w| w == b"\r\n") {
            None => return text.len(),
            Some(length) => at += length + 2,
        }
        if !matches!(text.get(at), Some(b' ' | b'\t')) {
            return at;
        }
    }
}

fn write_header(
    stamp: &Stamp,
    precedences: &BTreeMap<String, i32>,
    header: &[u8],
    out: &mut Vec<u8>,
) -> Summary {
    let fields = fields(header);
    let kept = |field: &&Field<'_>| {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name.as_bytes());
        let empty = field.value.trim_ascii().is_empty();
        !([
            "Return-Path",
            "Bcc",
            "Resent-Bcc",
            "Content-Length",
            "Full-Name",
        ]
        .into_iter()
        .any(is)
            || empty && NEVER_EMPTY.into_iter().any(is))
    };
    let find = |name: &str| {
        fields
            .iter()
            .filter(kept)
            .find(|f| f.name.eq_ignore_ascii_case(name.as_bytes()))
    };
    let mut add = |name: &str, value: &str| {
        out.extend_from_slice(format!("{name}: {}\r\n", value.replace('\n', "\r\n")).as_bytes());
    };
    add("Received", &stamp.received);
    let resent = fields.iter().any(|f| is_resent(f.name));
    if resent && find("Resent-Date").is_none() {
        add("Resent-Date", &stamp.date);
    }
    if find("Date").is_none() {
        add("Date", &stamp.date);
    }
    if let Some(from) = &stamp.from {
        let full = fields
            .iter()
            .find(|f| f.name.eq_ignore_ascii_case(b"Full-Name"));
        let from = match full.map(|f| String::from_utf8_lossy(f.value.trim_ascii()).into_owned()) {
            Some(name) if !name.is_empty() && !name.contains(['\r', '\n']) => {
                format!("{name} <{from}>")
            }
            _ => match &stamp.full_name {
                Some(name) => format!("{name} <{from}>"),
                None => from.clone(),
            },
        };
        if resent && find("Resent-From").is_none() {
            add("Resent-From", &from);
        }
        if find("From").is_none() {
            add("From", &from);
        }
    }
    if resent && find("Resent-Message-Id").is_none() {
        add("Resent-Message-Id", &stamp.message_id);
    }
    let message_id = match find("Message-Id") {
        Some(field) => String::from_utf8_lossy(field.value.trim_ascii()).into_owned(),
        None => {
            add("Message-Id", &stamp.message_id);
            stamp.message_id.clone()
        }
    };
    for field in fields.iter().filter(kept) {
        out.extend_from_slice(field.name);
        out.push(b':');
        out.extend_from_slice(field.value);
        out.extend_from_slice(b"\r\n");
    }
    for warning in &stamp.warnings {
        out.extend_from_slice(format!("X-Authentication-Warning: {warning}\r\n").as_bytes());
    }
    let hops = fields
        .iter()
        .filter(|f| f.name.eq_ignore_ascii_case(b"Received"))
        .count();
    let class = find("Precedence").map_or(0, |f| class_of(f.value, precedences));
    Summary {
        hops: u32::try_from(hops).unwrap_or(u32::MAX),
        message_id,
        class,
        urgency: urgency_of(find("Priority").map(|f| f.value), class),
        wants_receipt: find("Return-Receipt-To").is_some(),
    }
}

/// The number of a precedence: the site's, else sendmail's.
fn class_of(value: &[u8], precedences: &BTreeMap<String, i32>) -> i32 {
    let word = String::from_utf8_lossy(value.trim_ascii()).to_ascii_lowercase();
    if let Some(number) = precedences.get(&word) {
        return *number;
    }
    match word.as_str() {
        "special-delivery" => 100,
        "list" => -30,
        "bulk" => -60,
        "junk" => -100,
        _ => 0,
    }
}

/// Which time-outs count: by Priority (RFC 2156), else by precedence.
fn urgency_of(priority: Option<&[u8]>, class: i32) -> Urgency {
    let priority = priority.map(|p| p.trim_ascii().to_ascii_lowercase());
    match priority.as_deref() {
        Some(b"urgent") => Urgency::Urgent,
        Some(b"non-urgent") => Urgency::NonUrgent,
        Some(b"normal") => Urgency::Normal,
        _ if class < 0 => Urgency::NonUrgent,
        _ => Urgency::Normal,
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
