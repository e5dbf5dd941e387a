//! `:include:` lists that can't be read, or are not believed, or lead to nobody.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::Kind;
use super::aliases::local_member;
use super::recipients::Known;
use super::sources::{Sources, Table};
use crate::policy::expand::include::{Includes, SiteIncludes, is_transient, lines, words};
use crate::policy::expand::trust::{Trust, Waived};
use crate::policy::route::strip_include;
use crate::site::{Diagnostic, Place, Severity, Site};
use crate::source::aliases::{Aliases, Grammar};
use crate::table::aliases::{Separator, addresses};
use crate::tokens;

/// Where a list is named: the file, the line, and the alias or the list above.
struct Mention {
    place: Place,
    by: String,
    list: PathBuf,
}

/// Opens the lists that the alias files name, and those that they name.
pub(super) fn check(site: &Site, sources: &Sources, known: Option<&Known>) -> Vec<Diagnostic> {
    let tables = sources.files.iter();
    let mut left: Vec<Mention> = tables
        .filter(|table| table.kind == Kind::Aliases)
        .flat_map(mentions)
        .collect();
    left.reverse();
    let mut done = HashSet::new();
    let mut found = Vec::new();
    while let Some(mention) = left.pop() {
        // What is wrong with a list is told where it is named first.
        if !done.insert(mention.list.clone()) {
            continue;
        }
        let (trust, text) = match read(site, &mention.list) {
            Ok(read) => read,
            Err((severity, why)) => {
                let text = format!("{}: {}: {why}", mention.by, mention.list.display());
                found.push(Diagnostic::new(&mention.place, severity, text));
                continue;
            }
        };
        for (line, members) in lines(&text) {
            // As sources have it: below the root.
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let place = Place::new(site.below(&mention.list).as_path(), line);
            for member in addresses(members, Separator::Comma) {
                if let Some(list) = list_of(member) {
                    left.push(Mention {
                        place: place.clone(),
                        by: mention.list.display().to_string(),
                        list,
                    });
                } else if let Some(fault) = fault_of(member, trust, site, known) {
                    found.push(Diagnostic::new(&place, Severity::Error, fault));
                }
            }
        }
    }
    found
}

/// A list's text, and how far it is believed; or what becomes of mail for it.
fn read(site: &Site, list: &Path) -> Result<(Trust, Vec<u8>), (Severity, String)> {
    let returned = |why: &str| (Severity::Error, format!("{why}: mail for it is returned"));
    let include = match (SiteIncludes { site }.read(list, None)) {
        Ok(include) => include,
        Err(error) if is_transient(&error) => {
            let why = format!("{}: mail for it waits", words(&error));
            return Err((Severity::Error, why));
        }
        Err(error) => return Err(returned(&words(&error))),
    };
    let blame = &site.options.files.dont_blame;
    match Waived::for_include(blame).judge(&include.standing) {
        Ok(trust) => Ok((trust, include.text)),
        Err(why) => Err(returned(why)),
    }
}

/// What is wrong with a member of a list.
fn fault_of(member: &[u8], trust: Trust, site: &Site, known: Option<&Known>) -> Option<String> {
    let plain = tokens::strip_quotes(member);
    if trust == Trust::Addresses && matches!(plain.first(), Some(b'|' | b'/')) {
        let shown = String::from_utf8_lossy(member);
        return Some(format!(
            "{shown}: the list is unsafe for programs and files: others may write to it"
        ));
    }
    let name = local_member(site, member)?;
    let is_known = known?.has(&name);
    (!is_known).then(|| format!("{name} is neither an alias nor a user: mail for it is returned"))
}

