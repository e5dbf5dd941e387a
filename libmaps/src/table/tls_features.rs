//! `TLS_Srv_Features:` and `TLS_Clt_Features:` entries: TLS with one peer (op.me, "tls_srv_features").
//!
//! An entry is a list of `key=value` with `;` between, perhaps in quotes as a whole:
//! `Options=SSL_OP_NO_TLSv1_2; CertFile=/etc/mail/other.pem; KeyFile=/etc/mail/other.key`.

use std::path::{Path, PathBuf};

use crate::terms::{OptionError, Terms};

/// What an entry asks for, on top of what the site does.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TlsFeatures {
    options: Vec<Box<str>>,
    cipher_list: Option<Box<str>>,
    own: Option<OwnCertificate>,
}

/// The certificate that the peer is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnCertificate {
    /// The file of the certificate, not yet below a root.
    pub cert: PathBuf,
    /// That of its private key.
    pub key: PathBuf,
}

/// Why an entry can't be done. There is no TLS with the peer then, as with sendmail: it would not
/// be as the entry wants it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsFeaturesError {
    /// No `key=value`.
    #[error("expected key=value, found {0}")]
    Syntax(Box<str>),
    /// A key that sendmail does not have either.
    #[error("{0} is none of Options, CipherList, CertFile, KeyFile, Flags")]
    Unknown(Box<str>),
    /// A key that nothing is done for.
    #[error("{0} is not done for single peers")]
    NotDone(&'static str),
    /// A certificate without a key, or a key without one.
    #[error("CertFile and KeyFile belong together")]
    OnlyOne,
    /// A word of `Options`.
    #[error("{0} {1}")]
    Option(Box<str>, OptionError),
}

impl TlsFeatures {
    /// Parses an entry. An empty one asks for nothing.
    ///
    /// # Errors
    /// When it can't be done.
    pub fn parse(rhs: &str) -> Result<Self, TlsFeaturesError> {
        let rhs = rhs.trim();
        let quoted = rhs.strip_prefix('"').and_then(|rhs| rhs.strip_suffix('"'));
        let mut features = TlsFeatures::default();
        let (mut cert, mut key_file) = (None, None);
        for part in quoted.unwrap_or(rhs).split(';').map(str::trim) {
            if part.is_empty() {
                continue;
            }
            let Some((key, value)) = part.split_once('=') else {
                return Err(TlsFeaturesError::Syntax(part.into()));
            };
            let (key, value) = (key.trim(), value.trim());
            match key.to_ascii_lowercase().as_str() {
                "certfile" => cert = Some(PathBuf::from(value)),
                "keyfile" => key_file = Some(PathBuf::from(value)),
                _ => features.take(key, value)?,
            }
        }
        features.own = match (cert, key_file) {
            (Some(cert), Some(key)) => Some(OwnCertificate { cert, key }),
            (None, None) => None,
            _ => return Err(TlsFeaturesError::OnlyOne),
        };
        Ok(features)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), TlsFeaturesError> {
        match key.to_ascii_lowercase().as_str() {
            "options" => {
                for word in value.split([' ', '\t', ',']).filter(|w| !w.is_empty()) {
                    let tried = Terms::default().set_option(word);
                    if let Err(OptionError::Unknown) = tried {
                        let word = word.into();
                        return Err(TlsFeaturesError::Option(word, OptionError::Unknown));
                    }
                    self.options.push(word.into());
                }
                Ok(())
            }
            "cipherlist" => {
                self.cipher_list = Some(value.into());
                Ok(())
            }
            "flags" => Err(TlsFeaturesError::NotDone("Flags")),
            _ => Err(TlsFeaturesError::Unknown(key.into())),
        }
    }

    /// What holds with the peer: the site's terms, and the entry on top.
    #[must_use]
    pub fn on(&self, site: &Terms) -> Terms {
        let mut terms = site.clone();
        for word in &self.options {
            // What would be older than anything that is spoken changes nothing.
            let _ = terms.set_option(word);
        }
        if let Some(list) = &self.cipher_list {
            terms.set_ciphers(list);
        }
        terms
    }

    /// The certificate that the peer is shown in place of the site's.
    #[must_use]
    pub fn own(&self) -> Option<&OwnCertificate> {
        self.own.as_ref()
    }

    /// The files that it names, not yet below a root.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let own = self.own.iter();
        own.flat_map(|own| [own.cert.as_path(), own.key.as_path()])
    }

    /// Words of `Options` that would allow what is never spoken.
    pub fn older(&self) -> impl Iterator<Item = &str> {
        let words = self.options.iter().map(|word| &**word);
        words.filter(|word| Terms::default().set_option(word) == Err(OptionError::Old))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terms::Versions;

    #[test]
    fn entries_that_sendmail_takes() {
        for (rhs, versions, ciphers) in [
            ("", Versions::Both, None),
            ("\"\"", Versions::Both, None),
            ("Options=SSL_OP_NO_TLSv1_3", Versions::Tls12, None),
            ("\"Options=SSL_OP_NO_TLSv1_3;\"", Versions::Tls12, None),
            (
                "options = +SSL_OP_NO_TLSv1_2, SSL_OP_ALL ; ",
                Versions::Tls13,
                None,
            ),
            (
                "\"CipherList=AES128; Options=SSL_OP_NO_TLSv1_3\"",
                Versions::Tls12,
                Some(2),
            ),
        ] {
            let terms = TlsFeatures::parse(rhs).unwrap().on(&Terms::default());
            assert_eq!(terms.versions, versions, "{rhs}");
            assert_eq!(terms.ciphers.map(|c| c.len()), ciphers, "{rhs}");
        }
    }

    #[test]
    fn entries_that_can_not_be_done() {
        for (rhs, why) in [
            ("nonsense", "expected key=value, found nonsense"),
            (
                "Foo=bar",
                "Foo is none of Options, CipherList, CertFile, KeyFile, Flags",
            ),
            (
                "Options=SSL_OP_FOO",
                "SSL_OP_FOO is no option that is known",
            ),
            (
                "CertFile=/a; Options=SSL_OP_ALL",
                "CertFile and KeyFile belong together",
            ),
            ("Flags=R", "Flags is not done for single peers"),
        ] {
            assert_eq!(TlsFeatures::parse(rhs).unwrap_err().to_string(), why);
        }
        let own = TlsFeatures::parse("KeyFile=/b;CertFile = /a").unwrap();
        assert!(own.files().eq(["/a", "/b"].map(Path::new)));
        let old = TlsFeatures::parse("Options=-SSL_OP_NO_TLSv1_1").unwrap();
        assert_eq!(old.older().collect::<Vec<_>>(), ["-SSL_OP_NO_TLSv1_1"]);
    }
}
