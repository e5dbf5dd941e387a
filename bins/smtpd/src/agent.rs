//! A small process that keeps the rights of the start and does what only they can.
//!
//! The server that strangers talk to can neither run programs nor open what it likes, and
//! with RunAsUser it is another user. Before it gives that up it starts this program anew as
//! its agent, with one socket between them, which nobody else can reach. For each piece of
//! work the server sends one end of a fresh socket there:
//!
//! ```text
//! server -> agent    length (4 octets, big-endian), request as JSON; then the text in frames
//! agent  -> server   length, reply as JSON; where that is `Opened` or `Included`, an octet
//!                    with a descriptor
//! ```
//!
//! The agent runs a mailer's program or this program's own file delivery, as a user who is
//! not root, reads a `.forward` file as its owner and `:include:` files, opens the files that
//! the configuration names and connects to the sockets that it names. It does nothing else,
//! but that root's own mailbox is root's to write.

mod allowed;
mod brief;
mod files;
mod name;
mod serve;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use confine::passing;
use libmaps::opening::{self, Opener};
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::aside::aside;
use crate::deliver::frame::FrameWriter;
use crate::deliver::outcome::{Fate, Outcome};
use crate::deliver::program;

pub(crate) use files::read_include;
pub(crate) use name::Name;
pub use serve::serve;

/// Longest request or reply: a `.forward` file of its greatest length, and room.
const MAX_OCTETS: usize = 512 * 1024;
/// Longest wait for an answer; a program has its own time before.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the agent is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Run a program as a user; the text that follows is its input.
    Run {
        /// The program.
        path: Name,
        /// Its arguments.
        args: Vec<Name>,
        /// Where it runs; the root folder if nowhere else.
        folder: Option<Name>,
        /// As whom.
        uid: u32,
        /// With which group.
        gid: u32,
    },
    /// Read the `.forward` file of a user.
    Forward {
        /// The file.
        path: Name,
        /// Whose it is.
        uid: u32,
        /// His group.
        gid: u32,
    },
    /// Read an `:include:` file.
    Include {
        /// The file.
        path: Name,
        /// The user in whose list it stands, where that is a user's.
        list_owner: Option<u32>,
    },
    /// Open a file or a folder that the configuration names.
    Open {
        /// The file.
        path: Name,
    },
    /// Connect to a socket that the configuration names.
    Connect {
        /// The socket.
        path: Name,
    },
    /// Read the configuration anew.
    Reload,
}

/// What became of it.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// The program has ended.
    Ended(Outcome),
    /// The file, or none.
    File(Option<Text>),
    /// The file, of which only the addresses count.
    Addresses(Text),
    /// It was not done.
    Refused(String),
    /// The file can't be read now.
    Later(String),
    /// The file is open, or the socket connected; its descriptor follows.
    Opened,
    /// The list was read; the descriptor of what was in it follows.
    Included(Found),
    /// The system's error for the file, by number.
    Errno(i32),
    /// It is done.
    Done,
}

/// What is known of a list that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Found {
    /// Whose it is.
    pub(crate) uid: u32,
    /// Its mode.
    pub(crate) mode: u32,
    /// Whether everybody may read it.
    pub(crate) everybody: bool,
    /// Who may write to the folders above it, by [`Writers::number`].
    ///
    /// [`Writers::number`]: libmaps::policy::expand::trust::Writers::number
    pub(crate) folders: u8,
    /// How many names it has.
    pub(crate) links: u64,
}

/// What is in a file; in JSON it is base64.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text(pub(crate) Vec<u8>);

impl Serialize for Text {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        STANDARD.decode(text).map(Text).map_err(D::Error::custom)
    }
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

