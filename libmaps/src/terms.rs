//! What a side of TLS agrees to: versions, ciphers, and whose order of them counts.

use crate::ciphers::{self, Cipher};

/// The versions of TLS that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Versions {
    /// 1.2 and 1.3.
    #[default]
    Both,
    /// 1.2 alone.
    Tls12,
    /// 1.3 alone.
    Tls13,
    /// None: no handshake can succeed.
    Neither,
}

impl Versions {
    fn without(self, gone: Versions) -> Self {
        match (self, gone) {
            (Versions::Both, Versions::Tls12) => Versions::Tls13,
            (Versions::Both, Versions::Tls13) => Versions::Tls12,
            (have, gone) if have == gone => Versions::Neither,
            (have, _) => have,
        }
    }

    fn and(self, more: Versions) -> Self {
        match self {
            Versions::Neither => more,
            have if have == more => have,
            _ => Versions::Both,
        }
    }
}

/// Whose order of ciphers counts at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Order {
    /// The client's.
    #[default]
    Client,
    /// The server's.
    Server,
}

/// What a side of TLS agrees to.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Terms {
    /// The versions.
    pub versions: Versions,
    /// Whose order counts.
    pub order: Order,
    /// The ciphers of TLS 1.2, the preferred first; `None`: all.
    pub ciphers: Option<Vec<Cipher>>,
}

/// What is the matter with an `SSL_OP_` word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionError {
    /// OpenSSL has no such option, or it stands as a number.
    #[error("is no option that is known")]
    Unknown,
    /// It would allow what is never spoken.
    #[error("would allow a protocol older than TLS 1.2, which is never spoken")]
    Old,
}

/// Options that change nothing here: they allow what OpenSSL forbids by itself, forbid what is
/// never done (compression, renegotiation, early data, keys that are used twice), get around
/// faults of others, or are about datagrams.
const WITHOUT_EFFECT: &[&str] = &[
    "ALL",
    "ALLOW_NO_DHE_KEX",
    "ALLOW_UNSAFE_LEGACY_RENEGOTIATION",
    "CISCO_ANYCONNECT",
    "COOKIE_EXCHANGE",
    "CRYPTOPRO_TLSEXT_BUG",
    "DONT_INSERT_EMPTY_FRAGMENTS",
    "ENABLE_MIDDLEBOX_COMPAT",
    "EPHEMERAL_RSA",
    "LEGACY_SERVER_CONNECT",
    "MICROSOFT_BIG_SSLV3_BUFFER",
    "MICROSOFT_SESS_ID_BUG",
    "MSIE_SSLV2_RSA_PADDING",
    "NETSCAPE_CA_DN_BUG",
    "NETSCAPE_CHALLENGE_BUG",
    "NETSCAPE_DEMO_CIPHER_CHANGE_BUG",
    "NETSCAPE_REUSE_CIPHER_CHANGE_BUG",
    "NO_ANTI_REPLAY",
    "NO_COMPRESSION",
    "NO_ENCRYPT_THEN_MAC",
    "NO_QUERY_MTU",
    "NO_RENEGOTIATION",
    "NO_SESSION_RESUMPTION_ON_RENEGOTIATION",
    "NO_TICKET",
    "PKCS1_CHECK_1",
    "PKCS1_CHECK_2",
    "PRIORITIZE_CHACHA",
    "SAFARI_ECDHE_ECDSA_BUG",
    "SINGLE_DH_USE",
    "SINGLE_ECDH_USE",
    "SSLEAY_080_CLIENT_DH_BUG",
    "SSLREF2_REUSE_CERT_TYPE_BUG",
    "TLSEXT_PADDING",
    "TLS_BLOCK_PADDING_BUG",
    "TLS_D5_BUG",
    "TLS_ROLLBACK_BUG",
];

