//! Listening sockets, and who may connect to them.
//!
//! A UNIX socket comes into being under another name, with its mode and group, and is then
//! renamed: at no moment can anybody connect who must not, and the socket that a crashed
//! server left is replaced.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, chownat, fstat, open};
use rustix::process::umask;
use socket2::{Domain, SockAddr, Socket, Type};

use super::address::ListenAddress;
use super::network::Network;
use super::passed::Passed;

/// Length of the queue of clients that were not accepted yet.
const BACKLOG: i32 = 128;

/// Who may connect.
#[derive(Clone, Debug)]
pub struct Access {
    /// Permissions of UNIX sockets.
    pub mode: u32,
    /// Their group, by number; none: the process's.
    pub group: Option<u32>,
    /// Hosts that may connect by TCP; none: this host.
    pub clients: Vec<Network>,
}

impl Access {
    /// Whether a host may connect.
    #[must_use]
    pub fn admits(&self, ip: IpAddr) -> bool {
        match self.clients.is_empty() {
            true => ip.to_canonical().is_loopback(),
            false => self.clients.iter().any(|network| network.has(ip)),
        }
    }
}

/// Why a service can't be offered.
#[derive(Debug)]
pub enum BindError {
    /// The address can't be bound.
    Bind {
        /// The address.
        address: ListenAddress,
        /// The system's error.
        source: io::Error,
    },
    /// The address is not to be used.
    Refused {
        /// The address.
        address: ListenAddress,
        /// Why not.
        why: &'static str,
    },
    /// The system refused something else.
    System {
        /// Its error.
        source: io::Error,
    },
}

impl std::fmt::Display for BindError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            BindError::Bind { address, source } => write!(f, "{address}: {source}"),
            BindError::Refused { address, why } => write!(f, "{address}: {why}"),
            BindError::System { source } => write!(f, "{source}"),
        }
    }
}

/// A socket that listens.
pub(super) struct Listener {
    socket: Socket,
    shown: String,
    /// The path of a UNIX socket that we made, with its device and inode.
    made: Option<(PathBuf, u64, u64)>,
}

impl Listener {
    /// Listens at an address; a service manager may have passed several sockets for it.
    pub(super) fn open(
        address: &ListenAddress,
        access: &Access,
        passed: &mut Passed,
    ) -> Result<Vec<Self>, BindError> {
        let refused = |why| BindError::Refused {
            address: address.clone(),
            why,
        };
        let failed = |source| BindError::Bind {
            address: address.clone(),
            source,
        };
        let listeners = match address {
            ListenAddress::Unix(path) => vec![unix(path, access).map_err(failed)?],
            ListenAddress::Inet(ip) if !ip.ip().is_loopback() && access.clients.is_empty() => {
                return Err(refused(
                    "the protocol has no passwords: say with --client who may connect from elsewhere",
                ));
            }
            ListenAddress::Inet(ip) => vec![inet(&(*ip).into()).map_err(failed)?],
            ListenAddress::Passed(name) => {
                let sockets = passed.named(name.as_deref());
                if sockets.is_empty() {
                    return Err(refused("the service manager has passed no such socket"));
                }
                let listener = |socket| Listener {
                    shown: shown(&socket),
                    socket,
                    made: None,
                };
                sockets.into_iter().map(listener).collect()
            }
        };
        for listener in &listeners {
            listener.socket.set_nonblocking(true).map_err(failed)?;
        }
        Ok(listeners)
    }

    pub(super) fn socket(&self) -> &Socket {
        &self.socket
    }

    /// The address as it came to be.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }
}

impl Drop for Listener {
    /// Removes our UNIX socket, unless another server has put its own there.
    fn drop(&mut self) {
        if let Some((path, device, inode)) = &self.made
            && fs::symlink_metadata(path).is_ok_and(|m| (m.dev(), m.ino()) == (*device, *inode))
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn shown(socket: &Socket) -> String {
    let address = socket.local_addr().ok();
    match address.as_ref().and_then(SockAddr::as_socket) {
        Some(inet) => format!("inet:{inet}"),
        None => {
            let path = address.as_ref().and_then(SockAddr::as_pathname);
            format!("unix:{}", path.unwrap_or(Path::new("")).display())
        }
    }
}

fn inet(address: &SockAddr) -> io::Result<Listener> {
    let socket = Socket::new(address.domain(), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)?;
    Ok(Listener {
        shown: shown(&socket),
        socket,
        made: None,
    })
}

fn unix(path: &Path, access: &Access) -> io::Result<Listener> {
    match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(e),
        Ok(there) if !there.file_type().is_socket() => {
            return Err(io::Error::other("something that is no socket stands there"));
        }
        Ok(_) if UnixStream::connect(path).is_ok() => {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        Ok(_) => {}
    }
    let draft = draft_of(path)?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    let _ = fs::remove_file(&draft);
    // It has its mode from the first moment on. A chmod(2) afterwards would be one of a path in a
    // folder that may be another user's, who could have put something of root's there meanwhile.
    let before = umask(Mode::from_raw_mode(!access.mode & 0o777));
    let bound = socket.bind(&SockAddr::unix(&draft)?);
    umask(before);
    bound?;
    let placed = place(&draft, path, access, &socket);
    if placed.is_err() {
        let _ = fs::remove_file(&draft);
    }
    let metadata = placed?;
    Ok(Listener {
        socket,
        shown: format!("unix:{}", path.display()),
        made: Some((path.into(), metadata.dev(), metadata.ino())),
    })
}

fn place(draft: &Path, path: &Path, access: &Access, socket: &Socket) -> io::Result<fs::Metadata> {
    if let Some(group) = access.group {
        give_to_group(draft, group)?;
    }
    // Until now nobody could connect.
    socket.listen(BACKLOG)?;
    fs::rename(draft, path)?;
    fs::symlink_metadata(path)
}

/// Gives the socket to a group, and nothing that somebody put in its place.
fn give_to_group(draft: &Path, group: u32) -> io::Result<()> {
    let there = open(
        draft,
        OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let found = fstat(&there)?;
    if FileType::from_raw_mode(found.st_mode) != FileType::Socket {
        return Err(io::Error::other("something that is no socket stands there"));
    }
    let group = Some(Gid::from_raw(group));
    Ok(chownat(&there, "", None, group, AtFlags::EMPTY_PATH)?)
}

/// The name in the same folder under which a socket comes into being.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(
        path.file_name()
            .ok_or(io::Error::from(io::ErrorKind::InvalidInput))?,
    );
    name.push(format!(".{}", std::process::id()));
    Ok(path.with_file_name(name))
}
