//! The attributes of an LDAP map, as sendmail's flag `-v` lists them (op.me, "MAP DEFINITIONS").
//!
//! `NAME`, or `NAME:TYPE`, or `NAME:TYPE:OBJECTCLASS|OBJECTCLASS`, with commas between them.

/// What the values of an attribute are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// `NORMAL`: values of the map.
    Value,
    /// `DN`: entries whose attributes count as well.
    Dn,
    /// `FILTER`: searches for such entries.
    Filter,
    /// `URL`: searches for such entries, with attributes of their own.
    Url,
}

/// An attribute that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attribute {
    /// Its name.
    pub name: String,
    /// What its values are.
    pub role: Role,
    /// It counts in entries of one of these object classes; none: in all.
    pub of_classes: Vec<String>,
}

/// The attributes of a map.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes(Vec<Attribute>);

/// Most attributes of a map, as in sendmail.
const MAX_ATTRIBUTES: usize = 64;

impl Attributes {
    /// Reads a list.
    ///
    /// # Errors
    /// What was expected, for people.
    pub fn parse(list: &str) -> Result<Self, String> {
        let mut all = Vec::new();
        for item in list.split(',') {
            let mut parts = item.trim().split(':');
            let name = parts.next().unwrap_or_default();
            let role = match parts.next().map(str::to_ascii_uppercase).as_deref() {
                None | Some("NORMAL") => Role::Value,
                Some("DN") => Role::Dn,
                Some("FILTER") => Role::Filter,
                Some("URL") => Role::Url,
                // It is asked for where it is needed.
                Some("OBJECTCLASS") => continue,
                Some(other) => {
                    let expected = "expected NORMAL, DN, FILTER, URL or OBJECTCLASS";
                    return Err(format!("{item}: {expected}, not {other}"));
                }
            };
            let of_classes: Vec<String> = match parts.next() {
                Some(classes) => classes.split('|').map(str::to_owned).collect(),
                None => Vec::new(),
            };
            let good = is_name(name) && of_classes.iter().all(|class| is_name(class));
            if !good || parts.next().is_some() {
                return Err(format!("{item}: expected NAME:TYPE:OBJECTCLASS"));
            }
            all.push(Attribute {
                name: name.to_owned(),
                role,
                of_classes,
            });
        }
        let gives = |attribute: &Attribute| matches!(attribute.role, Role::Value | Role::Url);
        if !all.iter().any(gives) {
            return Err("no attribute in it is of type NORMAL or URL".into());
        }
        match all.len() <= MAX_ATTRIBUTES {
            true => Ok(Attributes(all)),
            false => Err(format!("more than {MAX_ATTRIBUTES} attributes")),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Attribute> {
        self.0.iter()
    }

    /// The attribute of this name, in whatever case.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&Attribute> {
        self.0.iter().find(|a| a.name.eq_ignore_ascii_case(name))
    }

    /// The names of those that are values.
    #[must_use]
    pub fn of_values(&self) -> String {
        let values = self.0.iter().filter(|a| a.role == Role::Value);
        let names: Vec<&str> = values.map(|a| a.name.as_str()).collect();
        names.join(" or ")
    }
}

fn is_name(text: &str) -> bool {
    let good = |c: u8| c.is_ascii_alphanumeric() || b"-.;_".contains(&c);
    !text.is_empty() && text.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sendmails_own_list_reads() {
        let list = "sendmailMTAMapValue,sendmailMTAMapSearch:FILTER:sendmailMTAMapObject,\
                    sendmailMTAMapURL:url:a|b, memberDn:DN,objectClass:OBJECTCLASS";
        let all = Attributes::parse(list).unwrap();
        let roles: Vec<Role> = all.iter().map(|a| a.role).collect();
        assert_eq!(roles, [Role::Value, Role::Filter, Role::Url, Role::Dn]);
        let url = all.named("SENDMAILmtamapurl").unwrap();
        assert_eq!(url.of_classes, ["a", "b"]);
        assert_eq!(all.of_values(), "sendmailMTAMapValue");
        assert!(all.named("objectClass").is_none());
    }

    #[test]
    fn what_is_none_is_told() {
        for (list, why) in [
            ("", ": expected NAME:TYPE:OBJECTCLASS"),
            ("a,,b", ": expected NAME"),
            (
                "a:b",
                "a:b: expected NORMAL, DN, FILTER, URL or OBJECTCLASS, not B",
            ),
            ("a:DN:x:y", "a:DN:x:y: expected NAME"),
            ("a(b", "a(b: expected NAME"),
            (
                "a:DN,b:FILTER",
                "no attribute in it is of type NORMAL or URL",
            ),
        ] {
            let found = Attributes::parse(list).unwrap_err();
            assert!(found.contains(why), "{list}: {found}");
        }
        assert!(Attributes::parse(&vec!["a"; 65].join(",")).is_err());
    }
}
