//! The users of a passwd file, by name and by full name.

use std::collections::HashMap;

use super::User;

/// Longest full name that counts, as in sendmail.
const NAME_OCTETS: usize = 256;

/// The users of a passwd file.
#[derive(Debug, Default)]
pub struct Listing {
    users: HashMap<String, User>,
    /// The login name of whoever has a full name first, which stands here in small letters.
    full_names: HashMap<String, String>,
}

impl Listing {
    /// Reads the text of a passwd file; of a name that stands there twice the first line counts.
    pub(super) fn read(text: &[u8]) -> Self {
        let mut listing = Listing::default();
        for line in String::from_utf8_lossy(text).lines() {
            let Some(user) = user(line) else { continue };
            let full_name = user.full_name();
            // sendmail leaves out full names of one word (its recipient.c, finduser).
            if full_name.contains(' ') {
                listing
                    .full_names
                    .entry(full_name.to_ascii_lowercase())
                    .or_insert_with(|| user.name.clone());
            }
            listing.users.entry(user.name.clone()).or_insert(user);
        }
        listing
    }

    pub(super) fn get(&self, name: &str) -> Option<&User> {
        self.users.get(name)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &User> {
        self.users.values()
    }

    /// The login name of the first user of this full name, in letters of whatever case.
    pub(super) fn by_full_name(&self, name: &str) -> Option<&str> {
        let found = self.full_names.get(&name.to_ascii_lowercase());
        found.map(String::as_str)
    }
}

impl User {
    /// The full name: what GECOS holds up to the first of `,;%`, where `&` is the login name with a capital.
    #[must_use]
    pub fn full_name(&self) -> String {
        let gecos = self.gecos.strip_prefix('*').unwrap_or(&self.gecos);
        let name = gecos.split([',', ';', '%']).next().unwrap_or_default();
        let mut chars = self.name.chars();
        let first = chars.next().map(|c| c.to_ascii_uppercase());
        let login: String = first.into_iter().chain(chars).collect();
        let name = name.replace('&', &login);
        match name.len() <= NAME_OCTETS {
            true => name,
            false => self.name.clone(),
        }
    }
}

fn user(line: &str) -> Option<User> {
    let mut fields = line.split(':');
    let name = fields
        .next()
        .filter(|name| !name.is_empty() && !name.starts_with(['#', '+', '-']))?;
    fields.next()?;
    Some(User {
        name: name.to_owned(),
        uid: fields.next()?.parse().ok()?,
        gid: fields.next()?.parse().ok()?,
        gecos: fields.next()?.to_owned(),
        home: fields.next()?.into(),
        shell: fields.next().unwrap_or_default().trim_end().into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_found_by_full_names() {
        let listing = Listing::read(
            b"joe:x:1:1:Joe Public,Room 3:/:/bin/sh\nbob:x:2:2:& Builder;x:/:/bin/sh\none:x:3:3:Single:/:/bin/sh\n\
              jim:x:4:4:joe public:/:/bin/sh\nstar:x:5:5:*Star Gazer%x:/:/bin/sh\n",
        );
        for (name, want) in [
            ("joe public", Some("joe")),
            ("JOE Public", Some("joe")),
            ("bob builder", Some("bob")),
            ("star gazer", Some("star")),
            ("single", None),
            ("joe", None),
            ("room 3", None),
            ("", None),
        ] {
            assert_eq!(listing.by_full_name(name), want, "{name}");
        }
        let long = format!("x:x:1:1:{}:/:/bin/sh\n", "&".repeat(100_000));
        assert_eq!(Listing::read(long.as_bytes()).full_names.len(), 0);
    }
}
