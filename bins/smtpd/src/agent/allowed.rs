//! What the agent may be asked for.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libmaps::policy::maps::open_aliases;
use libmaps::site::Site;
use libmaps::site::model::{Mailer, Means};
use libmaps::site::shells::Shells;
use libmaps::site::users::Users;

use super::{Name, Request};
use crate::deliver::arguments::{called, fits, name_of};
use crate::deliver::copy::{MAIL_FOLDER, group_of_mailboxes};
use crate::deliver::lmtp_program;
use crate::deliver::safe_folder;
use crate::own_program;
use crate::privilege::{Becoming, default_user_of, ids_of};
use crate::server::Confinement;
use crate::sound::{SoundSite, Unsound};

/// The rights that the agent has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Root's: it becomes whoever is concerned.
    Root,
    /// An ordinary user's: all is done as that user.
    Own,
}

/// Where mail is put by our own program.
enum Kept<'a> {
    /// The mailbox of this user.
    Mailbox(&'a str),
    /// DeadLetterDrop.
    DeadLetters,
}

/// A program that a mailer of the site names.
struct MailerProgram {
    mailer: Mailer,
    means: Means,
    /// U=; an error where there is no such user.
    run_as: Option<Result<(u32, u32), String>>,
}

/// What may be done: the site's mailers and our own file delivery may be run, and a user has
/// his own group. A server that was taken over must not get at more through the agent.
pub(super) struct Allowed {
    pub(super) rights: Rights,
    site: SoundSite,
    programs: Vec<MailerProgram>,
    users: Users,
    /// DefaultUser and RunAsUser.
    named: [Option<(u32, u32)>; 2],
    mail_folder: PathBuf,
}

impl Allowed {
    pub(super) fn read(root: Option<&Path>, file: Option<&Path>) -> Result<Self, String> {
        let (site, _) = SoundSite::read(root, file).map_err(|unsound| match unsound {
            Unsound::Faulty(findings) => findings.errors().to_string(),
            Unsound::Unread(error) => error.to_string(),
        })?;
        Allowed::of(site).map_err(|error| format!("/etc/passwd: {error}"))
    }

    fn of(site: SoundSite) -> io::Result<Self> {
        let program = |mailer: &Mailer| {
            let means = Means::of(&site, mailer);
            means.runs().then(|| MailerProgram {
                mailer: mailer.clone(),
                means,
                run_as: mailer.user.as_deref().map(|text| ids_of(&site, text)),
            })
        };
        Ok(Allowed {
            rights: match rustix::process::geteuid().is_root() {
                true => Rights::Root,
                false => Rights::Own,
            },
            programs: site.mailers.defined.iter().filter_map(program).collect(),
            users: Users::of(&site)?,
            named: [
                default_user_of(&site).ok(),
                ids_of(&site, site.options.files.run_as_user.trim()).ok(),
            ],
            mail_folder: site.below(Path::new(MAIL_FOLDER)),
            site,
        })
    }

    /// The configuration.
    pub(super) fn site(&self) -> &Site {
        &self.site
    }

    /// What is done as root after all: root's mailbox and DeadLetterDrop are written, and
    /// root's `.forward` is read.
    pub(super) fn roots_own(&self, request: &Request) -> bool {
        let is_root = |name: &str| {
            let user = self.users.get(name).ok().flatten();
            user.is_some_and(|user| user.uid == 0)
        };
        match request {
            Request::Run { .. } => match self.kept_in(request) {
                Some(Kept::Mailbox(name)) => is_root(name),
                Some(Kept::DeadLetters) => true,
                None => false,
            },
            Request::Forward { path, .. } => {
                let user = self.users.by_uid(0).ok().flatten();
                user.is_some_and(|user| path.path() == self.site.below(&user.home).join(".forward"))
            }
            _ => false,
        }
    }

    /// Whether this is to run something as the server's own user: who took the server over would
    /// have a process there that is not confined, and could write what that user may, perhaps
    /// the folder of the configuration. Where programs of aliases run as that user, nothing is gained
    /// by a refusal.
    pub(super) fn runs_as_server(&self, request: &Request, server: Option<u32>) -> bool {
        let Request::Run { uid, .. } = request else {
            return false;
        };
        let [default_user, _] = self.named;
        let is_shared = default_user.is_some_and(|(default_user, _)| default_user == *uid);
        self.rights == Rights::Root
            && Some(*uid) == server
            && !is_shared
            && !self.is_sites_word(request)
            && self.kept_in(request).is_none()
    }

