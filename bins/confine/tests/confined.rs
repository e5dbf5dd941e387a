//! A confined process tries what it may and what it may not.
//!
//! This program starts itself as the process that is confined; it prints a line for each
//! thing that it tries, and those are compared with the table.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::ffi::CString;
use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::ptr;

use confine::{Reach, confine};

/// What is tried, and the error with which it has to end, if any.
const EXPECTED: &[(&str, &str)] = &[
    ("read a file in a folder to read", ""),
    ("list a folder to read", ""),
    ("read a file that was put there later", ""),
    ("write in a folder to read", "EACCES"),
    ("make a file in a folder to write", ""),
    ("cut a file in a folder to write", ""),
    ("rename in a folder to write", ""),
    ("bind a socket in a folder to write", ""),
    ("remove a file in a folder to write", ""),
    ("put a link aside in a folder to write", ""),
    ("make a device in a folder to write", "EPERM"),
    ("read a file elsewhere", "EACCES"),
    ("list a folder elsewhere", "EACCES"),
    ("follow a link that leads elsewhere", "EACCES"),
    ("read what /proc tells of others", "EACCES"),
    ("write to /dev/null", ""),
    ("connect to a socket elsewhere", ""),
    ("start a thread", ""),
    ("open an IPv4 socket", ""),
    ("open a packet socket", "EPERM"),
    ("open a vsock socket", "EPERM"),
    ("ask for the addresses of this host", ""),
    ("open an audit socket", "EPERM"),
    ("type into a terminal", "EPERM"),
    ("set quotas by a newer call", "EPERM"),
    ("clone a mount by a newer call", "EPERM"),
    ("run a program", "EPERM"),
    ("fork", "EPERM"),
    ("trace", "EPERM"),
    ("mount", "EPERM"),
    ("unshare", "EPERM"),
    ("chroot", "EPERM"),
    ("load a module", "EPERM"),
    ("become another user", "EPERM"),
    ("take a right back", "EPERM"),
    ("set up an io_uring", "EPERM"),
    ("read another's memory", "EPERM"),
    ("signal its parent", "EPERM"),
    ("change the mode of a file", "EPERM"),
    ("change the mode of an open file", "EPERM"),
    ("change the mode of a file by a newer call", "EPERM"),
    ("change the owner of a file", "EPERM"),
    ("give a file an attribute", "EPERM"),
    ("cut a file by its path", "EPERM"),
    ("make a set-user-ID file", "EPERM"),
    ("make a set-group-ID file without a name", "EPERM"),
    ("make a set-group-ID folder", "EPERM"),
    ("make a folder", ""),
];

fn main() {
    let mut args = std::env::args().skip(1);
    match (args.next().as_deref(), args.next()) {
        (Some("within"), Some(root)) => within(Path::new(&root)),
        _ => from_outside(),
    }
}

fn from_outside() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    for folder in ["maps", "queue", "elsewhere"] {
        fs::create_dir(root.join(folder)).unwrap();
    }
    for file in ["maps/map", "elsewhere/secret", "queue/old"] {
        fs::write(root.join(file), "text").unwrap();
    }
    for link in ["maps/link", "queue/link"] {
        std::os::unix::fs::symlink(root.join("elsewhere/secret"), root.join(link)).unwrap();
    }
    let _listener = UnixListener::bind(root.join("elsewhere/socket")).unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .arg("within")
        .arg(root)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = io::BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || lines.next().expect("a line").unwrap();
    let lacking = next();
    let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().nth(1))
            .unwrap()
            .to_owned()
    };
    if !lacking.contains("seccomp") {
        assert_eq!(
            (field("NoNewPrivs:"), field("Seccomp:")),
            ("1".into(), "2".into())
        );
    }
    let rights = u64::from_str_radix(&field("CapPrm:"), 16).unwrap();
    // CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH and CAP_FOWNER.
    assert_eq!(rights & !0b1110, 0, "{rights:x}");
    // A map is published, as its writers do.
    fs::write(root.join("maps/draft"), "new").unwrap();
    fs::rename(root.join("maps/draft"), root.join("maps/map")).unwrap();
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    let (mut tried, mut wrong) = (0, Vec::new());
    for (what, want) in EXPECTED {
        let line = next();
        let (said, got) = line.split_once('\t').unwrap();
        assert_eq!(said, *what);
        tried += 1;
        let unknown = match *want {
            "EACCES" => lacking.contains("landlock"),
            _ => lacking.contains("seccomp") || lacking.contains("landlock"),
        };
        if got != *want && !(unknown && got.is_empty()) {
            wrong.push(format!("{what}: {got:?}, not {want:?}"));
        }
    }
    assert!(child.wait().unwrap().success());
    assert_eq!(wrong, Vec::<String>::new());
    println!("{tried} things tried in a confined process; lacking here: {lacking:?}");
}

