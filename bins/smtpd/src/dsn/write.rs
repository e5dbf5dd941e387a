//! A notice as a message: its header, its three parts (RFC 3462), or plain text where
//! the site wants no MIME.

use std::io::{self, Read, Write};

use super::original;
use super::part::{for_people, for_programs};
use super::text::{Charset, address};
use super::{Audience, Kind, Notice, Returns};
use crate::queue::{Envelope, Octets};

/// Longest boundary (RFC 2046 section 5.1.1).
const MAX_BOUNDARY: usize = 70;

/// What a notice needs beside what it tells.
pub struct Clerk<'a> {
    /// The queue id of the notice.
    pub id: &'a str,
    /// Our name.
    pub host: &'a str,
    /// `$n`: whom notices are from.
    pub daemon: &'a str,
    /// Something nobody can guess: no text that is returned can hold the boundary then.
    pub secret: &'a str,
    /// Now, in seconds since 1970.
    pub now_unix: u64,
    /// A moment as mail writes it.
    pub date: &'a dyn Fn(u64) -> String,
    /// The date and time as the Message-Id has it.
    pub stamp: &'a str,
    /// ErrorHeader, with its macros expanded; lines.
    pub error_header: &'a str,
    /// Lines at the end of the transcript.
    pub remarks: &'a [String],
    /// For how long the message has waited, in words, for the subject of a warning.
    pub waited: &'a str,
    /// The end of the DELIVERBY time.
    pub by_unix: Option<u64>,
    /// Whether X-Actual-Recipient is shown.
    pub actual: ShowActual,
    /// SendMimeErrors.
    pub form: Form,
}

/// Whether the accounts behind addresses are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShowActual {
    /// They are.
    Yes,
    /// PrivacyOptions says `noactualrecipient`.
    No,
}

/// How notices look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// multipart/report.
    Mime,
    /// Text, the message below it.
    Plain,
}

/// What the envelope of a notice has to say of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// It has octets above 127.
    pub eight_bits: bool,
    /// Its header has.
    pub utf8_header: bool,
}

