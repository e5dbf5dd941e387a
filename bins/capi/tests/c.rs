//! The library as programs in C use it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::sync::mpsc::{Sender, channel};
use std::thread;

// The static library is built with this test; without a word of it cargo would not.
use libmaps::map::{Entry, MapClass};
use libmaps::store::publish::{Options, Publisher};
use maps as _;

const HERE: &str = env!("CARGO_MANIFEST_DIR");

const MC: &str = "OSTYPE(`linux')dnl\n\
    define(`confDOMAIN_NAME', `mx.example.org')dnl\n\
    FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl\n\
    FEATURE(`virtusertable', `hash /etc/mail/virtusertable')dnl\n\
    LOCAL_DOMAIN(`example.org')dnl\n\
    MAILER(`local')dnl\nMAILER(`smtp')dnl\n";

const ACCESS: &str = "From:good.example\tOK\nFrom:spam.example\tERROR:5.7.1:550 We know you\n\
    From:held.example\tQUARANTINE:look at this\nFrom:lost.example\tDISCARD\n\
    AuthInfo:hub.example\t\"P:hush\"\n";

/// The folder with libmaps.so.1.
static LINKED: LazyLock<tempfile::TempDir> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("libmaps.a");
    std::os::unix::fs::symlink(static_library(), archive).unwrap();
    let output = Command::new(Path::new(HERE).join("link-shared"))
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    folder
});

/// The newest libmaps.a beside this test, with or without a hash in its name.
fn static_library() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let folder = exe.parent().unwrap();
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let archives = files.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.ends_with(".a") && (name == "libmaps.a" || name.starts_with("libmaps-"))
    });
    let newest = archives.max_by_key(|file| file.metadata().unwrap().modified().unwrap());
    newest.expect("libmaps.a is built").path()
}

/// Compiles a program against the header and the library.
fn compile(source: &str, folder: &Path) -> PathBuf {
    let program = folder.join("program");
    let output = Command::new("cc")
        .args([
            "-std=c11",
            "-D_DEFAULT_SOURCE",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-pthread",
            "-o",
        ])
        .arg(&program)
        .arg(Path::new(HERE).join(source))
        .arg("-I")
        .arg(Path::new(HERE).join("include"))
        .arg("-L")
        .arg(LINKED.path())
        .arg("-lmaps")
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    program
}

fn site() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    let mail = root.path().join("etc/mail");
    fs::create_dir_all(&mail).unwrap();
    fs::write(mail.join("sendmail.mc"), MC).unwrap();
    fs::write(mail.join("service.switch"), "hosts files\n").unwrap();
    build(&mail.join("access.db"), ACCESS);
    build(&mail.join("virtusertable.db"), "info@shop.example\talice\n");
    // As `makemap -f` builds it.
    let mut options = Options::new(MapClass::Hash, "test");
    options.described = "-f".into();
    let mut publisher = Publisher::create(&mail.join("capitals.db"), options).unwrap();
    publisher.put(Entry::new("Key", "v")).unwrap();
    publisher.publish().unwrap();
    for (name, class) in [
        ("one.cdb", MapClass::Cdb),
        ("bare", MapClass::Cdb),
        ("two.db", MapClass::Btree),
    ] {
        let mut publisher =
            Publisher::create(&mail.join(name), Options::new(class, "test")).unwrap();
        publisher.put(Entry::new("key", "v")).unwrap();
        publisher.publish().unwrap();
    }
    // The source of a map is none.
    fs::write(mail.join("two"), "key v\n").unwrap();
    root
}

fn build(path: &Path, source: &str) {
    let mut publisher = Publisher::create(path, Options::new(MapClass::Hash, "test")).unwrap();
    for line in source.lines() {
        let (lhs, rhs) = line.split_once('\t').unwrap();
        let entry = Entry::new(lhs.to_ascii_lowercase().as_str(), rhs);
        publisher.put(entry).unwrap();
    }
    publisher.publish().unwrap();
}

fn run(program: &Path, under: &[&str], args: &[&str]) -> Output {
    let mut words = under
        .iter()
        .map(|word| (*word).to_owned())
        .collect::<Vec<_>>();
    words.push(program.display().to_string());
    words.extend(args.iter().map(|word| (*word).to_owned()));
    Command::new(&words[0])
        .args(&words[1..])
        .env("LD_LIBRARY_PATH", LINKED.path())
        .output()
        .unwrap()
}

fn is_there(program: &str) -> bool {
    let found = Command::new(program)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    found.is_ok_and(|status| status.success())
}

/// The functions that a text names: words `maps_...` with a parenthesis or semicolon after them.
fn functions(text: &str, after: char) -> BTreeSet<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices("maps_") {
        if text[..at].ends_with(is_word) {
            continue;
        }
        let word: String = text[at..].chars().take_while(|c| is_word(*c)).collect();
        if text[at + word.len()..].starts_with(after) {
            found.insert(word);
        }
    }
    found
}

/// A C text without its comments.
fn code(text: &str) -> String {
    let mut code = String::new();
    for part in text.split("/*") {
        code += part.split_once("*/").map_or(part, |(_, code)| code);
    }
    code
}

