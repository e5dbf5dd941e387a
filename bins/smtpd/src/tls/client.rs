//! The client's side of TLS: for the servers that mail is passed on to.
//!
//! Every certificate is taken, as sendmail does; what it is worth is found out after
//! the handshake and told to the rulesets: `verify=OK` where its chain leads to an
//! authority of the site, whatever name it holds, else `FAIL`. A `TLS_Srv:` entry with
//! `VERIFY` or `+CN` asks for more.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libmaps::opening::Seen;
use libmaps::policy::facts;
use libmaps::sasl::mechanism::ChannelBinding;
use libmaps::site::Site;
use libmaps::table::tls_features::TlsFeatures;
use libmaps::terms::Terms;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme,
};

use super::files::{Files, certificates};
use super::version_one;
use super::{TlsError, binding, names, terms};

/// TLS as the site configures it for its own connections: one configuration, replaced
/// when one of its files is.
pub struct ClientTls {
    files: Files,
    own: Own,
    terms: Terms,
    state: Mutex<State>,
}

struct State {
    /// The files as they were when `ready` was made, or could not be.
    seen: Vec<Option<Seen>>,
    /// Nothing: not even TLS without files can be set up.
    ready: Option<Arc<Ready>>,
}

struct Ready {
    config: Arc<ClientConfig>,
    /// The certificate that is shown.
    own: Option<Arc<SingleCertAndKey>>,
    verifier: Option<Arc<WebPkiServerVerifier>>,
}

impl ClientTls {
    /// The site's TLS, and what of it can't be used: without its certificate a client
    /// still speaks TLS, without authorities it verifies nobody.
    #[must_use]
    pub fn of(site: &Site) -> (Self, Option<String>) {
        let tls = &site.options.tls;
        let mut files = Files::of(site);
        let mut own = Own::None;
        if let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key) {
            files.cert = site.below(cert);
            files.key = site.below(key);
            own = Own::Shown;
        }
        let seen = files.seen();
        let terms = tls.client_terms();
        let (ready, warning) = match files.client(own, &terms) {
            Ok(ready) => (Some(ready), None),
            Err(first) => match files.client(Own::None, &terms) {
                Ok(ready) => (Some(ready), Some(first)),
                Err(second) => {
                    let mut alone = Files::of(site);
                    alone.ca_file = None;
                    alone.ca_path = None;
                    alone.crl = None;
                    alone.crl_path = None;
                    (alone.client(Own::None, &terms).ok(), Some(second))
                }
            },
        };
        let ready = ready.map(Arc::new);
        let state = Mutex::new(State { seen, ready });
        let warning = warning.map(|error| error.to_string());
        let tls = ClientTls {
            files,
            own,
            terms,
            state,
        };
        (tls, warning)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the files make of it now.
    fn ready(&self, complain: impl FnOnce(&str)) -> Option<Arc<Ready>> {
        let mut state = self.state();
        let seen = self.files.seen();
        if seen != state.seen {
            state.seen = seen;
            // Files that can't be used leave the old ones.
            match self.files.client(self.own, &self.terms) {
                Ok(ready) => state.ready = Some(Arc::new(ready)),
                Err(error) => {
                    complain(&format!(
                        "STARTTLS=client: {error}; what was read before is used"
                    ));
                }
            }
        }
        state.ready.clone()
    }

    /// The configuration of the next handshake, with a server whose `TLS_Clt_Features:` entry
    /// says this. `complain` hears of files that have changed and can't be used, once for each
    /// change.
    ///
    /// # Errors
    /// When TLS can't be set up, or not as the entry wants it.
    pub fn config(
        &self,
        features: &TlsFeatures,
        complain: impl Fn(&str),
    ) -> Result<Arc<ClientConfig>, String> {
        let ready = self.ready(&complain).ok_or("TLS can't be set up")?;
        let terms = features.on(&self.terms);
        let own = features
            .own()
            .and_then(|own| match self.files.of_peer(own) {
                Ok((own, _)) => Some(own),
                Err(error) => {
                    complain(&format!("STARTTLS=client: {error}; the site's own is used"));
                    None
                }
            });
        if terms == self.terms && own.is_none() {
            return Ok(Arc::clone(&ready.config));
        }
        let config = terms::client(&terms, own.as_ref().or(ready.own.as_ref()));
        config.map(Arc::new).map_err(|error| error.to_string())
    }