fn within(root: &Path) {
    let mut reach = Reach::new();
    reach.read_file(&root.join("maps/map"));
    reach.write_folder(&root.join("queue"));
    // The link is to lead out of the reach.
    let confined = confine(&reach);
    println!("{}", confined.lacking.join("; "));
    io::stdin().read_line(&mut String::new()).unwrap();
    for (what, _) in EXPECTED {
        let said = match attempt(root, what) {
            Ok(()) => "",
            Err(error) => match error.raw_os_error() {
                Some(libc::EACCES) => "EACCES",
                Some(libc::EPERM) => "EPERM",
                _ => "another error",
            },
        };
        println!("{what}\t{said}");
    }
}

fn attempt(root: &Path, what: &str) -> io::Result<()> {
    let at = |name: &str| root.join(name);
    let mode = |bits| <fs::Permissions as PermissionsExt>::from_mode(bits);
    let new = |mode, flags| {
        let mut new = fs::OpenOptions::new();
        new.write(true).mode(mode).custom_flags(flags);
        new
    };
    match what {
        "change the mode of a file" => fs::set_permissions(at("queue/old"), mode(0o600)),
        "change the mode of an open file" => {
            fs::File::open(at("queue/old"))?.set_permissions(mode(0o600))
        }
        "change the owner of a file" => chown(at("queue/old"), None, None),
        "make a set-user-ID file" => {
            let mut new = new(0o4755, 0);
            new.create(true).open(at("queue/program")).map(drop)
        }
        "make a set-group-ID file without a name" => {
            new(0o2755, libc::O_TMPFILE).open(at("queue")).map(drop)
        }
        "make a set-group-ID folder" => fs::DirBuilder::new().mode(0o2755).create(at("queue/set")),
        "make a folder" => fs::create_dir(at("queue/folder")),
        "read a file in a folder to read" => fs::read(at("maps/map")).map(drop),
        "list a folder to read" => fs::read_dir(at("maps")).map(drop),
        "read a file that was put there later" => {
            assert_eq!(fs::read(at("maps/map"))?, b"new");
            Ok(())
        }
        "write in a folder to read" => fs::write(at("maps/map"), "x"),
        "make a file in a folder to write" => fs::write(at("queue/new"), "x"),
        "cut a file in a folder to write" => fs::write(at("queue/old"), ""),
        "rename in a folder to write" => fs::rename(at("queue/new"), at("queue/newer")),
        "bind a socket in a folder to write" => UnixListener::bind(at("queue/control")).map(drop),
        "remove a file in a folder to write" => fs::remove_file(at("queue/newer")),
        "put a link aside in a folder to write" => fs::rename(at("queue/link"), at("queue/bad")),
        "read a file elsewhere" => fs::read(at("elsewhere/secret")).map(drop),
        "list a folder elsewhere" => fs::read_dir(at("elsewhere")).map(drop),
        "follow a link that leads elsewhere" => fs::read(at("maps/link")).map(drop),
        "read what /proc tells of others" => fs::read("/proc/1/stat").map(drop),
        "write to /dev/null" => fs::write("/dev/null", "x"),
        "connect to a socket elsewhere" => UnixStream::connect(at("elsewhere/socket")).map(drop),
        "start a thread" => {
            let thread = std::thread::Builder::new().spawn(|| {})?;
            thread.join().map_err(|_| io::Error::other("panicked"))
        }
        "run a program" => Command::new("/bin/true").spawn().map(drop),
        other => by_number(other),
    }
}