/// The lists that the aliases of a file name.
fn mentions(table: &Table) -> Vec<Mention> {
    let mut found = Vec::new();
    let Some(path) = &table.text else {
        return found;
    };
    let Ok(file) = File::open(path) else {
        return found;
    };
    let grammar = Grammar::default();
    let mut parser = Aliases::new(file, &grammar);
    while let Ok(Some(parsed)) = parser.next() {
        let line = u32::try_from(parsed.line).unwrap_or(u32::MAX);
        let Some(alias) = parsed.alias else { continue };
        for list in addresses(alias.rhs, Separator::Comma).filter_map(list_of) {
            found.push(Mention {
                place: Place::new(path.as_path(), line),
                by: String::from_utf8_lossy(alias.lhs).into_owned(),
                list,
            });
        }
    }
    found
}

/// The path of a list.
fn list_of(member: &[u8]) -> Option<PathBuf> {
    let plain = tokens::strip_quotes(member);
    let path = strip_include(plain.trim_ascii())?.trim_ascii();
    Some(PathBuf::from(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use crate::lint;
    use crate::site::{Users, load};

    /// A site with these aliases and files below `etc/mail`, and what is said of it and of them.
    fn findings(aliases: &str, files: &[(&str, u32, &str)]) -> Vec<String> {
        let root = tempfile::tempdir().unwrap();
        let mail = root.path().join("etc/mail");
        fs::create_dir_all(&mail).unwrap();
        let mc = "define(`confDOMAIN_NAME', `mx.test.example')dnl\n\
                  define(`confDONT_BLAME_SENDMAIL', `GroupWritableIncludeFile')dnl\n\
                  MAILER(`local')dnl\n";
        fs::write(mail.join("sendmail.mc"), mc).unwrap();
        fs::write(mail.join("aliases"), aliases).unwrap();
        for (name, mode, text) in files {
            let path = mail.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let loaded = load(Some(root.path()), None).unwrap();
        assert!(!loaded.has_errors(), "{:#?}", loaded.diagnostics);
        let users = Users::parse(b"joe:x:1000:1000::/home/joe:/bin/sh\n");
        let prefix = format!("{}/etc/mail/", root.path().display());
        lint::site(&loaded, &users)
            .iter()
            .map(|finding| finding.to_string().replace(&prefix, ""))
            .filter(|line| line.starts_with("aliases:") || line.starts_with("list"))
            .filter(|line| !line.contains("newaliases"))
            .collect()
    }

    #[test]
    fn lists_are_opened_and_their_members_looked_for() {
        let aliases = "a: \":include:/etc/mail/list\", joe\nb: :include:/etc/mail/none\n\
                       c: :include:/etc/mail/list, :Include:/etc/mail/list-open\n\
                       d: :include:/etc/mail\n";
        let list = "# joes\njoe, a@far.example\nnobody-here\na, jim@mx.test.example\n\
                    :include:/etc/mail/list-group\n:include:/etc/mail/list\n";
        let found = findings(
            aliases,
            &[
                ("list", 0o644, list),
                ("list-open", 0o666, "joe\n"),
                ("list-group", 0o664, "joe\n|/bin/prog\n"),
            ],
        );
        let returned = "mail for it is returned";
        let nobody = format!("is neither an alias nor a user: {returned}");
        let want = [
            format!("list:3: error: nobody-here {nobody}"),
            format!("list:4: error: jim {nobody}"),
            "list-group:2: error: |/bin/prog: the list is unsafe for programs and files: others may write to it".to_owned(),
            format!("aliases:2: error: b: /etc/mail/none: No such file or directory: {returned}"),
            format!("aliases:3: error: c: /etc/mail/list-open: World writable file: {returned}"),
            format!("aliases:4: error: d: /etc/mail: Regular files only: {returned}"),
        ];
        assert_eq!(found, want);
    }

    #[test]
    fn lists_that_are_sound_are_not_mentioned() {
        let list = (
            "list",
            0o644,
            "joe\n\\joe\n/var/mail/archive\n|/bin/prog\nx@far.example\n",
        );
        let found = findings("a: :include:/etc/mail/list\n", &[list]);
        assert!(found.is_empty(), "{found:?}");
    }
}
