//! The ways in which the programs publish a map, and what is in it then.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use libmaps::map::{Map, StoreError};
use libmaps::store;

const HASH: &[u8] = include_bytes!("../../../../../testdata/berkeley/load-hash-p512.db");
const SASLDB: &[u8] = include_bytes!("../../../../../testdata/sasldb2/big.sasldb2");

/// One way to publish. In arguments `@` stands for the folder of the site.
pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) program: &'static str,
    arguments: &'static [&'static str],
    /// What it reads from its standard input.
    input: Input,
    /// Commands that make the site as it was before, each with its input.
    before: &'static [(&'static str, &'static [&'static str], Input)],
    /// A file that stands there before, and what is in it.
    file: Option<(&'static str, &'static [u8])>,
    /// The map's file.
    target: &'static str,
    /// The name under which an old Berkeley DB file is kept.
    kept: Option<&'static str>,
    /// What is compared.
    compared: Compared,
    /// With what it may end after an error.
    pub(super) codes: &'static [i32],
}

#[derive(Clone, Copy)]
enum Input {
    None,
    Old,
    New,
    Password,
}

/// What of a map is compared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Compared {
    Entries,
    /// The values are salted hashes.
    Lhs,
}

use Compared::{Entries, Lhs};

/// Cannot be made, I/O error, try again.
const MAP: &[i32] = &[73, 74, 75];
/// As newaliases of sendmail.
const ALIASES: &[i32] = &[70, 73, 74, 75];
/// As saslpasswd2 of Cyrus SASL: SASL_FAIL is -1, and it ends with its opposite.
const SASL: &[i32] = &[1, 73, 74, 75, 252, 253, 254, 255];

const fn job(name: &'static str, program: &'static str, target: &'static str) -> Job {
    Job {
        name,
        program,
        arguments: &[],
        input: Input::None,
        before: &[],
        file: None,
        target,
        kept: None,
        compared: Entries,
        codes: MAP,
    }
}

pub(super) const JOBS: &[Job] = &[
    Job {
        arguments: &["hash", "@/m"],
        input: Input::New,
        ..job("makemap hash, a new map", "makemap", "m.db")
    },
    Job {
        arguments: &["hash", "@/m"],
        input: Input::New,
        before: &[("makemap", &["hash", "@/m"], Input::Old)],
        ..job("makemap hash", "makemap", "m.db")
    },
    Job {
        arguments: &["-d", "btree", "@/m"],
        input: Input::New,
        before: &[("makemap", &["btree", "@/m"], Input::Old)],
        ..job("makemap -d btree", "makemap", "m.db")
    },
    Job {
        arguments: &["-o", "-r", "hash", "@/m"],
        input: Input::New,
        before: &[("makemap", &["hash", "@/m"], Input::Old)],
        ..job("makemap -o hash", "makemap", "m.db")
    },
    Job {
        arguments: &["cdb", "@/m"],
        input: Input::New,
        before: &[("makemap", &["cdb", "@/m"], Input::Old)],
        ..job("makemap cdb", "makemap", "m.cdb")
    },
    Job {
        arguments: &["-u", "hash", "@/m", "key7.example", "CHANGED"],
        before: &[("makemap", &["hash", "@/m"], Input::Old)],
        ..job("editmap -u", "editmap", "m.db")
    },
    Job {
        arguments: &["-u", "hash", "@/m", "added.example", "CHANGED"],
        file: Some(("m.db", HASH)),
        kept: Some("m.bdb"),
        ..job(
            "editmap, the first write to a Berkeley file",
            "editmap",
            "m.db",
        )
    },
    Job {
        arguments: &["--root", "@"],
        codes: ALIASES,
        ..job("newaliases", "newaliases", "etc/mail/aliases.db")
    },
    Job {
        arguments: &["-p", "-c", "-u", "r", "-f", "@/sasldb2", "new"],
        input: Input::Password,
        before: &[(
            "saslpasswd2",
            &[
                "--plaintext",
                "-p",
                "-c",
                "-u",
                "r",
                "-f",
                "@/sasldb2",
                "old",
            ],
            Input::Password,
        )],
        compared: Lhs,
        codes: SASL,
        ..job("saslpasswd2", "saslpasswd2", "sasldb2")
    },
    Job {
        arguments: &["-d", "-u", "r", "-f", "@/sasldb2", "gone"],
        before: &[
            (
                "saslpasswd2",
                &["-p", "-c", "-u", "r", "-f", "@/sasldb2", "gone"],
                Input::Password,
            ),
            (
                "saslpasswd2",
                &["-p", "-c", "-u", "r", "-f", "@/sasldb2", "old"],
                Input::Password,
            ),
        ],
        compared: Lhs,
        codes: SASL,
        ..job("saslpasswd2 -d", "saslpasswd2", "sasldb2")
    },
    Job {
        arguments: &["--import", "@/accounts.csv", "-f", "@/sasldb2"],
        before: &[(
            "saslpasswd2",
            &["-p", "-c", "-u", "r", "-f", "@/sasldb2", "old"],
            Input::Password,
        )],
        compared: Lhs,
        codes: SASL,
        ..job("saslpasswd2 --import", "saslpasswd2", "sasldb2")
    },
    Job {
        arguments: &["-p", "-c", "-u", "r", "-f", "@/sasldb2.db", "new"],
        input: Input::Password,
        file: Some(("sasldb2.db", SASLDB)),
        kept: Some("sasldb2.bdb"),
        compared: Lhs,
        codes: SASL,
        ..job(
            "saslpasswd2, the first write to a Berkeley file",
            "saslpasswd2",
            "sasldb2.db",
        )
    },
    Job {
        arguments: &["convert", "@/m.db", "cdb:@/n", "--force"],
        before: &[
            ("makemap", &["hash", "@/m"], Input::New),
            ("makemap", &["cdb", "@/n"], Input::Old),
        ],
        ..job("mapctl convert", "mapctl", "n.cdb")
    },
    Job {
        arguments: &["convert", "@/m.db", "hash:@/m", "--force"],
        file: Some(("m.db", SASLDB)),
        kept: Some("m.bdb"),
        compared: Lhs,
        ..job("mapctl convert, passwords in place", "mapctl", "m.db")
    },
];