    /// Whether this is to run a program as whom U= of its mailer says.
    fn is_sites_word(&self, request: &Request) -> bool {
        let Request::Run {
            path,
            args,
            uid,
            gid,
            ..
        } = request
        else {
            return false;
        };
        let ids = Some(Ok((*uid, *gid)));
        let mut programs = self.programs_of(path.path(), args);
        programs.any(|program| program.run_as == ids)
    }

    /// Whether this may be the command of an alias or of a user's list, by the mailer `prog`. Other
    /// mailers with its shell run what the site wrote.
    fn is_command(&self, request: &Request) -> bool {
        let Request::Run { path, args, .. } = request else {
            return false;
        };
        let mut programs = self.programs_of(path.path(), args);
        programs.any(|program| program.mailer.name.eq_ignore_ascii_case("prog"))
    }

    /// Whether this is a program or a file that a user's list names, while he has no valid
    /// shell. What aliases name runs as DefaultUser, who needs none, but below a user's list; nor
    /// does the user of a mailer's U=.
    ///
    /// # Errors
    /// Nobody can tell: the file that can't be read, and why.
    pub(super) fn lacks_shell(&self, request: &Request) -> io::Result<bool> {
        let Request::Run { uid, .. } = request else {
            return Ok(false);
        };
        let [default_user, _] = self.named;
        let is_named =
            self.is_command(request) || (self.is_file(request) && self.kept_in(request).is_none());
        let is_shared = default_user.is_some_and(|(default_user, _)| default_user == *uid);
        if !is_named || is_shared || self.is_sites_word(request) {
            return Ok(false);
        }
        let shells = Shells::of(&self.site, &self.users).map_err(|e| of_file("/etc/shells", &e))?;
        let users = self.users.all_of(*uid);
        let users = users.map_err(|e| of_file("/etc/passwd", &e))?;
        Ok(!users.iter().any(|user| shells.allow(user)))
    }

    /// Whether our own program is to write a file.
    fn is_file(&self, request: &Request) -> bool {
        let Request::Run { path, args, .. } = request else {
            return false;
        };
        let is_word = args
            .first()
            .is_some_and(|word| word.word() == "deliver-file");
        own_program::is(path.path()) && is_word
    }

    /// Whether a mailbox of this site, or the file for dead letters, is to be written.
    pub(super) fn is_kept_here(&self, request: &Request) -> bool {
        self.kept_in(request).is_some()
    }