/// Returns when the agent of this process has ended, which it does not while it is well;
/// never where there is none.
pub(crate) async fn gone() {
    // It says nothing on the channel: what is to be read there is its end.
    let watched = running().map(|agent| {
        let channel = agent.channel.as_fd();
        #[allow(unsafe_code)] // AsyncFd has no safe form that takes an interest.
        // SAFETY: the channel is a static's, and is never closed.
        unsafe {
            AsyncFd::register_with_interest(channel, Interest::READABLE)
        }
    });
    match watched {
        Some(Ok(channel)) => {
            let _ = channel.readable().await;
        }
        Some(Err(_)) | None => std::future::pending().await,
    }
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
    started.map_err(|_| io::Error::other("there is an agent already"))?;
    opening::ask_when_denied(Opener {
        file: |path| {
            let (_, opened) = asked(&Request::Open {
                path: Name::of(path),
            })?;
            Ok(File::from(opened))
        },
        socket: |path| {
            let (_, connected) = asked(&Request::Connect {
                path: Name::of(path),
            })?;
            Ok(UnixStream::from(connected))
        },
    });
    Ok(())
}

/// What the agent gives for a request, where there is an agent.
fn asked(request: &Request) -> io::Result<(Reply, OwnedFd)> {
    match running() {
        Some(agent) => aside(|| agent.fetch(request)),
        None => Err(io::ErrorKind::PermissionDenied.into()),
    }
}

impl Agent {
    /// Has a program run; `feed` writes its input. This blocks.
    pub(crate) fn run(
        &self,
        request: &Request,
        feed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<Reply> {
        let mut stream = self.begin(request)?;
        let fed = match request {
            Request::Run { .. } => {
                let mut text = FrameWriter::new(&mut stream);
                feed(&mut text).and_then(|()| text.finish())
            }
            Request::Forward { .. }
            | Request::Include { .. }
            | Request::Open { .. }
            | Request::Connect { .. }
            | Request::Reload => feed(&mut stream),
        };
        let _ = stream.shutdown(Shutdown::Write);
        // The agent has the last word, for it knows by the frames what breaks off: where it says
        // that mail is sent, the program had all of it or wanted no more. The agent then hangs
        // up on what nobody reads, which is an error here of one kind or another.
        match (read_frame(&mut stream)?, fed) {
            // Why it broke off is known here.
            (Reply::Ended(outcome), Err(error))
                if outcome.fate == Fate::Deferred && !is_hang_up(&error) =>
            {
                let outcome = Outcome::deferred(error.to_string());
                Ok(Reply::Ended(outcome.with_status("4.3.0")))
            }
            (reply, _) => Ok(reply),
        }
    }
}

impl Agent {
    /// Has an `:include:` file read. This blocks.
    ///
    /// # Errors
    /// The system's error for the file; [`io::ErrorKind::WouldBlock`] where the agent can't tell.
    pub(crate) fn read_include(
        &self,
        path: &Path,
        list_owner: Option<u32>,
    ) -> io::Result<(Found, File)> {
        let request = Request::Include {
            path: Name::of(path),
            list_owner,
        };
        match self.fetch(&request)? {
            (Reply::Included(found), text) => Ok((found, File::from(text))),
            _ => Err(unknown("the agent did not understand".into())),
        }
    }

    /// Asks for a descriptor. This blocks.
    fn fetch(&self, request: &Request) -> io::Result<(Reply, OwnedFd)> {
        let asked = || {
            let mut stream = self.begin(request)?;
            let reply = read_frame(&mut stream)?;
            let passed = match reply {
                Reply::Opened | Reply::Included(_) => next_passed(stream.as_fd())?,
                _ => None,
            };
            Ok((reply, passed))
        };
        match asked().map_err(|error: io::Error| unknown(format!("agent: {error}")))? {
            (reply, Some(passed)) => Ok((reply, passed)),
            (Reply::Errno(number), _) => Err(io::Error::from_raw_os_error(number)),
            (Reply::Refused(why), _) => Err(io::Error::new(io::ErrorKind::PermissionDenied, why)),
            (Reply::Later(why), _) => Err(unknown(why)),
            _ => Err(unknown("the agent did not understand".into())),
        }
    }

    /// Has the agent read the configuration anew, and waits until it has.
    ///
    /// # Errors
    /// Why it goes on with the old one.
    pub(crate) fn reload(&self) -> io::Result<()> {
        match self.run(&Request::Reload, |_| Ok(()))? {
            Reply::Done => Ok(()),
            Reply::Refused(why) => Err(io::Error::other(why)),
            _ => Err(io::Error::other("the agent did not understand")),
        }
    }

