//! A copy that a mailer of the site hands over: by a program of its own, or to an LMTP server of
//! this machine.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use libmaps::site::model::{Mailer, Means, Rewriting};
use libmaps::site::users::User;

use crate::clock::now_unix;
use crate::own_program;
use crate::privilege::ids_of;
use crate::queue::{Envelope, Octets, QueuedTarget};
use crate::relay::{self, Rewritten};
use crate::world::World;

use super::arguments::{Values, arguments, called, name_of};
use super::copy::{Job, run_as};
use super::headers::Header;
use super::lanes::ComeAgain;
use super::lmtp_program;
use super::outcome::Outcome;
use super::program::{Program, RunAs};
use super::senders::{self, Senders};
use super::shape::Shape;

/// The sender of a copy, and its header, as the mailer writes them.
#[derive(Clone, Debug)]
pub(super) struct Written {
    /// The envelope sender; empty for the null sender.
    pub(super) sender: String,
    /// The header, if it is not the message's own.
    pub(super) header: Option<Header>,
}

impl Written {
    /// By the rules of this mailer. In the header for users here, programs and files names of hosts
    /// are not looked up.
    ///
    /// # Errors
    /// The first when others of the sender's domain have been asked after for so long, the second
    /// where the message or a table can't be read.
    pub(super) async fn of(
        world: &Arc<World>,
        envelope: &Envelope,
        target: &QueuedTarget,
        senders: &Senders,
        patience: Duration,
    ) -> Result<Result<Self, Outcome>, ComeAgain> {
        let sender = target.owner.as_ref().unwrap_or(&envelope.sender);
        let mailer = world.site.mailers.get(&target.mailer);
        let Some(mailer) = mailer.filter(|mailer| has_own_rules(world, mailer)) else {
            let sender = senders.form(world, sender, patience).await?;
            let header = match mailer {
                Some(mailer) => senders.headers.of(world, envelope, mailer).await,
                None => Ok(None),
            };
            return Ok(header.map(|header| Written { sender, header }));
        };
        let snapshot = world.snapshot();
        let _place = senders::turn(&snapshot, sender, patience).await?;
        let written = relay::written(world, &snapshot, mailer, envelope, sender).await;
        Ok(
            written.map(|(Rewritten { sender, header }, body_at)| Written {
                sender: Octets(sender).shown(),
                header: Some((header.into(), body_at)),
            }),
        )
    }
}

fn has_own_rules(world: &World, mailer: &Mailer) -> bool {
    let mailers = &world.site.mailers;
    let is = |name: &str| mailer.name.eq_ignore_ascii_case(name);
    !is(&mailers.local) && !is("prog") && Means::of(&world.site, mailer).runs()
}

/// The job of a program.
pub(super) fn program_job(
    world: &World,
    envelope: &Envelope,
    target: &QueuedTarget,
    mailer: &Mailer,
    written: Written,
) -> Result<Job, Outcome> {
    let (run_as, home) = rights(world, target, mailer)?;
    // $g of the null sender, by the rules of local mailers.
    let shown = match (written.sender.as_str(), mailer.rewriting) {
        ("", Rewriting::Local) => world.site.error_name.as_str(),
        (sender, _) => sender,
    };
    let values = Values::of(&world.site, envelope, target, shown);
    let values = match mailer.name.as_str() {
        "prog" => {
            let command = target.user.0.as_slice();
            let command = command.strip_prefix(b"|").unwrap_or(command);
            values.with_user(command.trim_ascii())
        }
        _ => values,
    };
    let args = arguments(mailer, &values)?;
    let folder = folder(mailer, home.as_deref(), &values);
    if Means::of(&world.site, mailer) == Means::Program {
        let shape = Shape::of(mailer, &written.sender, now_unix());
        let program = Program {
            path: PathBuf::from(&mailer.path),
            name: name_of(mailer).map(OsString::from),
            args,
            folder,
            run_as: Some(run_as),
        };
        return Ok(Job::Run {
            program,
            shape: shape.with_header(written.header),
        });
    }
    let Ok(this) = own_program::path() else {
        return Err(Outcome::deferred("cannot find my own program file").with_status("4.3.0"));
    };
    let recipient = recipient(target);
    let mut words: Vec<OsString> = [lmtp_program::WORD, &world.site.host_name, &written.sender]
        .map(OsString::from)
        .to_vec();
    words.push(recipient.into());
    words.push(called(mailer).into());
    words.push(mailer.path.clone().into());
    words.extend(args);
    Ok(Job::Framed {
        program: Program {
            path: this,
            name: None,
            args: words,
            folder,
            run_as: Some(run_as),
        },
        shape: Shape::for_lmtp(mailer, &written.sender).with_header(written.header),
    })
}

