//! Where it listens, who may come in, and how it ends.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Stdio};

use super::server::{Server, carried, netstring, site};

fn serve(root: &Path, args: &[&str]) -> Result<Server, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mapctl"));
    command.args(["serve", "--root"]).arg(root).args(args);
    Server::spawn(command, root)
}

fn signal(server: &Server, name: &str) {
    let pid = server.child.id().to_string();
    let killed = Command::new("kill").args([name, &pid]).status();
    assert!(killed.unwrap().success());
}

fn terminate(server: &mut Server) -> Option<i32> {
    signal(server, "-TERM");
    server.child.wait().unwrap().code()
}

#[test]
fn a_hangup_ends_nothing() {
    let root = site();
    let mut server = Server::start(root.path(), &[]);
    signal(&server, "-HUP");
    assert_eq!(server.lookup("extra k"), "OK v");
    assert_eq!(terminate(&mut server), Some(0));
}

#[test]
fn a_unix_socket_has_its_mode_and_goes_with_the_server() {
    let root = site();
    let socket = root.path().join("maps");
    // What a crashed server left is replaced.
    drop(UnixListener::bind(&socket).unwrap());
    let mut server = Server::start(root.path(), &["--socket-mode", "0600"]);
    let mode = fs::symlink_metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let at = format!("unix:{}", socket.display());
    let said = serve(root.path(), &["--socketmap", &at]).err().unwrap();
    assert!(
        said.contains("ddress") && said.ends_with("exit 69"),
        "{said}"
    );
    assert_eq!(server.lookup("extra k"), "OK v");
    assert_eq!(terminate(&mut server), Some(0));
    assert!(!socket.exists() && !root.path().join("policy").exists());
    let left: Vec<_> = fs::read_dir(root.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn what_is_no_socket_is_left_alone() {
    let root = site();
    let file = root.path().join("maps");
    fs::write(&file, "mine").unwrap();
    let at = format!("unix:{}", file.display());
    let said = serve(root.path(), &["--socketmap", &at]).err().unwrap();
    assert!(said.contains("no socket stands there"), "{said}");
    assert_eq!(fs::read_to_string(&file).unwrap(), "mine");
}

#[test]
fn told_to_stop_it_answers_what_it_has_read() {
    let root = site();
    let mut server = Server::start(root.path(), &[]);
    let mut idle = server.connect("maps");
    let mut busy = server.connect("maps");
    busy.write_all(netstring("extra k").as_bytes()).unwrap();
    assert_eq!(carried(&mut busy), "OK v");
    assert_eq!(terminate(&mut server), Some(0));
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    busy.read_to_end(&mut rest).unwrap();
    assert!(rest.is_empty());
    assert!(UnixStream::connect(root.path().join("maps")).is_err());
}

#[test]
fn a_new_client_takes_the_place_of_the_one_that_was_silent_longest() {
    let root = site();
    let server = Server::start(root.path(), &["--max-connections", "2"]);
    let ask = |stream: &mut UnixStream| {
        stream.write_all(netstring("extra k").as_bytes()).unwrap();
        carried(stream)
    };
    let mut first = server.connect("maps");
    assert_eq!(ask(&mut first), "OK v");
    std::thread::sleep(std::time::Duration::from_millis(20));
    let mut second = server.connect("maps");
    assert_eq!(ask(&mut second), "OK v");
    let mut third = server.connect("maps");
    assert_eq!(ask(&mut third), "OK v");
    assert_eq!(first.read(&mut [0]).unwrap(), 0, "the first is sent away");
    assert_eq!(ask(&mut second), "OK v");
}

#[test]
fn the_beginning_of_a_request_keeps_no_place() {
    let root = site();
    let server = Server::start(root.path(), &["--max-connections", "1"]);
    let mut greedy = server.connect("maps");
    let asked = netstring("extra k") + "1";
    greedy.write_all(asked.as_bytes()).unwrap();
    assert_eq!(carried(&mut greedy), "OK v");
    // It is being answered until it has heard the answer, and a moment longer.
    let other = |_| {
        let mut other = server.connect("maps");
        other.write_all(netstring("extra k").as_bytes()).unwrap();
        carried(&mut other) == "OK v"
    };
    assert!((0..1000).any(other));
    assert_eq!(greedy.read(&mut [0]).unwrap(), 0, "it is sent away");
}

#[test]
fn tcp_is_for_this_host_unless_others_are_named() {
    let root = site();
    let said = serve(root.path(), &["--socketmap", "inet:0.0.0.0:0"])
        .err()
        .unwrap();
    assert!(
        said.contains("--client") && said.ends_with("exit 64"),
        "{said}"
    );
    for (args, want) in [
        (&["--socketmap", "inet:127.0.0.1:0"][..], "OK v"),
        (
            &["--socketmap", "inet:0.0.0.0:0", "--client", "127.0.0.0/8"],
            "OK v",
        ),
        (
            &["--socketmap", "inet:0.0.0.0:0", "--client", "192.0.2.0/24"],
            "",
        ),
    ] {
        let server = serve(root.path(), args).unwrap();
        let log = server.log.lock().unwrap().clone();
        let (_, address) = log.split_once("addr=inet:").unwrap();
        let port = address.lines().next().unwrap().rsplit(':').next().unwrap();
        let mut stream = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        let _ = stream.write_all(netstring("extra k").as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut said = String::new();
        let _ = stream.read_to_string(&mut said);
        let want = if want.is_empty() {
            String::new()
        } else {
            netstring(want)
        };
        assert_eq!(said, want, "{args:?}");
    }
}

#[test]
fn a_service_manager_passes_the_sockets() {
    let root = site();
    let socket = root.path().join("passed");
    let listener = UnixListener::bind(&socket).unwrap();
    // The shell puts the socket where sd_listen_fds(3) has it, under the process's own number.
    let script = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 LISTEN_FDNAMES=maps exec \"$@\"";
    let start = |address: &str| {
        let mut command = Command::new("sh");
        command
            .args(["-c", script, "sh", env!("CARGO_BIN_EXE_mapctl"), "serve"])
            .args(["--socketmap", address, "--root"])
            .arg(root.path())
            .stdin(Stdio::from(OwnedFd::from(listener.try_clone().unwrap())));
        Server::spawn(command, root.path())
    };
    let said = start("systemd:other").err().unwrap();
    assert!(said.contains("has passed no such socket"), "{said}");
    let mut server = start("systemd:maps").unwrap();
    let mut stream = server.connect("passed");
    stream.write_all(netstring("extra k").as_bytes()).unwrap();
    assert_eq!(carried(&mut stream), "OK v");
    assert_eq!(terminate(&mut server), Some(0));
    // The socket is the manager's: it stays, and waits for the next server.
    let mut waiting = UnixStream::connect(&socket).unwrap();
    waiting.write_all(netstring("extra k").as_bytes()).unwrap();
    let _server = start("systemd").unwrap();
    assert_eq!(carried(&mut waiting), "OK v");
}

#[test]
fn it_is_started_with_something_to_do() {
    let root = site();
    for (args, exit) in [
        (&[][..], "exit 64"),
        (&["--socketmap", "maps"], "exit 64"),
        (&["--socketmap", "unix:/x", "--map", "extra"], "exit 64"),
        (&["--socketmap", "unix:/x", "--map", "n=text:/x"], "exit 64"),
        (
            &["--socketmap", "unix:/x", "--socket-mode", "999"],
            "exit 64",
        ),
        (
            &["--socketmap", "unix:/x", "--socket-group", "no-such-group"],
            "exit 67",
        ),
        (&["--socketmap", "unix:/nowhere/x"], "exit 69"),
    ] {
        let said = serve(root.path(), args).err().unwrap();
        assert!(said.ends_with(exit), "{args:?}: {said}");
    }
    let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    assert!(BufReader::new(&output.stdout[..]).lines().count() > 10);
}
