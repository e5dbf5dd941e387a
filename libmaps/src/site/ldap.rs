//! LDAP maps as `sendmail.mc` names them, made into connection files (mapremote(5)).
//!
//! sendmail asks the directory at each lookup, with the LHS put into a filter (op.me, "MAP
//! DEFINITIONS"; cf/README, "USING LDAP FOR ALIASES, MAPS, AND CLASSES"). A replica holds all
//! entries, so the filter must be one that finds them all when the LHS is any: one attribute is
//! the LHS, and that is demanded. What can't be made so is an error.

pub mod attributes;
mod filter;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use attributes::Attributes;
use filter::{enumerable, whole};

/// The word for sendmail's own schema.
pub const DEFAULT_SCHEMA: &str = "LDAP";

/// Deepest nesting of a filter that is read.
pub const MAX_DEPTH: u32 = 32;

/// The arguments of an LDAP map, by letter; one without a value has an empty one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments(BTreeMap<char, String>);

/// Letters whose value is the next word where it is not attached.
const WITH_VALUE: &str = "bcdHhKklMPprsvwZ";

impl Arguments {
    /// Reads `-k (...) -v attribute -h host`; words end at blanks that are not in double quotes.
    ///
    /// # Errors
    /// What was expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = words(text).into_iter();
        let mut found = BTreeMap::new();
        while let Some(word) = words.next() {
            let Some(letter) = word.strip_prefix('-').and_then(|w| w.chars().next()) else {
                return Err(format!("expected a flag such as -k: {word}"));
            };
            let attached = word.get(1 + letter.len_utf8()..).unwrap_or_default();
            let value = match attached.is_empty() && WITH_VALUE.contains(letter) {
                true => words.next().ok_or(format!("-{letter} has no value"))?,
                false => attached.to_owned(),
            };
            found.insert(letter, value);
        }
        Ok(Arguments(found))
    }

    /// These, and those of LDAPDefaultSpec that they do not have.
    #[must_use]
    pub fn over(mut self, default: &Arguments) -> Self {
        for (letter, value) in &default.0 {
            self.0.entry(*letter).or_insert_with(|| value.clone());
        }
        self
    }

    /// With the key of a class in the place of `%0` and `%s` in the filter.
    #[must_use]
    pub fn with_key(mut self, key: &str) -> Self {
        if let Some(filter) = self.0.get_mut(&'k') {
            *filter = filter::keyed(filter, &escaped(key));
        }
        self
    }

    /// As with `-o`.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.0.insert('o', String::new());
        self
    }

    fn get(&self, letter: char) -> Option<&str> {
        self.0.get(&letter).map(String::as_str)
    }

    /// The flags that bear on any map (`-o`, `-T<TMPF>`, ...), as they were written.
    #[must_use]
    pub fn of_any_map(&self) -> Vec<String> {
        let any = self
            .0
            .iter()
            .filter(|(letter, _)| "oTafmNO".contains(**letter));
        any.map(|(letter, value)| format!("-{letter}{value}"))
            .collect()
    }
}

/// A value as a filter has it (RFC 4515 section 3).
fn escaped(value: &str) -> String {
    let mut text = String::new();
    for c in value.chars() {
        match c {
            // The last, which RFC 4515 leaves alone, would be read as a key's place.
            '*' | '(' | ')' | '\\' | '\0' | '%' => {
                let _ = write!(text, "\\{:02x}", u32::from(c));
            }
            c => text.push(c),
        }
    }
    text
}