/// What a map holds; two that hold the same are equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    Missing,
    /// How many entries, a digest of them, and whether the file is Berkeley DB's.
    Map(usize, u64, bool),
}

/// The folder in which a job runs.
pub(super) struct Site {
    /// Its files as they were before.
    start: PathBuf,
    folder: PathBuf,
    target: PathBuf,
    kept: Option<(PathBuf, Vec<u8>)>,
    input: PathBuf,
}

impl Site {
    /// Makes what stands there before.
    pub(super) fn prepare(job: &Job, programs: &Path, lab: &Path) -> io::Result<Self> {
        let lab = lab.canonicalize()?;
        let place = lab.join("place");
        remove_folder(&place)?;
        fs::create_dir(&place)?;
        for (input, rhs) in [(Input::Old, "OLD"), (Input::New, "NEW")] {
            let lines = (0..200).map(|n| format!("key{n}.example\t{rhs}\n"));
            fs::write(input.path(&lab), lines.collect::<String>())?;
        }
        fs::write(Input::Password.path(&lab), "secret-of-joe\n")?;
        let folder = place.join("site");
        let site = Site {
            start: place.join("start"),
            target: folder.join(job.target),
            kept: job.kept.map(|kept| {
                let octets = job.file.map_or(&[][..], |(_, octets)| octets);
                (folder.join(kept), octets.to_vec())
            }),
            input: job.input.path(&lab),
            folder,
        };
        let mail = site.folder.join("etc/mail");
        fs::create_dir_all(&mail)?;
        fs::write(mail.join("sendmail.mc"), MC)?;
        fs::write(mail.join("aliases"), "root: joe\nlist: ann, joe\n")?;
        fs::write(site.folder.join("accounts.csv"), ACCOUNTS)?;
        if let Some((name, octets)) = job.file {
            fs::write(site.folder.join(name), octets)?;
        }
        for (program, arguments, input) in job.before {
            let mut command = Command::new(programs.join(program));
            site.fill(&mut command, arguments);
            let output = command.stdin(File::open(input.path(&lab))?).output()?;
            if !output.status.success() {
                let why = String::from_utf8_lossy(&output.stderr).into_owned();
                return Err(io::Error::other(format!("{}: {program}: {why}", job.name)));
            }
        }
        fs::rename(&site.folder, &site.start)?;
        site.lay_out()?;
        Ok(site)
    }

    /// Puts everything back as it was before.
    pub(super) fn lay_out(&self) -> io::Result<()> {
        remove_folder(&self.folder)?;
        copy_folder(&self.start, &self.folder)
    }

