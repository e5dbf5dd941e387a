//! The agent, spoken to as the server does.

use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use confine::passing;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use serde_json::{Value, json};

use crate::site::Site;

/// The agent of a site; it ends when this is dropped.
pub(crate) struct Agent {
    child: Child,
    channel: Option<OwnedFd>,
}

/// A piece of work that it was given.
pub(crate) struct Work(UnixStream);

impl Agent {
    pub(crate) fn start(site: &Site) -> Self {
        let (ours, theirs) = socketpair(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_smtpd"));
        command.arg("deliver-agent").arg("--root").arg(site.root());
        command.stdin(Stdio::from(theirs)).stdout(Stdio::null());
        Agent {
            child: command.spawn().unwrap(),
            channel: Some(ours),
        }
    }

    /// Asks it to run a program as this user, with the group of the same number.
    pub(crate) fn run(&self, path: &str, args: &[&str], folder: Option<&Path>, uid: u32) -> Work {
        self.run_as(path, args, folder, (uid, uid))
    }

    /// Asks it to run a program as this user, with this group.
    pub(crate) fn run_as(
        &self,
        path: &str,
        args: &[&str],
        folder: Option<&Path>,
        (uid, gid): (u32, u32),
    ) -> Work {
        let (mut stream, theirs) = UnixStream::pair().unwrap();
        let channel = self.channel.as_ref().unwrap();
        passing::send(channel.as_fd(), b"work", Some(theirs.as_fd())).unwrap();
        let patience = Some(Duration::from_secs(60));
        stream.set_read_timeout(patience).unwrap();
        stream.set_write_timeout(patience).unwrap();
        let folder = folder.map(|folder| folder.to_str().unwrap());
        let request = json!({"Run": {
            "path": path, "args": args, "folder": folder, "uid": uid, "gid": gid,
        }});
        stream
            .write_all(&frame(request.to_string().as_bytes()))
            .unwrap();
        Work(stream)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It ends when the server has gone.
        self.channel = None;
        let _ = self.child.wait();
    }
}

/// Octets with their number in front.
pub(crate) fn frame(octets: &[u8]) -> Vec<u8> {
    let length = u32::try_from(octets.len()).unwrap().to_be_bytes();
    [&length, octets].concat()
}

impl Work {
    /// Gives a piece of the text.
    pub(crate) fn feed(&mut self, piece: &[u8]) {
        self.0.write_all(&frame(piece)).unwrap();
    }

    /// No more of the text comes: where no empty piece was given, it has broken off.
    pub(crate) fn end(&mut self) {
        self.0.shutdown(std::net::Shutdown::Write).unwrap();
    }

    /// What became of it.
    pub(crate) fn reply(&mut self) -> Value {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut reply = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        self.0.read_exact(&mut reply).unwrap();
        serde_json::from_slice(&reply).unwrap()
    }
}
