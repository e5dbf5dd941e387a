//! testsaslauthd: asks a saslauthd whether a password is right.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tools::getopt::{self, Given, Opt, long, long_value, value};
use tools::report::{asked_about_itself, help};
use zeroize::Zeroizing;

use crate::frame::{BadReply, ReplyReader, Request};
use crate::options::{DEFAULT_RUN_DIR, number, words};
use crate::prompt;
use crate::run_dir::strerror;

/// The options that testsaslauthd knows.
pub const OPTIONS: [Opt; 9] = [
    value(b'u', "username", "login"),
    value(b'p', "password", "password, for all to see"),
    value(b'r', "realm", "realm"),
    value(b's', "servicename", "service"),
    value(b'f', "socket path", "the server's socket"),
    value(b'R', "repeatnum", "how often to ask"),
    long_value("password-fd", "N", "read the password from descriptor N"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

/// A server that says nothing for so long is given up.
const PATIENCE: Duration = Duration::from_secs(90);

/// What the original exits with where the last try wasn't `OK`.
const FAILED: u8 = 255;
const USAGE: u8 = 1;

/// Runs testsaslauthd with these arguments, the program's name first.
#[must_use]
pub fn main(args: Vec<OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = args.next().unwrap_or_else(|| "testsaslauthd".into());
    let program = program.to_string_lossy();
    let args: Vec<OsString> = args.collect();
    if let Some(exit) = asked_about_itself("testsaslauthd", &args, about) {
        return exit;
    }
    match read(args) {
        Ok(Some(asked)) => match asked.with_password() {
            Ok(Some((request, plan))) => ExitCode::from(ask_all(&request, &plan)),
            Ok(None) => usage(&program),
            Err(error) => {
                eprintln!("{program}: {error}");
                ExitCode::from(FAILED)
            }
        },
        Ok(None) => usage(&program),
        Err(complaint) => {
            eprintln!("{program}: {}", words(&complaint));
            usage(&program)
        }
    }
}

fn about() -> String {
    let usage = "\
Usage: testsaslauthd -u username [-p password | --password-fd N] [-r realm]
                     [-s servicename] [-f socket path] [-R repeatnum]
";
    help(
        "Asks saslauthd about a login; the password is asked for.",
        usage,
        &OPTIONS,
    )
}

fn usage(program: &str) -> ExitCode {
    eprint!(
        "{program}: usage: testsaslauthd -u username -p password\n\
        \x20             [-r realm] [-s servicename]\n\
        \x20             [-f socket path] [-R repeatnum]\n"
    );
    ExitCode::from(USAGE)
}

/// Where to ask, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Plan {
    socket: PathBuf,
    tries: u32,
}

/// A command line, read; the password may still be missing.
#[derive(Debug)]
struct Asked {
    login: Vec<u8>,
    password: Source,
    service: Vec<u8>,
    realm: Vec<u8>,
    plan: Plan,
}

/// Where the password comes from.
#[derive(Debug)]
enum Source {
    Argument(Zeroizing<Vec<u8>>),
    Descriptor(i32),
    Terminal,
}

/// Reads a command line; `None` asks for the usage.
fn read(args: impl IntoIterator<Item = OsString>) -> Result<Option<Asked>, getopt::Complaint> {
    let parsed = getopt::parse(&OPTIONS, args).map_err(|(complaint, _)| complaint)?;
    let (mut login, mut argument, mut descriptor) = (None, None, None);
    let mut asked = Asked {
        login: Vec::new(),
        password: Source::Terminal,
        service: b"imap".to_vec(),
        realm: Vec::new(),
        plan: Plan {
            socket: Path::new(DEFAULT_RUN_DIR).join("mux"),
            tries: 1,
        },
    };
    for given in parsed.given {
        match given {
            Given::Short(b'u', Some(text)) => login = Some(text.into_vec()),
            Given::Short(b'p', Some(text)) => argument = Some(Zeroizing::new(text.into_vec())),
            Given::Short(b'r', Some(text)) => asked.realm = text.into_vec(),
            Given::Short(b's', Some(text)) => asked.service = text.into_vec(),
            Given::Short(b'f', Some(text)) => asked.plan.socket = text.into(),
            Given::Short(b'R', Some(text)) => match u32::try_from(number(&text)) {
                // What is no number counts as 0, and that as 1.
                Ok(tries) => asked.plan.tries = tries.max(1),
                Err(_) => return Ok(None),
            },
            Given::Long(_, Some(text)) => match text.to_string_lossy().parse() {
                Ok(fd) => descriptor = Some(fd),
                Err(_) => return Ok(None),
            },
            _ => return Ok(None),
        }
    }
    let Some(login) = login else {
        return Ok(None);
    };
    asked.login = login;
    asked.password = match (argument, descriptor) {
        (Some(password), _) => Source::Argument(password),
        (None, Some(fd)) => Source::Descriptor(fd),
        (None, None) => Source::Terminal,
    };
    Ok(Some(asked))
}

impl Asked {
    /// Gets the password; `None` where there is no way to get one.
    fn with_password(self) -> io::Result<Option<(Request, Plan)>> {
        let password = match self.password {
            Source::Argument(password) => password,
            Source::Descriptor(fd) => prompt::from_fd(fd)?,
            Source::Terminal if !prompt::is_possible() => return Ok(None),
            Source::Terminal => match prompt::ask("Password: ")? {
                Some(password) => password,
                None => return Err(io::Error::other("broken off")),
            },
        };
        let request = Request {
            login: self.login,
            password,
            service: self.service,
            realm: self.realm,
        };
        Ok(Some((request, self.plan)))
    }
}

/// Asks as often as wanted; the last try gives the exit code.
fn ask_all(request: &Request, plan: &Plan) -> u8 {
    let mut code = FAILED;
    for i in 0..plan.tries {
        let mut line = format!("{i}: ");
        code = match ask(request, &plan.socket) {
            Ok(true) => {
                let _ = writeln!(line, "OK \"Success.\"");
                0
            }
            Ok(false) => {
                let _ = writeln!(line, "NO \"authentication failed\"");
                FAILED
            }
            Err(why) => {
                eprintln!("{why}");
                FAILED
            }
        };
        let mut stdout = io::stdout();
        let told = stdout
            .write_all(line.as_bytes())
            .and_then(|()| stdout.flush());
        // The exit code is the answer, whether or not anybody could read it.
        if told.is_err_and(|e| e.kind() == io::ErrorKind::BrokenPipe) {
            return code;
        }
    }
    code
}

/// Asks once; the error is the original's line.
fn ask(request: &Request, socket: &Path) -> Result<bool, String> {
    let frame = request
        .to_frame()
        .map_err(|field| format!("{} too long", field.name()))?;
    let mut stream = UnixStream::connect(socket).map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::InvalidInput => "File name too long".to_owned(),
            _ => strerror(&error),
        };
        format!("connect() : {words}")
    })?;
    let write = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(&frame)
    };
    // A server that refuses early may have closed by now; its reply is still there.
    let written = write(&mut stream);
    let mut reader = ReplyReader::default();
    let mut buffer = [0; 1024];
    loop {
        let count = match stream.read(&mut buffer) {
            Ok(count) => count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(_) => 0,
        };
        if count == 0 {
            return Err(match (reader.end(), written) {
                (BadReply::NoCount, Err(_)) => "write failed".to_owned(),
                (bad, _) => bad_reply(bad).to_owned(),
            });
        }
        match reader.push(buffer.get(..count).unwrap_or_default()) {
            Ok(None) => {}
            Ok(Some(answer)) => return Ok(answer.is_ok()),
            Err(bad) => return Err(bad_reply(bad).to_owned()),
        }
    }
}

