//! What is measured: our programs, and those of the peers that are there.

use std::env;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::measure::{Run, measure};

/// What the titles of our own programs begin with: they stand bold in the table.
const OURS: &str = "**";

/// Which jobs are compared with each other; the first of a group is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Group {
    /// Maps of access entries.
    Map,
    /// Constant databases of access entries.
    Cdb,
    /// Alias maps.
    Aliases,
}

/// Whose program a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// One of this workspace.
    Ours,
    /// One that is compared with it.
    APeers,
}

/// Which peers are asked for, and where they are if not in PATH.
#[derive(Clone, Debug)]
pub(crate) struct Peers {
    pub(crate) wanted: bool,
    pub(crate) postmap: Option<PathBuf>,
    pub(crate) postmap_plugins: Option<PathBuf>,
}

/// One command that builds something from the source.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) title: String,
    pub(crate) group: Group,
    pub(crate) whose: Whose,
    program: PathBuf,
    args: Vec<OsString>,
    environment: Vec<(&'static str, OsString)>,
    /// What standard input is.
    input: Option<PathBuf>,
    /// Where it runs; what it builds stands here.
    folder: PathBuf,
    /// Copied to the folder before each run: what postmap and newaliases read by name.
    source: Option<PathBuf>,
}

impl Job {
    fn new(folder: &Path, group: Group, title: &str, program: &Path, args: &[&str]) -> Self {
        Job {
            title: title.into(),
            group,
            whose: match title.starts_with(OURS) {
                true => Whose::Ours,
                false => Whose::APeers,
            },
            program: program.into(),
            args: args.iter().map(OsString::from).collect(),
            environment: Vec::new(),
            input: None,
            folder: folder.join("build"),
            source: None,
        }
    }

    fn reads(mut self, input: PathBuf) -> Self {
        self.input = Some(input);
        self
    }

    fn beside(mut self, source: PathBuf) -> Self {
        self.source = Some(source);
        self
    }

    /// Builds once, in an empty folder.
    ///
    /// # Errors
    /// The command fails, or built nothing.
    pub(crate) fn run(&self) -> io::Result<Run> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir(&self.folder)?;
        let source = self
            .source
            .as_ref()
            .map(|source| self.folder.join(source.file_name().unwrap_or_default()));
        if let (Some(from), Some(to)) = (&self.source, &source) {
            fs::copy(from, to)?;
        }
        let input = match &self.input {
            Some(input) => Stdio::from(File::open(input)?),
            None => Stdio::null(),
        };
        let mut command = Command::new(&self.program);
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(k, v)| (k, v)))
            .current_dir(&self.folder)
            .stdin(input)
            .stdout(Stdio::null());
        let mut run = measure(&mut command)?;
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            if Some(entry.path()) != source {
                run.disk_octets += entry.metadata()?.blocks() * 512;
            }
        }
        fs::remove_dir_all(&self.folder)?;
        if run.disk_octets == 0 {
            let text = format!("{}: built nothing", self.title);
            return Err(io::Error::other(text));
        }
        Ok(run)
    }
}

