//! The options of a site, by the names of `sendmail.cf`, grouped by what they bear on.
//!
//! Each group is one table: field, option name, the `conf` macro that sets it
//! in a `.mc` file, and the value sendmail has when nothing is said (from its
//! conf.c; what `sendmail.mc` says on top of that comes from the `.mc` reader).
//! The tables make the structs, the reading, the printing and the man page's list.

pub mod delivery;
pub mod limits;
pub mod names;
pub mod privacy;
pub mod security;
mod terms;
pub mod timeouts;
pub mod values;

use std::collections::BTreeMap;

use crate::site::diagnostic::Place;

pub use delivery::{Delivery, Queue};
pub use limits::Limits;
pub use names::{Addresses, Files, Greeting};
pub use privacy::{Privacy, PrivacyFlag};
pub use security::{Auth, Filters, Tls};
pub use timeouts::Timeouts;
pub use values::{
    Days, FilterNames, Hours, Letters, Limit, Load, Minutes, Mode, OptionValue, Seconds,
    ShortestTime, Words,
};

/// All options of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// How long each step may take.
    pub timeouts: Timeouts,
    /// How much of anything is allowed.
    pub limits: Limits,
    /// SMTP AUTH.
    pub auth: Auth,
    /// STARTTLS.
    pub tls: Tls,
    /// Mail filters.
    pub filters: Filters,
    /// What a client is told, and what it may ask.
    pub greeting: Greeting,
    /// The queue.
    pub queue: Queue,
    /// Delivery.
    pub delivery: Delivery,
    /// How addresses are read and written.
    pub addresses: Addresses,
    /// Where files are, and who may own them.
    pub files: Files,
    /// Options that the site sets, with the place of the last word on each; the others have sendmail's default.
    pub given: BTreeMap<&'static str, Place>,
}

/// One option as `mapctl site` prints it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionView {
    /// The option's name in `sendmail.cf`.
    pub name: &'static str,
    /// The macro that sets it in a `.mc` file.
    pub conf: &'static str,
    /// Type and unit.
    pub kind: &'static str,
    /// The value in force, in sendmail's spelling.
    pub value: String,
    /// The value when nothing is said.
    pub default: &'static str,
}

/// Why an option could not be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OptionError {
    /// No table knows the name.
    Unknown,
    /// The value does not read; the text says what was expected.
    Value(&'static str),
}

/// Options of which each line says more, and none takes back what one before it said, as sendmail's readcf.c has them.
const ADDING: &[&str] = &[
    "AliasFile",
    "AuthOptions",
    "ClientSSLOptions",
    "DontBlameSendmail",
    "PrivacyOptions",
    "ServerSSLOptions",
    "TLSSrvOptions",
];

