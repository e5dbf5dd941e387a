//! TLS by rustls: the server's side of STARTTLS and of port 465.
//!
//! What sendmail calls SSLv3, TLS 1.0 and TLS 1.1 is not spoken. A key file that
//! others can read is refused, and then STARTTLS is not offered.

mod attributes;
mod binding;
pub mod client;
mod files;
pub mod names;
mod terms;
mod version_one;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libmaps::opening::Seen;
use libmaps::policy::facts;
use libmaps::sasl::mechanism::ChannelBinding;
use libmaps::site::Site;
use libmaps::table::tls_features::TlsFeatures;
use libmaps::terms::Terms;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};

use files::Files;

/// What is known about TLS with a client.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts {
    /// What the rulesets learn.
    pub tls: facts::Tls,
    /// What a login may be bound to, for the `-PLUS` mechanisms.
    pub bindings: Vec<ChannelBinding>,
}

/// What a client is asked for in the handshake (TLSSrvOptions `V`; `v` and `V` in a
/// `Srv_Features:` entry).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A certificate, which it need not have.
    Certificate,
    /// Nothing.
    Nothing,
}

/// How the handshake with a client is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// What the client is asked for.
    pub asked: Asked,
    /// What its `TLS_Srv_Features:` entry says.
    pub features: TlsFeatures,
}

/// The server's TLS: one configuration, replaced when one of its files is, and more where the
/// access map has entries for single clients.
pub struct Tls {
    files: Files,
    terms: Terms,
    state: Mutex<State>,
}

struct State {
    /// The files as they were when `ready` was made, or could not be.
    seen: Vec<Option<Seen>>,
    ready: Arc<Ready>,
}

/// A configuration that works.
struct Ready {
    /// Asks clients for a certificate.
    asking: Arc<ServerConfig>,
    /// Asks them for nothing.
    silent: Arc<ServerConfig>,
    /// The server's own certificate, with its key.
    own: Arc<SingleCertAndKey>,
    anyone: Arc<Anyone>,
    /// The certificate alone.
    certificate: Vec<u8>,
    /// What an administrator should know: a certificate that ends soon.
    warning: Option<String>,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read, or is no PEM.
    #[error("{}: {why}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Others can read the key.
    #[error("{}: group or world readable: STARTTLS is not offered", .0.display())]
    ReadableKey(PathBuf),
    /// Certificate and key do not fit, or rustls wants neither.
    #[error("TLS: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// TLS as the site configures it; `Ok(None)` where it has no certificate.
    ///
    /// # Errors
    /// When it has one that can't be used.
    pub fn of(site: &Site) -> Result<Option<Self>, TlsError> {
        let tls = &site.options.tls;
        if tls.server_cert.is_none() || tls.server_key.is_none() {
            return Ok(None);
        }
        let files = Files::of(site);
        let terms = site.options.tls.server_terms();
        let seen = files.seen();
        let ready = Arc::new(files.ready(&terms)?);
        let state = Mutex::new(State { seen, ready });
        Ok(Some(Tls {
            files,
            terms,
            state,
        }))
    }

    /// Whether there can be a handshake with a peer of whom this is said.
    #[must_use]
    pub fn can(&self, features: &TlsFeatures) -> bool {
        features.on(&self.terms).has_tls()
    }

    /// The next handshake. New files that can't be used are told to `report` once; the last
    /// good configuration stays. A client whose own certificate can't be used is shown the
    /// site's, as sendmail does, and `report` hears of it.
    ///
    /// # Errors
    /// When there is no handshake as the client's entry wants it.
    pub fn handshake(&self, wish: &Wish, report: impl Fn(&str)) -> Result<Handshake, TlsError> {
        let ready = self.ready(&report);
        let terms = wish.features.on(&self.terms);
        let own = wish.features.own().and_then(|own| {
            let own = self.files.of_peer(own);
            own.inspect_err(|error| report(&format!("{error}; the site's own is shown")))
                .ok()
        });
        let (own, certificate) = own.unzip();
        let is_usual = terms == self.terms && own.is_none();
        let config = match (is_usual, wish.asked) {
            (true, Asked::Certificate) => Arc::clone(&ready.asking),
            (true, Asked::Nothing) => Arc::clone(&ready.silent),
            (false, asked) => Arc::new(ready.config(asked, &terms, own.as_ref())?),
        };
        Ok(Handshake {
            config,
            asked: wish.asked,
            certificate: certificate.unwrap_or_else(|| ready.certificate.clone()),
            ready,
        })
    }

    fn ready(&self, report: impl FnOnce(&str)) -> Arc<Ready> {
        let mut state = self.state();
        let seen = self.files.seen();
        if seen != state.seen {
            state.seen = seen;
            match self.files.ready(&self.terms) {
                Ok(ready) => {
                    if let Some(warning) = &ready.warning {
                        report(warning);
                    }
                    state.ready = Arc::new(ready);
                }
                Err(error) => report(&format!("TLS kept as it was: {error}")),
            }
        }
        Arc::clone(&state.ready)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn snapshot(&self) -> Arc<Ready> {
        Arc::clone(&self.state().ready)
    }

    /// What is worth a line in the log at the start.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.snapshot().warning.clone()
    }
}

/// A handshake with one client.
pub struct Handshake {
    /// How it is done.
    pub config: Arc<ServerConfig>,
    asked: Asked,
    /// What is shown.
    certificate: Vec<u8>,
    ready: Arc<Ready>,
}

impl Handshake {
    /// What it says to the rulesets, once it is done.
    #[must_use]
    pub fn facts(&self, connection: &rustls::ServerConnection) -> TlsFacts {
        let (cipher, bits) = names::cipher(connection.negotiated_cipher_suite());
        let mut tls = facts::Tls {
            version: names::version(connection.protocol_version()).into(),
            cipher: cipher.into(),
            bits,
            verify: "NOT".into(),
            ..facts::Tls::default()
        };
        let bindings = binding::of(connection, Some(&self.certificate));
        let Some((first, others)) = connection.peer_certificates().and_then(<[_]>::split_first)
        else {
            if self.asked == Asked::Certificate {
                tls.verify = "NO".into();
            }
            return TlsFacts { tls, bindings };
        };
        let roots = &self.ready.anyone.roots;
        let verified = roots
            .as_ref()
            .is_some_and(|v| v.verify_client_cert(first, others, UnixTime::now()).is_ok());
        tls.verify = if verified { "OK" } else { "FAIL" }.into();
        names::describe(first, &mut tls);
        TlsFacts { tls, bindings }
    }
}

/// Lets every client through the handshake: what its certificate is worth is the
/// rulesets' affair, which are told `verify=OK`, `FAIL` or `NO`. That it holds the key
/// is still checked.
#[derive(Debug)]
struct Anyone {
    provider: Arc<CryptoProvider>,
    roots: Option<Arc<dyn ClientCertVerifier>>,
}

impl ClientCertVerifier for Anyone {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.roots.as_ref().map_or(&[], |r| r.root_hint_subjects())
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version_one::verify_tls12(message, cert, signature, &self.provider)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        version_one::verify_tls13(message, cert, signature, &self.provider)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