impl Terms {
    /// Takes a word of ServerSSLOptions and its like: `SSL_OP_NO_TLSv1_2`, `+SSL_OP_...` the
    /// same, `-SSL_OP_...` the contrary.
    ///
    /// # Errors
    /// When it is unknown or asks for what is not done; nothing changes then.
    pub fn set_option(&mut self, word: &str) -> Result<(), OptionError> {
        let (name, is_set) = match word.strip_prefix('-') {
            Some(name) => (name, false),
            None => (word.strip_prefix('+').unwrap_or(word), true),
        };
        let upper = name.to_ascii_uppercase();
        let name = upper.strip_prefix("SSL_OP_").ok_or(OptionError::Unknown)?;
        let version = match name {
            "NO_TLSV1_2" => Versions::Tls12,
            "NO_TLSV1_3" => Versions::Tls13,
            "CIPHER_SERVER_PREFERENCE" => {
                self.order = match is_set {
                    true => Order::Server,
                    false => Order::Client,
                };
                return Ok(());
            }
            "NO_SSLV2" | "NO_SSLV3" | "NO_TLSV1" | "NO_TLSV1_1" => {
                return match is_set {
                    true => Ok(()),
                    false => Err(OptionError::Old),
                };
            }
            name if WITHOUT_EFFECT.contains(&name) => return Ok(()),
            _ => return Err(OptionError::Unknown),
        };
        self.versions = match is_set {
            true => self.versions.without(version),
            false => self.versions.and(version),
        };
        Ok(())
    }

    /// Takes a cipher list.
    pub fn set_ciphers(&mut self, list: &str) {
        self.ciphers = Some(ciphers::of_list(list));
    }

    /// Whether TLS 1.2 can be spoken: a list may leave no cipher of it.
    #[must_use]
    pub fn has_tls12(&self) -> bool {
        let versions = matches!(self.versions, Versions::Both | Versions::Tls12);
        versions && self.ciphers.as_ref().is_none_or(|list| !list.is_empty())
    }

    /// Whether TLS 1.3 can be spoken.
    #[must_use]
    pub fn has_tls13(&self) -> bool {
        matches!(self.versions, Versions::Both | Versions::Tls13)
    }

    /// Whether any TLS can be spoken.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.has_tls12() || self.has_tls13()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_versions_add_up() {
        let versions = |words: &str| {
            let mut terms = Terms::default();
            for word in words.split(' ') {
                terms.set_option(word).unwrap();
            }
            terms.versions
        };
        for (words, wanted) in [
            (
                "SSL_OP_NO_SSLv2 +SSL_OP_NO_TLSv1_1 SSL_OP_ALL",
                Versions::Both,
            ),
            ("SSL_OP_NO_TLSv1_2", Versions::Tls13),
            ("+SSL_OP_NO_TLSv1_3", Versions::Tls12),
            ("SSL_OP_NO_TLSv1_3 SSL_OP_NO_TLSv1_2", Versions::Neither),
            ("SSL_OP_NO_TLSv1_3 -SSL_OP_NO_TLSv1_3", Versions::Both),
            ("SSL_OP_NO_TLSv1_3 SSL_OP_NO_TLSv1_3", Versions::Tls12),
            ("-SSL_OP_NO_TLSv1_2", Versions::Both),
        ] {
            assert_eq!(versions(words), wanted, "{words}");
        }
    }

    #[test]
    fn whose_order_of_ciphers_counts() {
        let mut terms = Terms::default();
        for (word, wanted) in [
            ("SSL_OP_CIPHER_SERVER_PREFERENCE", Order::Server),
            ("-SSL_OP_CIPHER_SERVER_PREFERENCE", Order::Client),
            ("+SSL_OP_CIPHER_SERVER_PREFERENCE", Order::Server),
        ] {
            terms.set_option(word).unwrap();
            assert_eq!(terms.order, wanted, "{word}");
        }
    }

    #[test]
    fn what_is_no_option_and_what_would_be_too_old() {
        let mut terms = Terms::default();
        for word in ["SSL_OP_FOO", "0x1000", "NO_TLSv1_2", ""] {
            assert_eq!(terms.set_option(word), Err(OptionError::Unknown), "{word}");
        }
        assert_eq!(terms.set_option("-SSL_OP_NO_TLSv1"), Err(OptionError::Old));
        assert_eq!(terms, Terms::default());
        terms.set_ciphers("RC4-SHA");
        assert!(!terms.has_tls12() && terms.has_tls13());
    }
}