/// Declares a group of options: a struct with a field per option and the functions that go over them.
macro_rules! option_group {
    (
        $(#[$meta:meta])*
        $group:ident {
            $( $(#[$doc:meta])* $field:ident: $kind:ty = $name:literal, $conf:literal, $default:literal; )*
        }
    ) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub struct $group {
            $( $(#[$doc])* pub $field: $kind, )*
        }

        impl Default for $group {
            fn default() -> Self {
                use $crate::site::model::options::OptionValue;
                $group {
                    $( $field: <$kind as OptionValue>::read($default).unwrap_or_default(), )*
                }
            }
        }

        impl $group {
            /// Names of the options and of the macros that set them.
            pub const NAMES: &'static [(&'static str, &'static str)] = &[ $( ($name, $conf), )* ];

            /// Sets the option called `name`, or adds to it; case does not count.
            pub fn set(
                &mut self,
                name: &str,
                value: &str,
            ) -> Result<&'static str, $crate::site::model::options::OptionError> {
                use $crate::site::model::options::{OptionError, OptionValue};
                $( if name.eq_ignore_ascii_case($name) {
                    let read = <$kind as OptionValue>::read(value).map_err(OptionError::Value)?;
                    match $crate::site::model::options::Options::adds_up($name) {
                        true => self.$field.join(read),
                        false => self.$field = read,
                    }
                    return Ok($name);
                } )*
                Err(OptionError::Unknown)
            }

            /// Every option of the group with its value.
            pub fn views(&self, out: &mut Vec<$crate::site::model::options::OptionView>) {
                use $crate::site::model::options::{OptionValue, OptionView};
                $( out.push(OptionView {
                    name: $name,
                    conf: $conf,
                    kind: <$kind as OptionValue>::KIND,
                    value: self.$field.write(),
                    default: $default,
                }); )*
            }
        }
    };
}
pub(crate) use option_group;

/// Calls a function of each group in turn.
macro_rules! each_group {
    ($options:expr, $group:ident => $do:expr) => {{
        {
            let $group = &$options.timeouts;
            $do;
        }
        {
            let $group = &$options.limits;
            $do;
        }
        {
            let $group = &$options.greeting;
            $do;
        }
        {
            let $group = &$options.auth;
            $do;
        }
        {
            let $group = &$options.tls;
            $do;
        }
        {
            let $group = &$options.filters;
            $do;
        }
        {
            let $group = &$options.queue;
            $do;
        }
        {
            let $group = &$options.delivery;
            $do;
        }
        {
            let $group = &$options.addresses;
            $do;
        }
        {
            let $group = &$options.files;
            $do;
        }
    }};
}

impl Options {
    /// Whether lines of the option add up, instead of the last one counting.
    #[must_use]
    pub fn adds_up(name: &str) -> bool {
        ADDING
            .iter()
            .any(|adding| name.eq_ignore_ascii_case(adding))
    }

    /// Takes a line that gives the option called `name` in `sendmail.cf` (`Timeout.helo`) a value, as said at `place`.
    /// The last one counts, or all of them where [`Options::adds_up`].
    pub fn set(&mut self, name: &str, value: &str, place: &Place) -> Result<(), OptionError> {
        let name = self.assign(name, value)?;
        self.given.insert(name, place.clone());
        Ok(())
    }

    /// Gives the option a value; its name comes back.
    fn assign(&mut self, name: &str, value: &str) -> Result<&'static str, OptionError> {
        let groups: [&mut dyn FnMut() -> Result<&'static str, OptionError>; 10] = [
            &mut || self.timeouts.set(name, value),
            &mut || self.limits.set(name, value),
            &mut || self.greeting.set(name, value),
            &mut || self.auth.set(name, value),
            &mut || self.tls.set(name, value),
            &mut || self.filters.set(name, value),
            &mut || self.queue.set(name, value),
            &mut || self.delivery.set(name, value),
            &mut || self.addresses.set(name, value),
            &mut || self.files.set(name, value),
        ];
        for set in groups {
            match set() {
                Ok(name) => return Ok(name),
                Err(OptionError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
        Err(OptionError::Unknown)
    }

    /// Sets the value an option has when the site says nothing, as `sendmail.mc` defines it for every site.
    pub fn set_default(&mut self, name: &str, value: &str) -> Result<(), OptionError> {
        let name = self.assign(name, value)?;
        if !Options::adds_up(name) {
            self.given.remove(name);
        }
        Ok(())
    }

    /// Whether the site sets the option itself, and where.
    #[must_use]
    pub fn given(&self, name: &str) -> Option<&Place> {
        self.given.get(name)
    }

    /// Every option with its value, group by group.
    #[must_use]
    pub fn views(&self) -> Vec<OptionView> {
        let mut out = Vec::new();
        each_group!(self, group => group.views(&mut out));
        out
    }

    /// The name of the option that a `conf` macro sets.
    #[must_use]
    pub fn named_by(conf: &str) -> Option<&'static str> {
        conf_names().find(|(_, c)| *c == conf).map(|(name, _)| name)
    }
}

/// Option name and `conf` macro of every option known.
pub fn conf_names() -> impl Iterator<Item = (&'static str, &'static str)> {
    [
        Timeouts::NAMES,
        Limits::NAMES,
        Greeting::NAMES,
        Auth::NAMES,
        Tls::NAMES,
        Filters::NAMES,
        Queue::NAMES,
        Delivery::NAMES,
        Addresses::NAMES,
        Files::NAMES,
    ]
    .into_iter()
    .flatten()
    .copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_reads_and_comes_back_the_same() {
        let mut options = Options::default();
        let place = Place::new(std::path::Path::new("test.mc"), 1);
        for view in options.views() {
            let before = options.views();
            options
                .set(view.name, &view.value, &place)
                .unwrap_or_else(|e| panic!("{} = {:?}: {e:?}", view.name, view.value));
            assert_eq!(before, options.views(), "{}", view.name);
            // A default that did not read would have become the type's zero.
            options
                .set(view.name, view.default, &place)
                .unwrap_or_else(|e| panic!("{} = {:?}: {e:?}", view.name, view.default));
        }
    }

    #[test]
    fn lines_add_up_where_sendmail_adds_them() {
        let mut options = Options::default();
        let place = Place::new(std::path::Path::new("test.mc"), 3);
        for (name, first, second, both) in [
            (
                "PrivacyOptions",
                "noexpn,novrfy",
                "authwarnings",
                "noexpn,novrfy,authwarnings",
            ),
            ("AuthOptions", "p", "A p", "pA"),
            ("TLSSrvOptions", "V", "C", "VC"),
            (
                "AliasFile",
                "/etc/lists",
                "/etc/aliases",
                "/etc/lists,/etc/aliases",
            ),
            (
                "ServerSSLOptions",
                "+SSL_OP_A",
                "-SSL_OP_B",
                "+SSL_OP_A -SSL_OP_B",
            ),
            (
                "DontBlameSendmail",
                "AssumeSafeChown",
                "TrustStickyBit",
                "AssumeSafeChown TrustStickyBit",
            ),
            (
                "DontBlameSendmail",
                "safe",
                "ErrorHeaderInUnsafeDirPath",
                "ErrorHeaderInUnsafeDirPath",
            ),
            ("DontBlameSendmail", "AssumeSafeChown", "safe", "safe"),
            ("MaxHopCount", "7", "9", "9"),
        ] {
            options.set(name, first, &place).unwrap();
            options.set_default(name, second).unwrap();
            let views = options.views();
            let found = views.iter().find(|view| view.name == name).unwrap();
            assert_eq!(found.value, both, "{name}");
            assert_eq!(
                options.given(name).is_some(),
                Options::adds_up(name),
                "{name}"
            );
        }
        assert!(
            ADDING
                .iter()
                .all(|name| conf_names().any(|(known, _)| known == *name))
        );
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = conf_names().collect();
        let mut confs: Vec<_> = conf_names().map(|(_, conf)| conf).collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup_by_key(|(name, _)| *name);
        confs.sort_unstable();
        confs.dedup();
        assert_eq!((names.len(), confs.len()), (all, all));
    }

    #[test]
    fn names_are_found_in_any_case_and_values_are_judged() {
        let mut options = Options::default();
        let place = Place::new(std::path::Path::new("test.mc"), 7);
        assert_eq!(options.set("timeout.HELO", "90s", &place), Ok(()));
        assert_eq!(options.timeouts.helo.0.as_secs(), 90);
        assert_eq!(options.set("Timeout.helo", "7s", &place), Ok(()));
        assert_eq!(options.timeouts.helo.0.as_secs(), 7);
        assert_eq!(options.given("Timeout.helo"), Some(&place));
        assert_eq!(
            options.set("NoSuchOption", "1", &place),
            Err(OptionError::Unknown)
        );
        assert!(matches!(
            options.set("MaxMessageSize", "big", &place),
            Err(OptionError::Value(_))
        ));
    }
}