/// All jobs that can be run, ours first in each group, and a line for each that cannot.
pub(crate) fn all(
    folder: &Path,
    programs: &Path,
    peers: &Peers,
) -> io::Result<(Vec<Job>, Vec<String>)> {
    let mut jobs = Vec::new();
    let mut skipped = Vec::new();
    let (access, aliases) = (folder.join("access"), folder.join("aliases"));
    let cf = folder.join("aliases.cf");
    let build = folder.join("build");
    fs::write(
        &cf,
        // What sendmail itself asks for besides the file: its name, a queue, and that every
        // name is local. Without a qualified name in /etc/hosts it sleeps for a minute.
        format!(
            "V10/Berkeley\nDjmail.example.com\nO AliasFile={}\nO QueueDirectory={}\n\
             O DontBlameSendmail=TrustStickyBit\nSparse=0\nR$+\t$#local $: $1\n\
             Mlocal, P=/bin/true, F=lsDFMAw5:/|@qPn9, A=true\n\
             Mprog, P=/bin/sh, F=lsDFMoqeu9, A=sh -c $u\n",
            build.join("aliases").display(),
            folder.display()
        ),
    )?;
    let job = |group, title: &str, program: &Path, args: &[&str]| {
        Job::new(folder, group, title, program, args)
    };
    let cf_text = cf.to_string_lossy();
    let newaliases_args = ["-C", &*cf_text];

    let ours = |name: &str| Some(programs.join(name)).filter(|program| program.is_file());
    let Some(makemap) = ours("makemap") else {
        let text = format!("{}: no makemap there; build it first", programs.display());
        return Err(io::Error::other(text));
    };
    let title = |text: &str| format!("{OURS}{text}**");
    jobs.push(
        job(Group::Map, &title("makemap hash"), &makemap, &["hash", "m"]).reads(access.clone()),
    );
    jobs.push(
        job(Group::Cdb, &title("makemap cdb"), &makemap, &["cdb", "m"]).reads(access.clone()),
    );
    match ours("newaliases") {
        Some(program) => jobs.push(
            job(
                Group::Aliases,
                &title("newaliases"),
                &program,
                &newaliases_args,
            )
            .beside(aliases.clone()),
        ),
        None => skipped.push("newaliases of this workspace is not built".into()),
    }
    if !peers.wanted {
        return Ok((jobs, skipped));
    }

    match in_path("makemap").filter(|found| found != &makemap) {
        Some(program) => jobs.push(
            job(
                Group::Map,
                "sendmail's makemap hash",
                &program,
                &["hash", "m"],
            )
            .reads(access.clone()),
        ),
        None => skipped.push("sendmail's makemap is not in PATH".into()),
    }
    match peers.postmap.clone().or_else(|| in_path("postmap")) {
        Some(program) => {
            for (group, class) in [(Group::Map, "lmdb"), (Group::Cdb, "cdb")] {
                let mut postmap =
                    job(group, &format!("postmap {class}"), &program, &[]).beside(access.clone());
                if let Some(plugins) = &peers.postmap_plugins {
                    let config = own_configuration(folder, plugins)?;
                    postmap.args.extend(["-c".into(), config.into()]);
                    postmap
                        .environment
                        .push(("LD_LIBRARY_PATH", plugins.into()));
                }
                postmap.args.push(format!("{class}:access").into());
                jobs.push(postmap);
            }
        }
        None => skipped.push("postmap is not in PATH; POSTMAP can name it".into()),
    }
    match in_path("cdb") {
        Some(program) => jobs.push(
            job(
                Group::Cdb,
                "tinycdb's cdb -c -m",
                &program,
                &["-c", "-m", "m.cdb"],
            )
            .reads(access.clone()),
        ),
        None => skipped.push("tinycdb's cdb is not in PATH".into()),
    }
    match in_path("newaliases").filter(|found| Some(found) != ours("newaliases").as_ref()) {
        Some(program) => jobs.push(
            job(
                Group::Aliases,
                "sendmail's newaliases",
                &program,
                &newaliases_args,
            )
            .beside(aliases),
        ),
        None => skipped.push("sendmail's newaliases is not in PATH".into()),
    }
    jobs.sort_by_key(|job| job.group as u8);
    Ok((jobs, skipped))
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| program.is_file())
}

/// A configuration for a postmap(1) that is not installed as its package wants it.
fn own_configuration(folder: &Path, plugins: &Path) -> io::Result<PathBuf> {
    let config = folder.join("postfix");
    if config.exists() {
        return Ok(config);
    }
    fs::create_dir(&config)?;
    let at = |name: &str| plugins.join(name).display().to_string();
    fs::write(
        config.join("dynamicmaps.cf"),
        format!(
            "cdb\t{}\tdict_cdb_open\tmkmap_cdb_open\nlmdb\t{}\tdict_lmdb_open\tmkmap_lmdb_open\n",
            at("postfix-cdb.so"),
            at("postfix-lmdb.so")
        ),
    )?;
    fs::create_dir(config.join("dynamicmaps.cf.d"))?;
    // Two accounts that every system has, and that must differ.
    fs::write(
        config.join("main.cf"),
        format!(
            "compatibility_level = 3.6\nmail_owner = mail\nsetgid_group = games\n\
             default_privs = nobody\nlmdb_map_size = 17179869184\nqueue_directory = {}\n\
             shlib_directory = {}\nmeta_directory = {}\n",
            folder.display(),
            plugins.display(),
            config.display()
        ),
    )?;
    Ok(config)
}