/// The words of a text, without the double quotes that hold blanks and commas.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted, mut is_word) =
        (Vec::new(), String::new(), false, false);
    for c in text.chars() {
        match c {
            '"' => {
                is_quoted = !is_quoted;
                is_word = true;
            }
            c if c.is_whitespace() && !is_quoted => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            c => {
                word.push(c);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

/// What an LDAP map is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose<'a> {
    /// A FEATURE's map, of this name in sendmail's schema.
    Map(&'a str),
    /// Aliases.
    Aliases,
    /// The words of a class of this name.
    Class(&'a str),
}

/// Who asks: what sendmail's schema says entries are for.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// `$j`.
    pub host: &'a str,
    /// `${sendmailMTACluster}`; empty for none.
    pub cluster: &'a str,
}

/// A connection file, and what is lost in it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// The lines of the file.
    pub text: String,
    /// What the map does otherwise than sendmail's.
    pub warnings: Vec<String>,
}

/// The connection file of a map.
///
/// # Errors
/// What in the arguments can't be had, for people.
pub fn connection_text(
    arguments: &Arguments,
    purpose: Purpose<'_>,
    asker: Asker<'_>,
) -> Result<Made, String> {
    let mut made = Made::default();
    let mut line = |word: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(made.text, "{word} {value}");
    };
    server(arguments, &mut line)?;
    let base = arguments.get('b').filter(|base| !base.is_empty());
    line(
        "base",
        base.ok_or("-b is missing, where the search begins")?,
    );
    match arguments.get('s').map(str::to_ascii_lowercase).as_deref() {
        None | Some("sub") => {}
        Some(scope) => return Err(format!("-s {scope}: the whole tree is searched, sub")),
    }
    if let Some(seconds) = arguments.get('l') {
        line("timeout", seconds);
    }
    line(
        "kind",
        match purpose {
            Purpose::Map(_) => "map",
            Purpose::Aliases => "aliases",
            Purpose::Class(_) => "class",
        },
    );
    match (arguments.get('k'), purpose) {
        (Some(filter), Purpose::Class(_)) => {
            line("filter", &whole(filter)?);
            line("value-attribute", value_attributes(arguments)?);
        }
        (Some(filter), _) => {
            let (key, filter) = enumerable(filter)?;
            line("filter", &filter);
            line("key-attribute", &key);
            line("value-attribute", value_attributes(arguments)?);
        }
        (None, _) => {
            line("host-name", asker.host);
            if !asker.cluster.is_empty() {
                line("cluster-name", asker.cluster);
            }
            line(
                "map",
                match purpose {
                    Purpose::Map(name) | Purpose::Class(name) => name,
                    Purpose::Aliases => "aliases",
                },
            );
        }
    }
    if let (Purpose::Class(_), Some(_)) = (purpose, arguments.get('o')) {
        line("empty", "yes");
    }
    for (letter, why) in [
        ('n', "-n: only names of attributes would be found"),
        ('V', "-V: one attribute is the value"),
    ] {
        if arguments.get(letter).is_some() {
            return Err(why.to_owned());
        }
    }
    let lost = [
        ('r', "-r: aliases of the directory are not followed"),
        ('K', "-K has no effect: there is one value for each key"),
        ('Z', "-Z has no effect: everything is fetched, or nothing"),
    ];
    let lost = lost
        .iter()
        .filter(|(letter, _)| arguments.get(*letter).is_some());
    made.warnings.extend(lost.map(|(_, why)| (*why).to_owned()));
    if let (Some(_), Purpose::Map(_)) = (arguments.get('z'), purpose) {
        let why = "-z has no effect: a key with several values is an error of the map";
        made.warnings.push(why.into());
    }
    Ok(made)
}

/// Host, port, privacy and login.
fn server(arguments: &Arguments, line: &mut impl FnMut(&str, &str)) -> Result<(), String> {
    let port = arguments.get('p').map(|port| format!(":{port}"));
    let (tls, hosts) = match (arguments.get('H'), arguments.get('h')) {
        (Some(uris), _) => of_uris(uris)?,
        (None, Some(hosts)) => {
            let with_port = |host: &str| match (&port, host.contains(':')) {
                (Some(port), false) => format!("{host}{port}"),
                _ => host.to_owned(),
            };
            let hosts = hosts.split([' ', ',']).filter(|host| !host.is_empty());
            ("off", hosts.map(with_port).collect())
        }
        (None, None) => return Err("-h and -H are missing: the directory's host".into()),
    };
    if hosts.is_empty() {
        return Err("-h names no host".into());
    }
    line("host", &hosts.join(" "));
    line("tls", tls);
    match arguments.get('M').map(str::to_ascii_lowercase).as_deref() {
        None | Some("none" | "ldap_auth_none" | "simple" | "ldap_auth_simple") => {}
        Some(method) => return Err(format!("-M {method}: a simple bind is all there is")),
    }
    if let Some(dn) = arguments.get('d') {
        line("user", dn);
    }
    if let Some(file) = arguments.get('P') {
        line("password-file", file);
    }
    Ok(())
}

/// `ldap://host:port`, `ldaps://host` or `ldapi://%2Fsocket`, one or several of a kind.
fn of_uris(text: &str) -> Result<(&'static str, Vec<String>), String> {
    let (mut kind, mut hosts) = (None, Vec::new());
    for uri in text.split([' ', ',']).filter(|uri| !uri.is_empty()) {
        let (scheme, rest) = uri.split_once("://").unwrap_or(("", uri));
        let host = rest.split('/').next().unwrap_or_default();
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "ldap" | "ldapi" => "off",
            "ldaps" => "verify",
            _ => return Err(format!("-H {uri}: expected ldap, ldaps or ldapi")),
        };
        if kind.is_some_and(|kind| kind != tls) {
            return Err(format!("-H {text}: all with TLS, or none"));
        }
        kind = Some(tls);
        hosts.push(host.replace("%2F", "/").replace("%2f", "/"));
    }
    Ok((kind.unwrap_or("off"), hosts))
}