/// What has no form in std, or would have effects there.
#[allow(unsafe_code)]
fn by_number(what: &str) -> io::Result<()> {
    let nothing = ptr::null::<libc::c_void>();
    let root = CString::new("/").unwrap();
    // SAFETY: each call gets numbers, null or a path that lives; where one succeeds against
    // the table, this process ends soon.
    let result = unsafe {
        match what {
            "open an IPv4 socket" => {
                libc::syscall(libc::SYS_socket, libc::AF_INET, libc::SOCK_STREAM, 0)
            }
            "open a packet socket" => {
                libc::syscall(libc::SYS_socket, libc::AF_PACKET, libc::SOCK_RAW, 0)
            }
            "open a vsock socket" => {
                libc::syscall(libc::SYS_socket, libc::AF_VSOCK, libc::SOCK_STREAM, 0)
            }
            "ask for the addresses of this host" => {
                let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
                libc::syscall(
                    libc::SYS_socket,
                    libc::AF_NETLINK,
                    kind,
                    libc::NETLINK_ROUTE,
                )
            }
            "open an audit socket" => {
                let (kind, protocol) = (libc::SOCK_RAW, libc::NETLINK_AUDIT);
                libc::syscall(libc::SYS_socket, libc::AF_NETLINK, kind, protocol)
            }
            "type into a terminal" => i64::from(libc::ioctl(0, libc::TIOCSTI, c"x".as_ptr())),
            "set quotas by a newer call" => libc::syscall(443, -1, 0, 0, nothing),
            "clone a mount by a newer call" => libc::syscall(467, -1, root.as_ptr(), 0, nothing, 0),
            "fork" => match libc::fork() {
                0 => libc::_exit(0),
                other => i64::from(other),
            },
            "trace" => libc::syscall(libc::SYS_ptrace, 0, 0, nothing, nothing),
            "mount" => libc::syscall(
                libc::SYS_mount,
                nothing,
                root.as_ptr(),
                nothing,
                libc::MS_REMOUNT,
                nothing,
            ),
            "change the mode of a file by a newer call" => {
                let path = CString::new("/dev/null").unwrap();
                libc::syscall(452, libc::AT_FDCWD, path.as_ptr(), 0o666, 0)
            }
            "give a file an attribute" => {
                libc::syscall(libc::SYS_fsetxattr, 0, nothing, nothing, 0, 0)
            }
            "cut a file by its path" => libc::syscall(libc::SYS_truncate, nothing, 0),
            "unshare" => libc::syscall(libc::SYS_unshare, libc::CLONE_NEWUSER),
            "chroot" => libc::syscall(libc::SYS_chroot, root.as_ptr()),
            "load a module" => libc::syscall(libc::SYS_init_module, nothing, 0, nothing),
            "become another user" => libc::syscall(libc::SYS_setuid, 1),
            "take a right back" => libc::syscall(libc::SYS_capset, nothing, nothing),
            "set up an io_uring" => libc::syscall(libc::SYS_io_uring_setup, 1, nothing),
            "read another's memory" => libc::syscall(
                libc::SYS_process_vm_readv,
                libc::getppid(),
                nothing,
                0,
                nothing,
                0,
                0,
            ),
            "make a device in a folder to write" => {
                let path = CString::new("queue/device").unwrap();
                let kind = libc::S_IFCHR | 0o600;
                libc::syscall(libc::SYS_mknodat, libc::AT_FDCWD, path.as_ptr(), kind, 259)
            }
            "signal its parent" => i64::from(libc::kill(libc::getppid(), 0)),
            other => panic!("{other} is not known"),
        }
    };
    match result {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