fn bad_reply(bad: BadReply) -> &'static str {
    match bad {
        BadReply::NoCount => "size read failed",
        BadReply::TooShort => "bad response from saslauthd",
        BadReply::Cut => "read failed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(line: &str) -> Option<Asked> {
        read(line.split_whitespace().map(OsString::from)).unwrap()
    }

    #[test]
    fn command_lines() {
        let full = asked("x -u a -u z -p b -s smtp -r r -f mux -R 3").unwrap();
        assert_eq!(full.login, b"z");
        assert_eq!(
            (full.service, full.realm),
            (b"smtp".to_vec(), b"r".to_vec())
        );
        assert_eq!((full.plan.socket, full.plan.tries), ("mux".into(), 3));
        assert!(matches!(full.password, Source::Argument(p) if *p == b"b"));
        assert_eq!(asked("-u a -R x").unwrap().plan.tries, 1);
        let plain = asked("-u a -R 0").unwrap();
        assert_eq!(plain.plan.tries, 1);
        assert_eq!(plain.service, b"imap");
        assert!(matches!(plain.password, Source::Terminal));
        let fd = asked("-u a --password-fd 3").unwrap();
        assert!(matches!(fd.password, Source::Descriptor(3)));
        for usage in ["", "-p a", "-u a -R -1", "-u a --password-fd x"] {
            assert!(asked(usage).is_none(), "{usage:?}");
        }
    }
}