#[test]
fn header_and_versions_and_library_name_the_same_functions() {
    let read = |name: &str| fs::read_to_string(Path::new(HERE).join(name)).unwrap();
    let header = functions(&code(&read("include/libmaps.h")), '(');
    let versions = functions(&read("libmaps.map"), ';');
    assert_eq!(header, versions);
    let mut defined = BTreeSet::new();
    for file in fs::read_dir(Path::new(HERE).join("src")).unwrap() {
        let text = fs::read_to_string(file.unwrap().path()).unwrap();
        for part in text.split("#[unsafe(no_mangle)]").skip(1) {
            let (_, rest) = part.split_once("fn ").unwrap();
            defined.insert(rest.split('(').next().unwrap().to_owned());
        }
    }
    assert_eq!(header, defined);
    if !is_there("nm") {
        return eprintln!("skipped: no nm, which lists what the library exports");
    }
    let output = Command::new("nm")
        .args(["-D", "--defined-only"])
        .arg(LINKED.path().join("libmaps.so.1"))
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let exported: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.split(' ').next_back())
        .filter(|name| *name != "MAPS_1")
        .map(str::to_owned)
        .collect();
    let with_version = header
        .iter()
        .map(|name| format!("{name}@@MAPS_1"))
        .collect();
    assert_eq!(exported, with_version);
}

#[test]
fn every_call_does_what_the_header_says() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("tests/every_call.c", folder.path());
    let root = site();
    let output = run(&program, &[], &[root.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("every_call.c"), "{said}");
}

#[test]
fn no_call_touches_what_is_not_its_own() {
    if !is_there("valgrind") {
        return eprintln!("skipped: no valgrind");
    }
    let folder = tempfile::tempdir().unwrap();
    let program = compile("tests/every_call.c", folder.path());
    let root = site();
    let under = [
        "valgrind",
        "-q",
        "--error-exitcode=9",
        "--leak-check=full",
        "--errors-for-leak-kinds=definite",
    ];
    let output = run(&program, &under, &[root.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

/// The children of forked.c.
const CHILDREN: usize = 20;

/// Hands on the number in each request `LENGTH:m kNUMBER,` with where the answer goes.
fn read_requests(mut stream: UnixStream, asked: &Sender<(String, UnixStream)>) {
    let (mut octet, mut request) = ([0], String::new());
    while stream.read_exact(&mut octet).is_ok() {
        if octet != *b"," {
            request.push(octet[0].into());
            continue;
        }
        let number = request.split_off(request.find('k').unwrap() + 1);
        request.clear();
        asked.send((number, stream.try_clone().unwrap())).unwrap();
    }
}

#[test]
fn after_fork_each_child_gets_the_value_of_its_own_key() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("tests/forked.c", folder.path());
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    let (asked, questions) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let asked = asked.clone();
            thread::spawn(move || read_requests(stream.unwrap(), &asked));
        }
    });
    thread::spawn(move || {
        let answer = |(number, mut to): (String, UnixStream)| {
            let text = format!("OK v{number}");
            // Who has given up reads no answer.
            let _ = to.write_all(format!("{}:{text},", text.len()).as_bytes());
        };
        answer(questions.recv().unwrap());
        // All children wait at once, and the last to ask is the first to be answered.
        let mut waiting: Vec<_> = questions.iter().take(CHILDREN).collect();
        waiting.reverse();
        waiting.into_iter().for_each(answer);
        questions.iter().for_each(answer);
    });
    let map = format!("socketmap:unix:{}:m", socket.display());
    let output = run(&program, &[], &[&map]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

#[test]
fn no_call_starts_a_thread() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("tests/threads.c", folder.path());
    let root = site();
    let output = run(&program, &[], &[root.path().to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    assert!(!said.contains("threads.c"), "{said}");
}

#[test]
fn the_example_works() {
    let folder = tempfile::tempdir().unwrap();
    let program = compile("examples/ask.c", folder.path());
    let root = site();
    let root = root.path().to_str().unwrap();
    let session = |sender, recipient| {
        let args = [
            "--root",
            root,
            "203.0.113.9",
            "mx.x.example",
            sender,
            recipient,
        ];
        let output = run(&program, &[], &args);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (sender, recipient, want) in [
        (
            "a@good.example",
            "b@example.org",
            "250 2.1.5 Recipient ok\nis no virtual user\n",
        ),
        (
            "a@spam.example",
            "b@example.org",
            "550 5.7.1 We know you\nis no virtual user\n",
        ),
        (
            "a@spam.example",
            "info@shop.example",
            "550 5.7.1 We know you\ngoes to alice\n",
        ),
    ] {
        assert_eq!(session(sender, recipient), want);
    }
    let output = run(&program, &[], &["--root", "/nowhere", "a", "b", "c", "d"]);
    assert_eq!(output.status.code(), Some(78));
}

#[test]
fn pkg_config_finds_it() {
    let text = fs::read_to_string(LINKED.path().join("libmaps.pc")).unwrap();
    assert!(
        text.contains(concat!("Version: ", env!("CARGO_PKG_VERSION"), "\n")),
        "{text}"
    );
    assert!(
        text.contains("prefix=/usr/local\n") && !text.contains('@'),
        "{text}"
    );
    if !is_there("pkg-config") {
        return eprintln!("skipped: no pkg-config");
    }
    let output = Command::new("pkg-config")
        .args(["--cflags", "--libs", "libmaps"])
        .env("PKG_CONFIG_PATH", LINKED.path())
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("-lmaps"), "{said}");
    std::io::stdout().flush().unwrap();
}
