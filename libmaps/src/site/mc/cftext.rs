//! Macros of `sendmail.cf` inside values: `$j`, `${name}`.

use super::Reader;

/// `$w` and `$m`, which `D` lines may change.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalNames {
    /// `$w`: the machine's name up to the first dot.
    pub(super) host: String,
    /// `$m`: what follows it; empty if it has none.
    pub(super) domain: String,
}

impl LocalNames {
    /// As they are before a configuration says anything. sendmail cuts `$w` at its `V` line, the first of all.
    pub(super) fn of(name: &str) -> Self {
        let (host, domain) = name.split_once('.').unwrap_or((name, ""));
        LocalNames {
            host: host.to_owned(),
            domain: domain.to_owned(),
        }
    }
}

impl Reader {
    /// Replaces the macros in a value that sendmail expands when it reads its configuration.
    pub(super) fn cf_text(&self, text: &str) -> String {
        let mut out = String::new();
        let mut rest = text;
        while let Some((plain, tail)) = rest.split_once('$') {
            out.push_str(plain);
            let tail = tail.strip_prefix('&').unwrap_or(tail);
            let (name, tail) = match tail.strip_prefix('{').and_then(|t| t.split_once('}')) {
                Some(pair) => pair,
                None => tail.split_at(tail.chars().next().map_or(0, char::len_utf8)),
            };
            out.push_str(self.cf_macro(name));
            rest = tail;
        }
        out.push_str(rest);
        out
    }

    fn cf_macro(&self, name: &str) -> &str {
        match name {
            "j" => &self.site.host_name,
            "m" => &self.local.domain,
            "w" => &self.local.host,
            "M" => self.site.masquerade.name.as_deref().unwrap_or_default(),
            "$" => "$",
            name => self.site.macros.get(name).map_or("", String::as_str),
        }
    }
}
