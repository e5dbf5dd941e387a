//! saslpasswd2(8): sets and removes passwords in sasldb2.

mod input;
mod store;
mod terminal;
mod transfer;

use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use libmaps::map::StoreError;
use libmaps::sasl::conf::{Auxprop, Conf, DEFAULT_SASLDB, ScramSecrets};
use libmaps::sasl::edit::{AuthPassword, Keep};
use libmaps::sasl::password::PasswordError;
use libmaps::sasl::secret::Recipe;
use libmaps::sasl::{Password, SaslDbError, UserId};
use libmaps::sysexits::SysExit;

use crate::alias_config::reason;
use crate::getopt::{Given, Opt, flag, long, long_value, value};
use crate::getopt_all::{self, Event};
use crate::report::{VERSION, asked_about_itself, complain, help};
use crate::sasl_site::{
    BANNER, SaslCode, Severity, VERSIONS, below, configuration, exit_of, host_realm, log,
    program_name, shared_store, tell,
};
use input::{InputError, Source};
use store::Job;
use transfer::BadRows;

/// Every option.
pub const OPTIONS: &[Opt] = &[
    flag(b'v', "print version numbers and exit"),
    flag(b'c', "create the account"),
    flag(
        b'p',
        "pipe mode: no prompt, the password is the first line of standard input",
    ),
    flag(b'n', "no userPassword: SCRAM secrets only"),
    flag(b'd', "delete the account"),
    value(
        b'a',
        "APPNAME",
        "read APPNAME.conf instead of saslpasswd.conf",
    ),
    value(b'f', "FILE", "use FILE as sasldb"),
    value(b'u', "REALM", "the user's realm"),
    flag(b'h', "print the usage"),
    flag(b'?', "print the usage"),
    long("plaintext", "keep the password in clear text too"),
    long_value("password-fd", "N", "read the password from descriptor N"),
    long_value(
        "import",
        "FILE",
        "store the accounts of a CSV file; - is standard input",
    ),
    long("partial", "store the good rows of a file that has bad ones"),
    long_value(
        "export",
        "FILE",
        "write the accounts as CSV; - is standard output",
    ),
    long_value("root", "DIR", "take the site's paths below DIR"),
    long("help", "print this text and end"),
    long("version", "print the version and end"),
];

/// The usage text, as the original prints it after the program's name.
pub const USAGE: &str = "\
[-v] [-c [-p] [-n]] [-d] [-a appname] [-f sasldb] [-u DOM] userid
\t-p\tpipe mode -- no prompt, password read on stdin
\t-c\tcreate -- ask mechs to create the account
\t-d\tdisable -- ask mechs to disable/delete the account
\t-n\tno userPassword -- don't set plaintext userPassword property
\t  \t                   (only set mechanism-specific secrets)
\t-f sasldb\tuse given file as sasldb
\t-a appname\tuse appname as application name
\t-u DOM\tuse DOM for user domain
\t-v\tprint version numbers and exit
";

fn about() -> String {
    let usage = "\
Usage: saslpasswd2 [-c [-p] [-n]] [-d] [-a appname] [-f sasldb] [-u realm] userid
       saslpasswd2 [-f sasldb] --import FILE [--partial]
       saslpasswd2 [-f sasldb] --export FILE
";
    let purpose = "Sets, imports and removes the passwords of sasldb2.";
    help(purpose, usage, OPTIONS)
}

/// What was typed.
#[derive(Debug, Default)]
struct Typed {
    create: bool,
    delete: bool,
    pipe: bool,
    no_user_password: bool,
    plaintext: bool,
    partial: bool,
    wrong: bool,
    appname: Option<OsString>,
    file: Option<OsString>,
    realm: Option<OsString>,
    password_fd: Option<OsString>,
    import: Option<OsString>,
    export: Option<OsString>,
    root: Option<OsString>,
    operands: Vec<OsString>,
}

/// Runs the program; `args` begins with its name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let program = program_name(args.next(), "saslpasswd2");
    let args: Vec<OsString> = args.collect();
    if let Some(exit) = asked_about_itself("saslpasswd2", &args, about) {
        return exit;
    }
    match read_options(&program, args.into_iter()) {
        Ok(typed) => work(&program, &typed),
        Err(exit) => exit,
    }
}

