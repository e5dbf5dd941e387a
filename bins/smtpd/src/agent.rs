//! RunAsUser: a small process that stays root and does what only root can.
//!
//! The server that strangers talk to runs as another user. Before it becomes that user it
//! starts this program anew as its agent, with one socket between them, which nobody else
//! can reach. For each piece of work the server sends one end of a fresh socket there:
//!
//! ```text
//! server -> agent    length (4 octets, big-endian), request as JSON; then the text, to its end
//! agent  -> server   length, reply as JSON
//! ```
//!
//! The agent runs a mailer's program or this program's own file delivery, as a user who is
//! not root, and reads a `.forward` file as its owner. It does nothing else.

mod serve;

use std::io::{self, IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use serde::{Deserialize, Serialize};

use crate::deliver::outcome::{Fate, Outcome};

pub use serve::serve;

/// Longest request or reply.
const MAX_OCTETS: usize = 256 * 1024;

/// What the agent is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run a program as a user; the text that follows is its input.
    Run {
        /// The program.
        path: PathBuf,
        /// Its arguments.
        args: Vec<String>,
        /// Where it runs; the root folder if nowhere else.
        folder: Option<PathBuf>,
        /// As whom.
        uid: u32,
        /// With which group.
        gid: u32,
    },
    /// Read the `.forward` file of a user.
    Forward {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        uid: u32,
        /// His group.
        gid: u32,
    },
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The program has ended.
    Ended(Outcome),
    /// The file, or none.
    File(Option<Vec<u8>>),
    /// It was not done.
    Refused(String),
    /// The file can't be read now.
    Later(String),
}

/// The server's end of the socket.
#[derive(Debug)]
pub struct Agent {
    channel: OwnedFd,
}

static RUNNING: OnceLock<Agent> = OnceLock::new();

/// The agent of this process, where it has one.
pub(crate) fn running() -> Option<&'static Agent> {
    RUNNING.get()
}

/// Starts the agent with the rights that this process has now. From here on deliveries go
/// through it.
///
/// # Errors
/// When it can't be started.
pub fn start(root: Option<&Path>, file: Option<&Path>) -> io::Result<()> {
    let (ours, theirs) = rustix::net::socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )?;
    let mut command = Command::new(crate::own_program::path()?);
    command.arg("deliver-agent");
    if let Some(root) = root {
        command.arg("--root").arg(root);
    }
    if let Some(file) = file {
        command.arg("-C").arg(file);
    }
    command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
    // Its end is seen by the socket; init waits for it when the server has gone.
    command.spawn()?;
    let started = RUNNING.set(Agent { channel: ours });
    started.map_err(|_| io::Error::other("there is an agent already"))
}

impl Agent {
    /// Has a program run; `feed` writes its input. This blocks.
    pub(crate) fn run(
        &self,
        request: &Request,
        feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Reply> {
        let (mut stream, theirs) = UnixStream::pair()?;
        self.pass(theirs)?;
        write_frame(&mut stream, request)?;
        // A program may end without reading all of it: its exit counts.
        let fed = feed(&mut stream);
        let _ = stream.shutdown(Shutdown::Write);
        match (read_frame(&mut stream)?, fed) {
            (Reply::Ended(outcome), Err(error))
                if outcome.fate == Fate::Sent && error.kind() != io::ErrorKind::BrokenPipe =>
            {
                Ok(Reply::Ended(Outcome::deferred(error.to_string())))
            }
            (reply, _) => Ok(reply),
        }
    }
}

impl Agent {
    /// Sends the agent its end of a socket.
    fn pass(&self, theirs: UnixStream) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let passed = [theirs.as_fd()];
        control.push(SendAncillaryMessage::ScmRights(&passed));
        let word = [IoSlice::new(b"work")];
        rustix::net::sendmsg(&self.channel, &word, &mut control, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn write_frame<T: Serialize>(out: &mut impl Write, value: &T) -> io::Result<()> {
    let json = serde_json::to_vec(value)?;
    let length = u32::try_from(json.len()).map_err(io::Error::other)?;
    out.write_all(&[&length.to_be_bytes(), json.as_slice()].concat())
}

fn read_frame<T: for<'a> Deserialize<'a>>(input: &mut impl Read) -> io::Result<T> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).map_err(io::Error::other)?;
    if length > MAX_OCTETS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut json = vec![0; length];
    input.read_exact(&mut json)?;
    Ok(serde_json::from_slice(&json)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_back_and_long_ones_are_refused() {
        let request = Request::Forward {
            path: "/home/bob/.forward".into(),
            uid: 1000,
            gid: 100,
        };
        let mut octets = Vec::new();
        write_frame(&mut octets, &request).unwrap();
        let back: Request = read_frame(&mut octets.as_slice()).unwrap();
        assert_eq!(back, request);
        for cut in 0..octets.len() {
            assert!(read_frame::<Request>(&mut &octets[..cut]).is_err());
        }
        assert!(read_frame::<Request>(&mut &[0xff; 8][..]).is_err());
    }
}