/// The attributes that give the values: one, or a list as sendmail has it.
fn value_attributes(arguments: &Arguments) -> Result<&str, String> {
    let Some(list) = arguments.get('v') else {
        return Err("-v is missing: the attribute that is the value".into());
    };
    match Attributes::parse(list) {
        Ok(_) => Ok(list),
        Err(why) => Err(format!("-v {list}: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: Asker<'_> = Asker {
        host: "mail1.example.org",
        cluster: "mail",
    };

    fn made(text: &str, purpose: Purpose<'_>) -> Result<String, String> {
        let arguments = Arguments::parse(text)?;
        Ok(connection_text(&arguments, purpose, HOST)?.text)
    }

    #[test]
    fn sendmails_schema_is_asked_for_host_and_cluster() {
        let default = Arguments::parse("-h \"ldap1 ldap2:1389\" -p 3890 -b dc=x,dc=org").unwrap();
        let own = Arguments::parse("-1 -T<TMPF> -b ou=maps,dc=x").unwrap();
        assert_eq!(own.of_any_map(), ["-T<TMPF>"]);
        let arguments = own.over(&default);
        let made = connection_text(&arguments, Purpose::Map("access"), HOST).unwrap();
        assert_eq!(made.warnings, [""; 0]);
        assert_eq!(
            made.text,
            "host ldap1:3890 ldap2:1389\ntls off\nbase ou=maps,dc=x\nkind map\n\
             host-name mail1.example.org\ncluster-name mail\nmap access\n"
        );
    }

    #[test]
    fn a_filter_of_the_sites_own_is_one_that_finds_all() {
        assert_eq!(
            made(
                "-H ldaps://ldap1 -d cn=reader,dc=x -M simple -P /etc/mail/secret -b dc=x \
                 -k \"(&(objectClass=mail User)(|(a=b)(!(c=d)))(mail=%0))\" -v maildrop -l 30",
                Purpose::Aliases
            )
            .unwrap(),
            "host ldap1\ntls verify\nuser cn=reader,dc=x\npassword-file /etc/mail/secret\nbase dc=x\n\
             timeout 30\nkind aliases\nfilter (&(objectClass=mail User)(|(a=b)(!(c=d)))(mail=*))\n\
             key-attribute mail\nvalue-attribute maildrop\n"
        );
        let socket = made(
            "-H ldapi://%2Frun%2Fldapi -b x -k uid=%s -v a",
            Purpose::Map("m"),
        );
        let socket = socket.unwrap();
        assert!(socket.starts_with("host /run/ldapi\ntls off\n"), "{socket}");
        assert!(
            socket.contains("filter (uid=*)\nkey-attribute uid\n"),
            "{socket}"
        );
    }

    #[test]
    fn a_class_has_a_filter_of_its_own_or_sendmails() {
        let base = "host h\ntls off\nbase x\nkind class\n";
        for (arguments, key, text) in [
            (
                "-h h -b x",
                "",
                "host-name mail1.example.org\ncluster-name mail\nmap R\n",
            ),
            (
                "-h h -b x -k (&(ou=%0)(host=*)) -v host",
                "a(b",
                "filter (&(ou=a\\28b)(host=*))\nvalue-attribute host\n",
            ),
        ] {
            let arguments = Arguments::parse(arguments).unwrap().with_key(key);
            let made = connection_text(&arguments, Purpose::Class("R"), HOST).unwrap();
            assert_eq!(made.text, format!("{base}{text}"));
            let made = connection_text(&arguments.optional(), Purpose::Class("R"), HOST);
            assert_eq!(made.unwrap().text, format!("{base}{text}empty yes\n"));
        }
        assert!(made("-h a -b x -k (a=b", Purpose::Class("R")).is_err());
        let why = made("-h a -b x -k (a=%s) -v a", Purpose::Class("R")).unwrap_err();
        assert!(why.contains("%0 is for maps"), "{why}");
        assert!(made("-h a -b x -k (a=b)", Purpose::Class("R")).is_err());
    }

    #[test]
    fn a_percent_sign_in_the_filter_of_a_class_is_one() {
        for (filter, key, read) in [
            ("(cn=50%)", "", "(cn=50%)"),
            ("(cn=50%)", "k", "(cn=50%)"),
            ("(&(cn=%1)(!(a=%x%)))", "", "(&(cn=%1)(!(a=%x%)))"),
            // As in sendmail's, two are one.
            ("(cn=50%%)", "", "(cn=50%)"),
            ("(cn=%%0)", "k", "(cn=%0)"),
            ("(cn=%0)", "k%s", "(cn=k\\25s)"),
            ("(cn=%%%s)", "k", "(cn=%k)"),
        ] {
            let arguments = Arguments::parse(&format!("-h h -b x -v cn -k {filter}"));
            let arguments = arguments.unwrap().with_key(key);
            let made = connection_text(&arguments, Purpose::Class("R"), HOST).unwrap();
            let line = format!("filter {read}\nvalue-attribute cn\n");
            assert!(made.text.ends_with(&line), "{filter}: {}", made.text);
        }
    }

    #[test]
    fn what_no_replica_can_hold_is_refused() {
        for (arguments, why) in [
            ("-b x", "-h and -H are missing"),
            ("-h", "-h has no value"),
            ("-h a", "-b is missing"),
            ("x -h a", "expected a flag such as -k: x"),
            ("-h a -b x -s one", "-s one: the whole tree"),
            ("-h a -b x -M KRBV4", "-M krbv4: a simple bind"),
            ("-H http://a -b x", "expected ldap, ldaps or ldapi"),
            ("-H \"ldap://a ldaps://b\" -b x", "all with TLS, or none"),
            ("-h a -b x -k (a=%0)", "-v is missing"),
            (
                "-h a -b x -k (a=%0) -v b,,c",
                "expected NAME:TYPE:OBJECTCLASS",
            ),
            ("-h a -b x -k (a=%0) -v b:DN", "-v b:DN: no attribute in it"),
            ("-h a -b x -k (a=b) -v v", "no (attribute=%0) in it"),
            (
                "-h a -b x -k (a=%0@x) -v v",
                "(a=%0@x): only (attribute=%0)",
            ),
            ("-h a -b x -k (a=%1) -v v", "(a=%1): only (attribute=%0)"),
            ("-h a -b x -k (a>=%0) -v v", "(a>=%0): only (attribute=%0)"),
            ("-h a -b x -k (%0=a) -v v", "only (attribute=%0)"),
            (
                "-h a -b x -k (|(a=%0)(b=%0)) -v v",
                "must not stand below | or !",
            ),
            (
                "-h a -b x -k (&(a=b)(!(a=%0))) -v v",
                "must not stand below | or !",
            ),
            ("-h a -b x -k (&(a=%0)(b=%0)) -v v", "%0 stands there twice"),
            ("-h a -b x -k (&(a=%0) -v v", "a parenthesis is open"),
            ("-h a -b x -k (a=%0)) -v v", "something stands behind"),
            ("-h a -b x -n", "-n: only names"),
        ] {
            let found = made(arguments, Purpose::Map("access")).unwrap_err();
            assert!(found.contains(why), "{arguments}: {found}");
        }
        let deep = format!("-h a -b x -v v -k {}", "(&".repeat(100_000));
        assert!(made(&deep, Purpose::Aliases).is_err());
    }
}