/// Obeys the letters in order, as the original does: `-v` and a wrong `-a` end at once.
fn read_options(program: &str, args: impl Iterator<Item = OsString>) -> Result<Typed, ExitCode> {
    let (events, operands) = getopt_all::read(OPTIONS, args);
    let mut typed = Typed {
        operands,
        ..Typed::default()
    };
    for event in events {
        let given = match event {
            Event::Given(given) => given,
            Event::Complaint(complaint) => {
                complain(&[format!("{program}: {complaint}").as_bytes()]);
                typed.wrong = true;
                continue;
            }
        };
        match given {
            Given::Short(b'v', _) => {
                print(&format!("{BANNER}{VERSIONS}"));
                return Err(ExitCode::SUCCESS);
            }
            Given::Short(b'c', _) => typed.create = true,
            Given::Short(b'd', _) => typed.delete = true,
            Given::Short(b'p', _) => typed.pipe = true,
            Given::Short(b'n', _) => typed.no_user_password = true,
            Given::Short(b'f', file) => typed.file = file,
            Given::Short(b'u', realm) => typed.realm = realm,
            Given::Short(b'a', appname) => {
                if appname
                    .as_ref()
                    .is_some_and(|a| a.as_bytes().contains(&b'/'))
                {
                    print("appname must not contain /\n");
                    return Err(code(SaslCode::Fail));
                }
                typed.appname = appname;
            }
            Given::Short(..) => typed.wrong = true,
            Given::Long("plaintext", _) => typed.plaintext = true,
            Given::Long("partial", _) => typed.partial = true,
            Given::Long("password-fd", n) => typed.password_fd = n,
            Given::Long("import", file) => typed.import = file,
            Given::Long("export", file) => typed.export = file,
            Given::Long("root", root) => typed.root = root,
            Given::Long(..) => typed.wrong = true,
        }
    }
    let transfers = usize::from(typed.import.is_some()) + usize::from(typed.export.is_some());
    typed.wrong |= typed.create && typed.delete;
    typed.wrong |= typed.operands.len() + transfers != 1;
    typed.wrong |= (typed.delete || typed.no_user_password) && transfers > 0;
    if typed.wrong {
        print(&format!("{BANNER}{program}: usage: {program} {USAGE}"));
        return Err(code(SaslCode::Fail));
    }
    Ok(typed)
}

fn work(program: &str, typed: &Typed) -> ExitCode {
    let root = PathBuf::from(typed.root.clone().unwrap_or_else(|| "/".into()));
    let appname = typed
        .appname
        .as_ref()
        .map_or("saslpasswd".into(), |a| a.to_string_lossy());
    let conf = match configuration(program, &appname, &root) {
        Ok(conf) => conf,
        Err(error) => return fail(program, SaslCode::Configuration, &error.to_string()),
    };
    let job = match job(typed, &conf, &root) {
        Ok(job) => job,
        Err(error) => return fail_shared(program, &error.to_string(), error.exit()),
    };
    let realm = match &typed.realm {
        Some(realm) if !realm.is_empty() => realm.as_bytes().to_vec(),
        _ => host_realm().into_bytes(),
    };
    if let Some(file) = &typed.export {
        return transfer::export(program, Path::new(file), &job.path);
    }
    let no_mechanism = || {
        let why = "auxprop_plugin does not name sasldb";
        fail(program, SaslCode::NoMechanism, why)
    };
    if let Some(file) = &typed.import {
        if conf.auxprop == Auxprop::Nothing {
            return no_mechanism();
        }
        let bad_rows = match typed.partial {
            true => BadRows::StoreTheGood,
            false => BadRows::StoreNothing,
        };
        return transfer::import(program, Path::new(file), &realm, bad_rows, &job);
    }
    let name = typed
        .operands
        .first()
        .map(|o| o.as_bytes())
        .unwrap_or_default();
    let user = match UserId::resolve(name, &realm) {
        Ok(user) => user,
        Err(error) => return fail(program, SaslCode::BadParameter, &error.to_string()),
    };
    let password = match typed.delete {
        true => None,
        false => match read_password(program, typed) {
            Ok(password) => Some(password),
            Err(exit) => return exit,
        },
    };
    if conf.auxprop == Auxprop::Nothing {
        return no_mechanism();
    }
    let done = match password {
        None => job.remove(program, &user),
        // No mechanism-specific secret is asked for, so there is nothing to store.
        Some(_) if typed.no_user_password && conf.scram_secrets == ScramSecrets::Omit => {
            job.make(program)
        }
        Some(password) => store::derive(program, "hashing", &[(user, password)], &job)
            .and_then(|derived| job.store(program, &derived)),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if job.shared.is_some() => {
            fail_shared(program, &error.to_string(), exit_of(&error))
        }
        Err(error) => {
            // The original does not say which file; where the disk fails, scripts want to know.
            if is_of_the_disk(&error) && !io::stderr().is_terminal() {
                say(program, &error.to_string());
            }
            fail(program, SaslCode::Fail, &error.to_string())
        }
    }
}