/// Writes a notice about the message of this envelope. `open` gives the message's text,
/// from its start, as often as it is asked; one that can't be opened is left out.
///
/// # Errors
/// What reading and writing say.
pub fn write(
    clerk: &Clerk<'_>,
    notice: &Notice,
    envelope: &Envelope,
    open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    out: &mut dyn Write,
) -> io::Result<Written> {
    let charset = if envelope.smtputf8 {
        Charset::Utf8
    } else {
        Charset::Ascii
    };
    let people = for_people(clerk, notice, envelope, charset);
    let programs = for_programs(clerk, notice, envelope, charset);
    let eight_original = match open() {
        Ok(message) => original::has_eight_bits(message, notice.returns)?,
        Err(_) => false,
    };
    let head = head(clerk, notice, charset);
    let written = Written {
        eight_bits: eight_original || !people.is_ascii() || !programs.is_ascii(),
        utf8_header: !head.is_ascii(),
    };
    out.write_all(head.as_bytes())?;
    if clerk.form == Form::Plain {
        if written.eight_bits {
            out.write_all(b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: 8bit\r\n")?;
        }
        write!(out, "{}\r\n", tail(clerk, notice))?;
        write_plain(notice, envelope, open, &people, out)?;
        return Ok(written);
    }
    let boundary = boundary(clerk);
    let encoding = |eight: bool| {
        if eight {
            "Content-Transfer-Encoding: 8bit\r\n"
        } else {
            ""
        }
    };
    write!(
        out,
        "MIME-Version: 1.0\r\n\
         Content-Type: multipart/report; report-type={};\r\n\tboundary=\"{boundary}\"\r\n\
         {}{}\r\n\
         This is a MIME-encapsulated message\r\n\r\n--{boundary}\r\n",
        if programs.is_ascii() {
            "delivery-status"
        } else {
            "global-delivery-status"
        },
        encoding(written.eight_bits),
        tail(clerk, notice),
    )?;
    if !people.is_ascii() {
        out.write_all(b"Content-Type: text/plain; charset=utf-8\r\n")?;
        out.write_all(encoding(true).as_bytes())?;
    }
    write!(out, "\r\n{people}\r\n--{boundary}\r\n")?;
    let global = !programs.is_ascii();
    let kind = if global {
        "message/global-delivery-status"
    } else {
        "message/delivery-status"
    };
    write!(
        out,
        "Content-Type: {kind}\r\n{}\r\n{programs}\r\n--{boundary}\r\n",
        encoding(global)
    )?;
    let kind = match (notice.returns, envelope.smtputf8 && eight_original) {
        (Returns::Full, false) => "message/rfc822",
        (Returns::Header, false) => "text/rfc822-headers",
        (Returns::Full, true) => "message/global",
        (Returns::Header, true) => "message/global-headers",
    };
    write!(
        out,
        "Content-Type: {kind}\r\n{}\r\n",
        encoding(eight_original)
    )?;
    write_original(notice, envelope, open, out)?;
    write!(out, "\r\n--{boundary}--\r\n")?;
    Ok(written)
}

/// The header up to MIME-Version.
fn head(clerk: &Clerk<'_>, notice: &Notice, charset: Charset) -> String {
    let Clerk {
        id, host, daemon, ..
    } = clerk;
    let date = (clerk.date)(clerk.now_unix);
    let to: Vec<String> = notice
        .to
        .iter()
        .map(|a| recipient(a, notice.audience, charset))
        .collect();
    format!(
        "Received: from localhost (localhost)\r\n\tby {host} (smtpd {version}) id {id};\r\n\t{date}\r\n\
         Date: {date}\r\n\
         From: Mail Delivery Subsystem <{daemon}@{host}>\r\n\
         Message-Id: <{stamp}.{id}@{host}>\r\n\
         To: {to}\r\n",
        version = env!("CARGO_PKG_VERSION"),
        stamp = clerk.stamp,
        to = to.join(",\r\n\t"),
    )
}

fn recipient(octets: &Octets, audience: Audience, charset: Charset) -> String {
    let text = address(octets, charset);
    match audience {
        Audience::Sender => format!("<{text}>"),
        Audience::Postmaster => text,
    }
}

/// The header behind what MIME has to say.
fn tail(clerk: &Clerk<'_>, notice: &Notice) -> String {
    let waited = clerk.waited;
    let (subject, auto) = match (notice.kind, notice.audience) {
        (_, Audience::Postmaster) => (
            "Postmaster notify: see transcript for details".to_owned(),
            "postmaster-notification",
        ),
        (Kind::Failure, _) => (
            "Returned mail: see transcript for details".to_owned(),
            "failure",
        ),
        (Kind::Delay, _) => (
            format!("Warning: could not send message for past {waited}"),
            "warning-timeout",
        ),
        (Kind::Receipt, _) => ("Return receipt".to_owned(), "return-receipt"),
    };
    format!("Subject: {subject}\r\nAuto-Submitted: auto-generated ({auto})\r\n")
}

fn boundary(clerk: &Clerk<'_>) -> String {
    let start = format!("{}.{}/", clerk.id, clerk.secret);
    let room = MAX_BOUNDARY.saturating_sub(start.len());
    let fits = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let host: String = clerk.host.chars().filter(fits).take(room).collect();
    format!("{start}{host}")
}

fn write_original(
    notice: &Notice,
    envelope: &Envelope,
    open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    out: &mut dyn Write,
) -> io::Result<()> {
    let sender = address(&envelope.sender, Charset::Utf8);
    let sender = if sender.is_ascii() || envelope.smtputf8 {
        sender
    } else {
        address(&envelope.sender, Charset::Ascii)
    };
    write!(out, "Return-Path: <{sender}>\r\n")?;
    match open() {
        Ok(message) => original::copy(message, notice.returns, out),
        Err(_) => out.write_all(b"X-Note: the text of the message could not be read\r\n"),
    }
}

fn write_plain(
    notice: &Notice,
    envelope: &Envelope,
    open: &dyn Fn() -> io::Result<Box<dyn Read + Send>>,
    people: &str,
    out: &mut dyn Write,
) -> io::Result<()> {
    let title = match notice.returns {
        Returns::Full => "Original message follows",
        Returns::Header => "Message header follows",
    };
    write!(out, "{people}\r\n   ----- {title} -----\r\n")?;
    write_original(notice, envelope, open, out)
}
