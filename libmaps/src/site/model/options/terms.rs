//! What the options of TLS come to.

use crate::terms::Terms;

use super::security::Tls;

impl Tls {
    /// What the server agrees to: ServerSSLOptions and CipherList.
    #[must_use]
    pub fn server_terms(&self) -> Terms {
        self.terms(&self.server_options.0)
    }

    /// What the client agrees to: ClientSSLOptions and CipherList.
    #[must_use]
    pub fn client_terms(&self) -> Terms {
        self.terms(&self.client_options.0)
    }

    /// Words that are unknown, or would be too old, change nothing; the check tells of them.
    fn terms(&self, options: &[String]) -> Terms {
        let mut terms = Terms::default();
        for word in options {
            let _ = terms.set_option(word);
        }
        if !self.cipher_list.trim().is_empty() {
            terms.set_ciphers(self.cipher_list.trim());
        }
        terms
    }
}
