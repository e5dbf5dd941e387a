//! What to log in with at a server: `AuthInfo:` of the access map (or of
//! FEATURE(authinfo)), else the DefaultAuthInfo file.
//!
//! An entry is a list of `"U:authorization id"`, `"I:authentication id"`, `"P:password"`,
//! `"R:realm"` and `"M:mechanisms"`; with `=` for the colon the value is base64. The file
//! has the same five things on lines of their own, the last two of which may be missing.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libmaps::opening;
use libmaps::sasl::mechanism::Mechanism;
use libmaps::sasl::password::Password;
use libmaps::site::Site;

use super::client::{ClearText, Credentials, StartTls};

/// Largest file that is read.
const MAX_FILE_OCTETS: u64 = 64 * 1024;
/// What is tried where the site names no mechanisms.
const DEFAULT_MECHANISMS: [&str; 6] = [
    "SCRAM-SHA-256",
    "SCRAM-SHA-1",
    "DIGEST-MD5",
    "CRAM-MD5",
    "PLAIN",
    "LOGIN",
];

/// What is said about a login.
#[derive(Default)]
pub struct AuthInfo {
    authzid: Vec<u8>,
    authid: Vec<u8>,
    password: Vec<u8>,
    realm: Option<Vec<u8>>,
    mechanisms: Option<String>,
}

impl AuthInfo {
    /// Reads the RHS of an `AuthInfo:` entry.
    ///
    /// # Errors
    /// What is wrong with it, without its content.
    pub fn entry(rhs: &[u8]) -> Result<Self, &'static str> {
        let mut info = AuthInfo::default();
        for item in items(rhs) {
            let [kind, sign, text @ ..] = item else {
                return Err(
                    "AuthInfo: expected \"U:...\", \"I:...\", \"P:...\", \"R:...\" or \"M:...\"",
                );
            };
            let value = match sign {
                b':' => text.to_vec(),
                b'=' => STANDARD
                    .decode(text)
                    .map_err(|_| "AuthInfo: what follows = is not base64")?,
                _ => return Err("AuthInfo: expected : or = behind the letter"),
            };
            match kind.to_ascii_uppercase() {
                b'U' => info.authzid = value,
                b'I' => info.authid = value,
                b'P' => info.password = value,
                b'R' => info.realm = Some(value),
                b'M' => info.mechanisms = Some(String::from_utf8_lossy(&value).into_owned()),
                _ => return Err("AuthInfo: expected the letter U, I, P, R or M"),
            }
        }
        info.complete()
    }

    /// Reads the lines of a DefaultAuthInfo file.
    ///
    /// # Errors
    /// What is missing.
    pub fn file(text: &[u8]) -> Result<Self, &'static str> {
        let mut lines = text
            .split(|c| *c == b'\n')
            .map(|line| line.strip_suffix(b"\r").unwrap_or(line));
        let mut next = || lines.next().unwrap_or_default().to_vec();
        let (authzid, authid, password, realm) = (next(), next(), next(), next());
        let mechanisms = String::from_utf8_lossy(&next()).trim().to_owned();
        AuthInfo {
            authzid,
            authid,
            password,
            realm: Some(realm).filter(|r| !r.is_empty()),
            mechanisms: Some(mechanisms).filter(|m| !m.is_empty()),
        }
        .complete()
    }

    /// One name stands for the other where that is missing.
    fn complete(mut self) -> Result<Self, &'static str> {
        if self.authid.is_empty() {
            self.authid.clone_from(&self.authzid);
        }
        // sendmail proves and acts as the same user unless both are said.
        if self.authzid == self.authid {
            self.authzid.clear();
        }
        if self.authid.is_empty() {
            return Err("no user");
        }
        if self.password.is_empty() {
            return Err("no password");
        }
        Ok(self)
    }

    /// As the client wants it. `start_tls` is what the site says about TLS with this server.
    ///
    /// # Errors
    /// When the password can't be one.
    pub fn credentials(
        self,
        site: &Site,
        host: &str,
        start_tls: StartTls,
    ) -> Result<Credentials, &'static str> {
        let auth = &site.options.auth;
        let named = self.mechanisms.as_deref();
        let by_site = site.options.given("AuthMechanisms").is_some();
        let mechanisms: Vec<Mechanism> = match named {
            Some(list) => list
                .split([' ', ',', '\t'])
                .filter_map(|word| Mechanism::parse(word.as_bytes()))
                .collect(),
            None if by_site => auth
                .mechanisms
                .0
                .iter()
                .filter_map(|word| Mechanism::parse(word.as_bytes()))
                .collect(),
            None => DEFAULT_MECHANISMS
                .iter()
                .filter_map(|word| Mechanism::parse(word.as_bytes()))
                .collect(),
        };
        // A site that names PLAIN for a server and says itself that TLS is not to be used
        // with it has asked for it. That TLS is missing because somebody took it out is
        // no such word.
        let asked =
            named.is_some() && start_tls == StartTls::Never && !auth.options.0.contains('p');
        Ok(Credentials {
            authid: self.authid,
            authzid: self.authzid,
            password: Password::new(self.password).map_err(|_| "a password that can't be one")?,
            realm: self.realm,
            mechanisms,
            // What nobody has named goes to no impostor.
            clear_text: match (asked, named) {
                (true, _) => ClearText::Allowed,
                (false, Some(_)) => ClearText::Secured,
                (false, None) if by_site => ClearText::Secured,
                (false, None) => ClearText::Verified,
            },
            host: host.to_owned(),
        })
    }
}