/// As whom the program of a mailer runs, and where its user is at home: as U= says, else as its
/// user where he is one of the system's (`w`), else as whose list named it, else as DefaultUser.
fn rights(
    world: &World,
    target: &QueuedTarget,
    mailer: &Mailer,
) -> Result<(RunAs, Option<PathBuf>), Outcome> {
    // Of a copy by the local mailer it says that no `.forward` is obeyed, and names its own user.
    let is_local = target.mailer == world.site.mailers.local;
    let lister = target.controller.as_deref().filter(|_| !is_local);
    let user = match lister {
        _ if mailer.has('w') => Some(user_of(world, target)?),
        Some(name) => world.users.get(name).ok().flatten(),
        None => None,
    };
    let home = user.as_ref().map(|user| world.site.below(&user.home));
    let run_as = match (&mailer.user, user) {
        (Some(text), _) => match ids_of(&world.site, text) {
            Ok((uid, gid)) => RunAs { uid, gid },
            Err(why) => {
                let text = format!("mailer {}: U={text}: {why}", mailer.name);
                return Err(Outcome::deferred(text).with_status("4.3.5"));
            }
        },
        (None, Some(user)) if mailer.has('w') => RunAs {
            uid: user.uid,
            gid: user.gid,
        },
        (None, _) => run_as(world, lister)?,
    };
    Ok((run_as, home))
}

/// The user of a copy, who must be one of this system's.
pub(super) fn user_of(world: &World, target: &QueuedTarget) -> Result<User, Outcome> {
    match world.users.get(&target.user.shown()) {
        Ok(Some(user)) => Ok(user),
        Ok(None) => Err(Outcome::failed("5.1.1", "User unknown")),
        Err(error) => {
            let text = format!("/etc/passwd: {error}");
            Err(Outcome::deferred(text).with_status("4.3.0"))
        }
    }
}

/// D=: folders separated by colons, of which the first counts that lets the program in.
fn folder(mailer: &Mailer, home: Option<&Path>, values: &Values<'_>) -> Option<PathBuf> {
    let list = mailer.directory.as_deref()?;
    let folders: Vec<PathBuf> = list
        .split(':')
        .filter_map(|word| match (word.trim(), home) {
            ("$z" | "$&z", home) => home.map(Path::to_path_buf),
            (word, _) => Some(PathBuf::from(values.expanded(word))),
        })
        .filter(|folder| folder.is_absolute())
        .collect();
    let is_root = |folder: &PathBuf| folder == Path::new("/");
    if folders.iter().all(is_root) {
        // Where programs run anyway.
        return None;
    }
    let names: Vec<OsString> = folders.into_iter().map(OsString::from).collect();
    Some(names.join(std::ffi::OsStr::new(":")).into())
}

/// The job of a socket such as Dovecot's (`A=FILE path`).
pub(super) fn socket_job(
    world: &World,
    target: &QueuedTarget,
    mailer: &Mailer,
    path: &Path,
    written: Written,
) -> Result<Job, Outcome> {
    if mailer.has('w') {
        user_of(world, target)?;
    }
    Ok(Job::Lmtp {
        socket: world.site.below(path),
        shape: Shape::for_lmtp(mailer, &written.sender).with_header(written.header),
        sender: written.sender,
        recipient: recipient(target),
    })
}

/// A recipient as LMTP names him, with his detail.
fn recipient(target: &QueuedTarget) -> String {
    match target.host.shown().trim_start_matches('+') {
        "" => target.user.shown(),
        detail => format!("{}+{detail}", target.user.shown()),
    }
}
