//! Words and descriptors between a confined server and the process that does for it what it
//! gave up, over a socket of this host (unix(7)).

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};

/// Sends a word, and perhaps a descriptor with it.
///
/// # Errors
/// Those of sendmsg(2), but for EINTR.
pub fn send(
    channel: BorrowedFd<'_>,
    word: &[u8],
    passed: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let passed = passed.map(|passed| [passed]);
    if let Some(passed) = &passed {
        control.push(SendAncillaryMessage::ScmRights(passed));
    }
    loop {
        let words = [IoSlice::new(word)];
        match rustix::net::sendmsg(channel, &words, &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return Ok(sent.map(drop)?),
        }
    }
}

/// Receives a word and the descriptor that came with it, if one did, which is closed on exec;
/// `None` when the other end has gone.
///
/// # Errors
/// Those of recvmsg(2), but for EINTR.
pub fn receive(channel: BorrowedFd<'_>, word: &mut [u8]) -> io::Result<Option<Option<OwnedFd>>> {
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut words = [IoSliceMut::new(word)];
        let got = rustix::net::recvmsg(channel, &mut words, &mut control, RecvFlags::CMSG_CLOEXEC);
        let got = match got {
            Err(Errno::INTR) => continue,
            got => got?,
        };
        let passed = control.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        });
        return Ok((got.bytes > 0).then_some(passed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsFd;

    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

    #[test]
    fn words_come_with_their_descriptors_and_end() {
        let kind = (AddressFamily::UNIX, SocketType::SEQPACKET);
        let (one, other) = socketpair(kind.0, kind.1, SocketFlags::CLOEXEC, None).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "octets").unwrap();
        let file = File::open(&path).unwrap();
        send(one.as_fd(), b"first", Some(file.as_fd())).unwrap();
        send(one.as_fd(), b"again", None).unwrap();
        drop(one);
        let mut word = [0; 5];
        let passed = receive(other.as_fd(), &mut word).unwrap().unwrap();
        let mut text = String::new();
        File::from(passed.unwrap())
            .read_to_string(&mut text)
            .unwrap();
        assert_eq!((&word, text.as_str()), (b"first", "octets"));
        let passed = receive(other.as_fd(), &mut word).unwrap().unwrap();
        assert!(passed.is_none());
        assert_eq!(&word, b"again");
        assert!(receive(other.as_fd(), &mut word).unwrap().is_none());
    }
}