/// # Errors
/// The connection file of a shared store is wrong.
fn job(typed: &Typed, conf: &Conf, root: &Path) -> Result<Job, StoreError> {
    let path = match &typed.file {
        Some(file) if !file.is_empty() => PathBuf::from(file),
        Some(_) => below(root, Path::new(DEFAULT_SASLDB)),
        None => below(root, &conf.sasldb_path),
    };
    let shared = shared_store(&path, typed.root.as_ref().map(Path::new))?;
    Ok(Job {
        path: shared.as_ref().map_or(path, |c| c.replica.clone()),
        shared,
        recipe: Recipe {
            iterations: conf.scram_iterations,
            server_realms: vec![host_realm().into_bytes()],
        },
        keep: match typed.plaintext {
            true => Keep::ClearText,
            false => Keep::Hashes,
        },
        auth: match (conf.scram_secrets, typed.no_user_password) {
            (ScramSecrets::Omit, _) => AuthPassword::Omit,
            (ScramSecrets::Generate, false) => AuthPassword::Also,
            (ScramSecrets::Generate, true) => AuthPassword::Only,
        },
        writer: format!("saslpasswd2 {VERSION}"),
    })
}

fn read_password(program: &str, typed: &Typed) -> Result<Password, ExitCode> {
    let source = match (&typed.password_fd, typed.pipe) {
        (Some(n), _) => match n.to_str().and_then(|n| n.parse().ok()) {
            Some(n) => Source::Descriptor(n),
            None => {
                let why = "--password-fd: expected a number";
                return Err(fail(program, SaslCode::BadParameter, why));
            }
        },
        (None, true) => Source::Pipe,
        (None, false) => Source::Ask,
    };
    input::password(source).map_err(|error| match error {
        InputError::Bad(PasswordError::Empty) => {
            say(program, SaslCode::BadParameter.text());
            code(SaslCode::BadParameter)
        }
        InputError::Bad(why) => fail(program, SaslCode::BadParameter, &why.to_string()),
        InputError::Mismatch => {
            say(program, "passwords don't match; aborting");
            code(SaslCode::BadParameter)
        }
        InputError::Io(error) => {
            say(program, &reason(&error));
            code(SaslCode::Fail)
        }
    })
}

/// Whether the disk failed, and not somebody's rights or words.
fn is_of_the_disk(error: &SaslDbError) -> bool {
    match error {
        SaslDbError::Store(StoreError::Io { source, .. }) => {
            source.kind() != io::ErrorKind::PermissionDenied
        }
        _ => false,
    }
}

/// The original's line, and the reason where reasons go.
fn fail(program: &str, result: SaslCode, reason: &str) -> ExitCode {
    say(program, result.text());
    tell(program, reason);
    code(result)
}

/// The reason and the exit code that other programs have for it: the original knows no shared
/// stores, and whoever takes a password away must see whether that came about.
fn fail_shared(program: &str, reason: &str, exit: SysExit) -> ExitCode {
    say(program, reason);
    log(program, Severity::Error, reason);
    exit.into()
}

fn say(program: &str, text: &str) {
    complain(&[format!("{program}: {text}").as_bytes()]);
}

fn code(result: SaslCode) -> ExitCode {
    ExitCode::from(result as u8)
}

fn print(text: &str) {
    // When even that can't be written, the exit code still tells.
    let _ = io::stderr().write_all(text.as_bytes());
}
