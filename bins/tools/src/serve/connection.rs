//! One client: octets in, replies out, each within its time.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::Limits;
use super::crowd::Member;
use super::protocol::{Conversation, Service, Turn};

/// Replies are written together until they have so many octets.
const BATCH_OCTETS: usize = 64 * 1024;
/// Octets of one read.
const BLOCK_OCTETS: usize = 16 * 1024;

/// Answers a client until it leaves, is silent for too long, or says what is no request.
pub(super) fn serve(member: &Member, service: &dyn Service, limits: Limits) {
    // Whatever ends a conversation ends the connection; the other side sees it closed.
    let _ = converse(member, service, limits);
}

/// Tells a client that there is no place for it, if it listens.
pub(super) fn turn_away(socket: &Socket, service: &dyn Service, limits: Limits) {
    let _ = socket.set_nonblocking(true);
    let _ = write(socket, &service.too_many(), limits.request);
}

fn converse(member: &Member, service: &dyn Service, limits: Limits) -> io::Result<()> {
    let mut socket = member.socket();
    socket.set_nonblocking(false)?;
    let _ = socket.set_tcp_nodelay(true);
    let mut buffer: Vec<u8> = Vec::new();
    let mut block = vec![0u8; BLOCK_OCTETS];
    let mut begun = Instant::now();
    // Part of a request keeps nobody's place: one that is never whole would keep it for ever.
    let mut answered = begun;
    let mut talk = service.begin();
    let mut greeting = Vec::new();
    talk.greet(&mut greeting);
    write(socket, &greeting, limits.request)?;
    loop {
        let used = answer(socket, &mut *talk, &buffer, limits)?;
        if used > 0 {
            buffer.drain(..used);
            begun = Instant::now();
            answered = begun;
        }
        member.waits_since(answered);
        let patience = match buffer.is_empty() {
            true => limits.idle,
            false => left(begun, limits.request)?,
        };
        socket.set_read_timeout(Some(patience))?;
        let got = match socket.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        member.is_busy();
        if buffer.is_empty() {
            begun = Instant::now();
        }
        buffer.extend_from_slice(block.get(..got).unwrap_or_default());
    }
}

/// Answers every request that is whole; gives how many octets they had.
fn answer(
    socket: &Socket,
    talk: &mut dyn Conversation,
    octets: &[u8],
    limits: Limits,
) -> io::Result<usize> {
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(rest) = octets.get(at..).filter(|rest| !rest.is_empty()) {
        match talk.turn(rest, &mut out) {
            Turn::More => break,
            Turn::Answered { used } => at += used.max(1),
            Turn::Closed => {
                write(socket, &out, limits.request)?;
                return Err(io::ErrorKind::InvalidData.into());
            }
        }
        if out.len() >= BATCH_OCTETS {
            write(socket, &out, limits.request)?;
            out.clear();
        }
    }
    write(socket, &out, limits.request)?;
    Ok(at)
}

fn write(mut socket: &Socket, mut octets: &[u8], patience: Duration) -> io::Result<()> {
    let begun = Instant::now();
    while !octets.is_empty() {
        socket.set_write_timeout(Some(left(begun, patience)?))?;
        match socket.write(octets) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => octets = octets.get(written..).unwrap_or_default(),
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// What is left of a time; none is an error, since zero would mean for ever.
fn left(begun: Instant, patience: Duration) -> io::Result<Duration> {
    match patience.saturating_sub(begun.elapsed()) {
        Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
        left => Ok(left),
    }
}