/// The quoted items of an entry; words without quotes count too.
fn items(rhs: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    let mut rest = rhs.trim_ascii_start();
    while !rest.is_empty() {
        let mut parts = match rest.strip_prefix(b"\"") {
            Some(inner) => inner.splitn(2, is_quote as fn(&u8) -> bool),
            None => rest.splitn(2, is_blank as fn(&u8) -> bool),
        };
        let item = parts.next().unwrap_or_default();
        if !item.is_empty() {
            all.push(item);
        }
        rest = parts.next().unwrap_or_default().trim_ascii_start();
    }
    all
}

fn is_quote(octet: &u8) -> bool {
    *octet == b'"'
}

fn is_blank(octet: &u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

/// The site's DefaultAuthInfo, if it names a file.
///
/// # Errors
/// When it can't be read, or could be read or written by others.
pub fn default_of(site: &Site) -> Result<Option<AuthInfo>, String> {
    let Some(path) = &site.options.auth.default_info else {
        return Ok(None);
    };
    let path = site.below(path);
    let group = site
        .options
        .files
        .dont_blame
        .0
        .iter()
        .any(|w| w.eq_ignore_ascii_case("GroupReadableDefaultAuthInfoFile"));
    let text = read_private(&path, if group { 0o037 } else { 0o077 })
        .map_err(|why| format!("DefaultAuthInfo {}: {why}", path.display()))?;
    AuthInfo::file(&text)
        .map(Some)
        .map_err(|why| format!("DefaultAuthInfo {}: {why}", path.display()))
}

/// A regular file of root's or our own that has none of the forbidden mode bits.
fn read_private(path: &Path, forbidden: u32) -> Result<Vec<u8>, String> {
    let file = opening::file_without_link(path).map_err(|e| e.to_string())?;
    let metadata = file.metadata().map_err(|e| e.to_string())?;
    if !metadata.is_file() {
        return Err("not a regular file".into());
    }
    if metadata.uid() != 0 && metadata.uid() != own_uid() {
        return Err("owned by somebody else".into());
    }
    if metadata.mode() & forbidden != 0 {
        return Err("others can read or write it; it is not used".into());
    }
    let mut text = Vec::new();
    file.take(MAX_FILE_OCTETS)
        .read_to_end(&mut text)
        .map_err(|e| e.to_string())?;
    Ok(text)
}

#[allow(unsafe_code)] // geteuid(2) has no safe form in std.
fn own_uid() -> u32 {
    // SAFETY: takes nothing, cannot fail.
    unsafe { libc::geteuid() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn told(info: AuthInfo) -> [String; 5] {
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        [
            text(info.authid),
            text(info.authzid),
            text(info.password),
            info.realm.map_or("-".into(), text),
            info.mechanisms.unwrap_or_else(|| "-".into()),
        ]
    }

    #[test]
    fn entries() {
        for (rhs, want) in [
            ("\"U:joe\" \"P:a b\"", ["joe", "", "a b", "-", "-"]),
            (
                "\"I:joe\" \"P=c2VjcmV0\" \"R:r\"",
                ["joe", "", "secret", "r", "-"],
            ),
            (
                "\"U:admin\" \"I:joe\" \"P:x\" \"M:PLAIN LOGIN\"",
                ["joe", "admin", "x", "-", "PLAIN LOGIN"],
            ),
            ("U:joe P:x", ["joe", "", "x", "-", "-"]),
            ("\"u:joe\" \"p:x:y=z\"", ["joe", "", "x:y=z", "-", "-"]),
        ] {
            assert_eq!(
                told(AuthInfo::entry(rhs.as_bytes()).unwrap()),
                want,
                "{rhs}"
            );
        }
        for rhs in [
            "",
            "\"U:joe\"",
            "\"P:x\"",
            "\"X:joe\"",
            "\"U\"",
            "\"U:j\" \"P=!\"",
            "\"Ujoe\"",
        ] {
            let error = AuthInfo::entry(rhs.as_bytes()).err().unwrap();
            assert!(!error.contains("joe"), "{error}");
        }
    }

    #[test]
    fn a_password_is_octets_of_any_alphabet() {
        let info = AuthInfo::entry(b"\"U:joe\" \"P:p\xe4ss\"").unwrap();
        assert_eq!(info.password, b"p\xe4ss");
    }

    #[test]
    fn files() {
        let file = AuthInfo::file(b"admin\njoe\nsecret\nmx\nDIGEST-MD5 CRAM-MD5\n").unwrap();
        assert_eq!(
            told(file),
            ["joe", "admin", "secret", "mx", "DIGEST-MD5 CRAM-MD5"]
        );
        let file = AuthInfo::file(b"joe\r\njoe\r\nsecret\r\n").unwrap();
        assert_eq!(told(file), ["joe", "", "secret", "-", "-"]);
        assert!(AuthInfo::file(b"joe\njoe\n").is_err());
    }

    #[test]
    fn a_file_that_others_can_read_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("default-auth-info");
        std::fs::write(&path, "joe\njoe\nsecret\n").unwrap();
        let mut site = Site {
            root: Some(folder.path().into()),
            ..Site::default()
        };
        site.options.auth.default_info = Some("/default-auth-info".into());
        let set = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        set(0o600);
        assert!(default_of(&site).unwrap().is_some());
        for mode in [0o640, 0o604, 0o620] {
            set(mode);
            let error = default_of(&site).err().unwrap();
            assert!(error.ends_with("it is not used"), "{error}");
        }
        site.options.files.dont_blame.0 = vec!["GroupReadableDefaultAuthInfoFile".into()];
        set(0o640);
        assert!(default_of(&site).unwrap().is_some());
        set(0o660);
        assert!(default_of(&site).is_err());
    }

    #[test]
    fn clear_text_only_where_the_site_says_so() {
        let clear = |rhs: &str, start_tls, options: &str| {
            let mut site = Site::default();
            site.options.auth.options.0 = options.into();
            let info = AuthInfo::entry(rhs.as_bytes()).unwrap();
            info.credentials(&site, "mx", start_tls).unwrap().clear_text
        };
        let named = "\"U:joe\" \"P:x\" \"M:PLAIN\"";
        assert_eq!(clear(named, StartTls::Never, "A"), ClearText::Allowed);
        assert_eq!(clear(named, StartTls::Never, "Ap"), ClearText::Secured);
        assert_eq!(
            clear(named, StartTls::WhereOffered, "A"),
            ClearText::Secured
        );
        let unnamed = "\"U:joe\" \"P:x\"";
        for start_tls in [StartTls::Never, StartTls::WhereOffered] {
            assert_eq!(clear(unnamed, start_tls, "A"), ClearText::Verified);
        }
    }
}