    fn fill(&self, command: &mut Command, arguments: &[&str]) {
        let folder = self.folder.to_string_lossy();
        command
            .args(arguments.iter().map(|a| a.replace('@', &folder)))
            .current_dir(&self.folder);
    }

    /// The job's command; its input is at [`Site::input`].
    pub(super) fn command(&self, job: &Job, programs: &Path) -> Command {
        let mut command = Command::new(programs.join(job.program));
        self.fill(&mut command, job.arguments);
        let input = File::open(&self.input).map_or_else(|_| Stdio::null(), Stdio::from);
        command.stdin(input);
        command
    }

    pub(super) fn input(&self) -> &Path {
        &self.input
    }

    /// A path of that name outside the site.
    pub(super) fn beside(&self, name: &str) -> PathBuf {
        self.start.with_file_name(name)
    }

    /// The map's files, those of its making, and their folder.
    pub(super) fn watched(&self) -> Vec<PathBuf> {
        let mut watched = vec![store::path::folder_of(&self.target)];
        let kept = self.kept.iter().map(|(kept, _)| kept);
        for path in std::iter::once(&self.target).chain(kept) {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            watched.push(path.clone());
            watched.push(path.with_file_name(format!(".{name}.draft")));
            watched.push(path.with_file_name(format!(".{name}.lock")));
        }
        watched
    }

    /// Whether a message names the map or one of its files.
    pub(super) fn is_named(&self, job: &Job, message: &str) -> bool {
        let stem = Path::new(job.target).with_extension("");
        let stem = stem.to_string_lossy();
        message.contains(&format!("{stem}."))
            || message.contains(&format!("{stem}:"))
            || message.contains(&format!("/{stem}"))
    }

    /// Hidden files in the map's folder.
    pub(super) fn left(&self) -> Vec<String> {
        let folder = store::path::folder_of(&self.target);
        let names = fs::read_dir(folder).into_iter().flatten().flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        names.filter(|name| name.starts_with('.')).collect()
    }

    /// What the map holds.
    pub(super) fn content(&self, job: &Job) -> Result<Content, String> {
        let map = match store::open(&self.target) {
            Ok(map) => map,
            Err(StoreError::Missing { .. }) => return Ok(Content::Missing),
            Err(error) => return Err(format!("the map is no map: {error}")),
        };
        let content = digest(map.as_ref(), job.compared);
        let (entries, digest) = content.map_err(|e| format!("the map is damaged: {e}"))?;
        let octets = fs::read(&self.target).map_err(|e| e.to_string())?;
        let berkeley = store::sniff(&octets, octets.len() as u64) == store::Format::Berkeley;
        if let Some((kept, old)) = &self.kept {
            match fs::read(kept) {
                Ok(copy) if copy == *old => {}
                Ok(_) => return Err(format!("{} is not the old file", kept.display())),
                Err(_) if berkeley => {}
                Err(e) => return Err(format!("the new map is there, not the old file: {e}")),
            }
        }
        Ok(Content::Map(entries, digest, berkeley))
    }
}

const MC: &str =
    "OSTYPE(`linux')dnl\ndefine(`ALIAS_FILE', `/etc/mail/aliases')dnl\nMAILER(`local')dnl\n";
const ACCOUNTS: &str = "user,realm,password\nann,r,secret-of-ann\nbob,r,secret-of-bob\n";

impl Input {
    fn path(self, lab: &Path) -> PathBuf {
        match self {
            Input::None => PathBuf::from("/dev/null"),
            Input::Old => lab.join("old.txt"),
            Input::New => lab.join("new.txt"),
            Input::Password => lab.join("password.txt"),
        }
    }
}

fn digest(map: &dyn Map, compared: Compared) -> Result<(usize, u64), StoreError> {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut all = Vec::new();
    map.for_each(&mut |lhs, rhs| {
        let rhs = match compared {
            Entries => rhs.to_vec(),
            Lhs => Vec::new(),
        };
        all.push((lhs.to_vec(), rhs));
        Ok(())
    })?;
    all.sort();
    let mut hasher = DefaultHasher::new();
    all.hash(&mut hasher);
    Ok((all.len(), hasher.finish()))
}

fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &to)?,
            false => fs::copy(entry.path(), &to).map(drop)?,
        }
    }
    Ok(())
}