    /// What a finished handshake says to the rulesets.
    #[must_use]
    pub fn facts(&self, connection: &ClientConnection) -> facts::Tls {
        let (cipher, bits) = names::cipher(connection.negotiated_cipher_suite());
        let mut tls = facts::Tls {
            version: names::version(connection.protocol_version()).into(),
            cipher: cipher.into(),
            bits,
            verify: "NO".into(),
            ..facts::Tls::default()
        };
        let Some((first, others)) = connection.peer_certificates().and_then(<[_]>::split_first)
        else {
            return tls;
        };
        let ready = self.state().ready.clone();
        let verified = ready
            .and_then(|r| r.verifier.clone())
            .is_some_and(|verifier| {
                let nobody = ServerName::try_from("invalid").ok();
                let result = nobody.map(|name| {
                    verifier.verify_server_cert(first, others, &name, &[], UnixTime::now())
                });
                match result {
                    Some(Ok(_)) => true,
                    // The name is looked at last, and is the rulesets' affair.
                    Some(Err(rustls::Error::InvalidCertificate(error))) => matches!(
                        error,
                        CertificateError::NotValidForName
                            | CertificateError::NotValidForNameContext { .. }
                    ),
                    _ => false,
                }
            });
        tls.verify = if verified { "OK" } else { "FAIL" }.into();
        names::describe(first, &mut tls);
        tls
    }
}

/// What a login can be bound to.
#[must_use]
pub fn bindings(connection: &ClientConnection) -> Vec<ChannelBinding> {
    let shown = connection.peer_certificates().and_then(<[_]>::first);
    binding::of(connection, shown.map(|server| server.as_ref()))
}

/// Whether a certificate of our own is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Own {
    Shown,
    None,
}

impl Files {
    fn client(&self, own: Own, terms: &Terms) -> Result<Ready, TlsError> {
        let provider = terms::provider();
        let roots = self.roots()?;
        let verifier = if roots.is_empty() {
            None
        } else {
            let mut builder =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let lists = self.revoked()?;
            if !lists.is_empty() {
                // An authority without a list revokes nothing, as with OpenSSL's lookup.
                builder = builder.with_crls(lists).allow_unknown_revocation_status();
            }
            let built = builder.build().map_err(|e| TlsError::File {
                path: self.ca_file.clone().unwrap_or_default(),
                why: e.to_string(),
            })?;
            Some(built)
        };
        let own = match own {
            Own::Shown => {
                let (shown, key) = (certificates(&self.cert)?, self.private_key(&self.key)?);
                Some(version_one::own(shown, key, &provider)?)
            }
            Own::None => None,
        };
        Ok(Ready {
            config: Arc::new(terms::client(terms, own.as_ref())?),
            own,
            verifier,
        })
    }
}

/// Lets every server through the handshake. That it holds its key is still checked.
#[derive(Debug)]
pub(super) struct Anyone(pub(super) Arc<CryptoProvider>);

impl ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version_one::verify_tls12(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version_one::verify_tls13(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_shown_a_certificate_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["own.example".to_owned()]).unwrap();
        let write = |name: &str, text: String| {
            use std::os::unix::fs::PermissionsExt;
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        };
        write("own.crt", own.cert.pem());
        write("own.key", own.signing_key.serialize_pem());
        let site = Site {
            root: Some(folder.path().into()),
            ..Site::default()
        };
        let (tls, _) = ClientTls::of(&site);
        let shows = |rhs: &str| {
            let features = TlsFeatures::parse(rhs).unwrap();
            let config = tls.config(&features, |_| ()).unwrap();
            config.client_auth_cert_resolver.has_certs()
        };
        assert!(!shows(""));
        assert!(shows("CertFile=/own.crt; KeyFile=/own.key"));
        assert!(!shows("CertFile=/own.crt; KeyFile=/none.key"));
    }

    #[test]
    fn authorities_that_come_and_go_are_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let mut site = Site {
            root: Some(folder.path().into()),
            ..Site::default()
        };
        site.options.tls.ca_file = Some("/ca.pem".into());
        let (tls, warning) = ClientTls::of(&site);
        assert!(warning.unwrap().contains("ca.pem"));
        let verifies = || tls.ready(|_| ()).unwrap().verifier.is_some();
        assert!(!verifies());
        let own = rcgen::generate_simple_self_signed(["ca.example".to_owned()]).unwrap();
        std::fs::write(&path, own.cert.pem()).unwrap();
        assert!(verifies());
        // One that can't be used leaves the last that could.
        std::fs::write(&path, "nothing").unwrap();
        assert!(verifies());
    }
}
