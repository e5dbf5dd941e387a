//! Where addresses stand: lists in files, and what may name programs and files.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::{List, Run};
use crate::decision::LookupError;
use crate::map::{Map, StoreError};
use crate::policy::expand::include::{Owner, is_transient, lines, words};
use crate::policy::expand::trust::{Trust, Waived};
use crate::policy::expand::{Place, State};
use crate::policy::route::MailerTriple;
use crate::site::shells::Shells;
use crate::table::aliases::Separator;

impl<M: Map, A: Map> Run<'_, '_, M, A> {
    /// Takes the addresses of an `:include:` file.
    pub(super) fn include(
        &mut self,
        new: usize,
        triple: &MailerTriple,
        depth: i64,
    ) -> Result<(), LookupError> {
        if self
            .out
            .recipients
            .get(new)
            .is_none_or(|r| r.from.is_none())
        {
            let why = "Cannot mail directly to :include:s".to_owned();
            self.set(new, State::Refused(why));
            return Ok(());
        }
        let file = Path::new(OsStr::from_bytes(&triple.user));
        let path: Arc<str> = file.to_string_lossy().into();
        let above = self.out.recipients.get(new).and_then(|r| r.list_owner);
        let read = self.expander.includes.read(file, above);
        let include = match (read, above) {
            (Ok(include), None) => include,
            (Ok(include), Some(uid)) if include.is_open_to(uid) => include,
            (Err(error), _) if is_transient(&error) => {
                return Err(LookupError::Store(StoreError::io(file, "read", error)));
            }
            // Not even whether it is there.
            (_, Some(_)) => {
                let why = format!("Cannot open {path}: Not a file of the list's owner");
                self.set(new, State::Refused(why));
                return Ok(());
            }
            (Err(error), None) => {
                let why = format!("Cannot open {path}: {}", words(&error));
                self.set(new, State::Refused(why));
                return Ok(());
            }
        };
        let blame = &self.expander.addressing.site.options.files.dont_blame;
        let trust = match Waived::for_include(blame).judge(&include.standing) {
            Ok(trust) => trust,
            Err(why) => {
                self.set(new, State::Refused(format!("Cannot open {path}: {why}")));
                return Ok(());
            }
        };
        if let Owner::User(uid) = include.owner {
            let user = self.expander.users.by_uid(uid).map_err(|error| {
                LookupError::Store(StoreError::io("/etc/passwd".as_ref(), "read", error))
            })?;
            if above.is_none() {
                self.put_under(new, uid, user.as_ref());
            }
        }
        self.set(new, State::Included);
        self.note(new, |flags| {
            flags.leads_back = false;
            flags.unsafe_list |= trust == Trust::Addresses;
        });
        for (line, text) in lines(&include.text) {
            if self.full {
                break;
            }
            let list = List {
                text,
                from: Some(new),
                place: Some(Place {
                    path: Arc::clone(&path),
                    line,
                }),
                depth: depth + 1,
            };
            self.list(list, Separator::Comma)?;
        }
        Ok(())
    }

    /// Programs and files are for aliases, and for lists that strangers can't write and a
    /// user owns who has a shell.
    pub(super) fn check_source(&mut self, new: usize, what: &str) -> Result<(), LookupError> {
        let from = self.out.recipients.get(new).and_then(|r| r.from);
        let why = match from {
            None => format!("Cannot mail directly to {what}"),
            Some(from) if let Some(uid) = self.is_nobodys(from) => {
                format!("UID {uid} is an unknown user: cannot mail to {what}")
            }
            Some(from) if let Some(user) = self.without_shell(from)? => {
                let host = &self.expander.addressing.site.host_name;
                format!("User {user}@{host} doesn't have a valid shell for mailing to {what}")
            }
            Some(from) if self.flags(from).unsafe_list => {
                let list = self.out.recipients.get(from);
                let list = list.map(|r| String::from_utf8_lossy(&r.address).into_owned());
                let list = list.unwrap_or_default();
                format!("Address {list} is unsafe for mailing to {what}")
            }
            Some(_) => return Ok(()),
        };
        self.set(new, State::Refused(why));
        Ok(())
    }

    /// The owner's number, where it stands below a list whose owner is no user.
    fn is_nobodys(&self, at: usize) -> Option<u32> {
        let found = self.out.recipients.get(at);
        let found = found.filter(|r| r.controller.is_none())?;
        found.list_owner
    }

    /// The user as whom what stands below this list runs, if he has no valid shell. That an alias or
    /// a list of the site names it makes no difference: it is he who chose that.
    fn without_shell(&mut self, list: usize) -> Result<Option<String>, LookupError> {
        let below = self.out.recipients.get(list);
        let Some(name) = below.and_then(|r| r.controller.as_deref()) else {
            return Ok(None);
        };
        let unreadable =
            |path: &str, error| LookupError::Store(StoreError::io(path.as_ref(), "read", error));
        let users = self.expander.users;
        let user = users.get(name).map_err(|e| unreadable("/etc/passwd", e))?;
        let shells = match &mut self.shells {
            Some(shells) => shells,
            unread => {
                let shells = Shells::of(self.expander.addressing.site, users);
                unread.insert(shells.map_err(|e| unreadable("/etc/shells", e))?)
            }
        };
        let allowed = user.is_some_and(|user| shells.allow(&user));
        Ok((!allowed).then(|| name.to_owned()))
    }
}