    /// Hands the agent a piece of work.
    fn begin(&self, request: &Request) -> io::Result<UnixStream> {
        let (mut stream, theirs) = UnixStream::pair()?;
        passing::send(self.channel.as_fd(), b"work", Some(theirs.as_fd()))?;
        let patience = match request {
            Request::Run { .. } => program::PATIENCE.whole + PATIENCE,
            _ => PATIENCE,
        };
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        write_frame(&mut stream, request)?;
        Ok(stream)
    }
}

/// Whether an error says that the other end reads no more. It is `ConnectionReset` for a writer
/// who waits while the other end is closed with octets in it.
fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::WouldBlock
    )
}

fn unknown(why: String) -> io::Error {
    io::Error::new(io::ErrorKind::WouldBlock, why)
}

/// The next descriptor that is sent; `None` when the other end has gone.
fn next_passed(socket: BorrowedFd<'_>) -> io::Result<Option<OwnedFd>> {
    loop {
        match passing::receive(socket, &mut [0; 16])? {
            Some(None) => {}
            Some(passed) => return Ok(passed),
            None => return Ok(None),
        }
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
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    use super::*;
    use crate::deliver::forward_file::MAX_FORWARD_OCTETS;

    #[test]
    fn frames_come_back_and_long_ones_are_refused() {
        let request = Request::Forward {
            path: Name::of(OsStr::from_bytes(b"/home/b\xf6b/.forward")),
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

    /// An agent that reads nothing of the text, says this when the server can write no more, and
    /// hangs up.
    fn hangs_up(outcome: Outcome) -> Agent {
        let (ours, theirs) = rustix::net::socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        std::thread::spawn(move || {
            let passed = next_passed(theirs.as_fd()).unwrap().unwrap();
            let mut stream = UnixStream::from(passed);
            let _: Request = read_frame(&mut stream).unwrap();
            // Until no more comes: all that there is room for lies here unread.
            let mut waiting = 0;
            loop {
                std::thread::sleep(Duration::from_millis(50));
                match rustix::io::ioctl_fionread(&stream).unwrap() {
                    now if now > 0 && now == waiting => break,
                    now => waiting = now,
                }
            }
            write_frame(&mut stream, &Reply::Ended(outcome)).unwrap();
        });
        Agent { channel: ours }
    }

    fn run() -> Request {
        Request::Run {
            path: Name::of("/bin/true"),
            args: Vec::new(),
            folder: None,
            uid: 1000,
            gid: 100,
        }
    }

    #[test]
    fn what_a_program_leaves_unread_is_no_reason_to_run_it_again() {
        // Octet by octet, so that the writer that waits has written nothing when it hears.
        let feed = |out: &mut dyn Write| -> io::Result<()> {
            loop {
                out.write_all(b"x")?;
                out.flush()?;
            }
        };
        for outcome in [Outcome::sent(), Outcome::deferred("temporary failure")] {
            let agent = hangs_up(outcome.clone());
            let reply = agent.run(&run(), feed).unwrap();
            assert_eq!(reply, Reply::Ended(outcome));
        }
    }

    #[test]
    fn why_a_text_broke_off_is_said() {
        let agent = hangs_up(Outcome::deferred("unexpected end of file"));
        let feed = |out: &mut dyn Write| {
            out.write_all(b"half")?;
            out.flush()?;
            Err(io::Error::other("the disk is on fire"))
        };
        let Reply::Ended(outcome) = agent.run(&run(), feed).unwrap() else {
            panic!("another reply");
        };
        assert_eq!(outcome.text, "the disk is on fire");
    }

    #[test]
    fn the_longest_forward_file_comes_through() {
        let longest = usize::try_from(MAX_FORWARD_OCTETS).unwrap();
        let reply = Reply::File(Some(Text(vec![0xff; longest])));
        let mut octets = Vec::new();
        write_frame(&mut octets, &reply).unwrap();
        let back: Reply = read_frame(&mut octets.as_slice()).unwrap();
        assert_eq!(back, reply);
    }
}