    /// Where our own program is to put mail, if that is a mailbox or the file for dead letters.
    fn kept_in<'a>(&self, request: &'a Request) -> Option<Kept<'a>> {
        let Request::Run { path, args, .. } = request else {
            return None;
        };
        let [verb, how, lock, file] = args.as_slice() else {
            return None;
        };
        let [verb, how, lock] = [verb, how, lock].map(|word| word.word().to_str());
        let file = file.path();
        let dead_letters = self.site.options.delivery.dead_letter_drop.as_ref();
        match (verb?, how?, lock?) {
            _ if !own_program::is(path.path()) => None,
            ("deliver-file", "append", "dotlock") if file.parent() == Some(&self.mail_folder) => {
                Some(Kept::Mailbox(file.file_name()?.to_str()?))
            }
            ("deliver-file", "append", "fcntl") => {
                let is_there = dead_letters.is_some_and(|path| self.site.below(path) == file);
                is_there.then_some(Kept::DeadLetters)
            }
            _ => None,
        }
    }

    /// The user that the server becomes, where root starts it.
    pub(super) fn server(&self) -> Option<u32> {
        let becoming = Becoming::of(&self.site, Confinement::Confined);
        becoming.ok().flatten().map(|becoming| becoming.heir().uid)
    }

    /// Whether an alias names this file as a list.
    pub(super) fn is_listed(&self, path: &Path) -> Result<bool, String> {
        for file in self.site.alias_files() {
            // One behind a socket can't be looked through.
            if file.map.is_remote() {
                continue;
            }
            let map = open_aliases(&self.site, &file.map).map_err(|error| error.to_string())?;
            let Some(map) = map else { continue };
            for entry in map.map().iter() {
                let entry = entry.map_err(|error| error.to_string())?;
                if lists(&self.site, entry.rhs.as_bytes()).any(|list| list == path) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The user's own group.
    pub(super) fn group_of(&self, uid: u32) -> Option<u32> {
        let user = self.users.by_uid(uid).ok().flatten();
        user.map(|user| user.gid)
    }

    /// Whether this user may have this group for it: his own, DefaultUser's or RunAsUser's, U='s
    /// for the program of its mailer, and that of the mailboxes for a mailbox.
    pub(super) fn group(&self, request: &Request, ids: (u32, u32)) -> bool {
        let (uid, gid) = ids;
        self.group_of(uid) == Some(gid)
            || ids == (0, 0)
            || self.named.contains(&Some(ids))
            || self.is_sites_word(request)
            || (matches!(self.kept_in(request), Some(Kept::Mailbox(_)))
                && group_of_mailboxes(&self.mail_folder) == Some(gid))
    }

    /// Whether our own file delivery is to write elsewhere than below SafeFileEnvironment.
    pub(super) fn leaves_safe_folder(&self, request: &Request) -> bool {
        let Request::Run { args, .. } = request else {
            return false;
        };
        let Some(folder) = safe_folder::of_site(&self.site) else {
            return false;
        };
        let is_below = match args.as_slice() {
            [_, below, named, ..] => below.word() == "below" && named.path() == folder,
            _ => false,
        };
        self.is_file(request) && self.kept_in(request).is_none() && !is_below
    }

    /// Whether this is our own file delivery, or a mailer's program with such arguments as the mailer
    /// gives it, and as whom U= says where it is there.
    pub(super) fn program(&self, request: &Request) -> bool {
        let Request::Run {
            path,
            args,
            uid,
            gid,
            ..
        } = request
        else {
            return false;
        };
        let mut programs = self.programs_of(path.path(), args);
        self.is_file(request) || programs.any(|program| self.may_run(program, (*uid, *gid)))
    }

    /// What a mailer calls this program.
    pub(super) fn name_of(&self, path: &Path, args: &[Name], ids: (u32, u32)) -> Option<OsString> {
        let mut programs = self.programs_of(path, args);
        let found = programs.find(|program| self.may_run(program, ids))?;
        match found.means {
            Means::Program => name_of(&found.mailer).map(OsString::from),
            _ => None,
        }
    }

    fn may_run(&self, program: &MailerProgram, ids: (u32, u32)) -> bool {
        let is_free = self.rights == Rights::Own || program.run_as.is_none();
        is_free || program.run_as == Some(Ok(ids))
    }

    /// The programs of mailers that may be meant, which our own program speaks LMTP with or which
    /// are run by themselves.
    fn programs_of<'a>(
        &'a self,
        path: &Path,
        args: &[Name],
    ) -> impl Iterator<Item = &'a MailerProgram> + 'a {
        let (means, program, name, args) = match args {
            [word, _, _, _, name, program, args @ ..]
                if own_program::is(path) && word.word() == lmtp_program::WORD =>
            {
                let name = Some(name.word().to_os_string());
                (Means::LmtpProgram, program.path(), name, args)
            }
            // Its name is not asked for.
            args => (Means::Program, path, None, args),
        };
        let program = program.to_path_buf();
        let words = args.iter().map(|word| word.word().to_os_string());
        let words: Vec<OsString> = words.collect();
        self.programs.iter().filter(move |candidate| {
            let words = words.iter().map(OsString::as_os_str);
            candidate.means == means
                && Path::new(&candidate.mailer.path) == program
                && name
                    .as_ref()
                    .is_none_or(|name| name == called(&candidate.mailer))
                && fits(&candidate.mailer, words)
        })
    }
}

/// The error of a file, which names it.
fn of_file(path: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{path}: {error}"))
}

/// The files that an alias names as lists.
fn lists<'a>(site: &'a Site, rhs: &'a [u8]) -> impl Iterator<Item = PathBuf> + 'a {
    const MARK: &[u8] = b":include:";
    let marks = rhs.windows(MARK.len()).enumerate();
    let starts = marks.filter(|(_, word)| word.eq_ignore_ascii_case(MARK));
    starts.map(|(at, _)| {
        let rest = rhs
            .get(at + MARK.len()..)
            .unwrap_or_default()
            .trim_ascii_start();
        let ends = |c: &u8| matches!(c, b',' | b'"' | b'>' | 0) || c.is_ascii_whitespace();
        let end = rest.iter().position(ends).unwrap_or(rest.len());
        let name = rest.get(..end).unwrap_or_default();
        site.below(Path::new(std::ffi::OsStr::from_bytes(name)))
    })
}
