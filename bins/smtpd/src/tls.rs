//! TLS by rustls: the server's side of STARTTLS and of port 465.
//!
//! What sendmail calls SSLv3, TLS 1.0 and TLS 1.1 is not spoken. A key file that
//! others can read is refused, and then STARTTLS is not offered.

pub mod client;
mod names;

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::live::{Live, Refresh};
use libmaps::map::StoreError;
use libmaps::policy::facts;
use libmaps::site::Site;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};

/// How long before its end a certificate is warned about.
const WARN_SECONDS: i64 = 21 * 86_400;

/// What the rulesets learn about TLS with a client.
#[derive(Clone, Debug, Default)]
pub struct TlsFacts(pub facts::Tls);

/// The server's TLS: one configuration, replaced when the certificate is.
pub struct Tls {
    live: Live<Ready>,
}

/// A configuration that works.
struct Ready {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
    asks_client: bool,
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
    /// The file that is watched can't be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Tls {
    /// TLS as the site configures it; `Ok(None)` where it has no certificate.
    ///
    /// # Errors
    /// When it has one that can't be used.
    pub fn of(site: &Site) -> Result<Option<Self>, TlsError> {
        let (Some(cert), Some(_)) = (&site.options.tls.server_cert, &site.options.tls.server_key)
        else {
            return Ok(None);
        };
        let files = Files::of(site);
        // The first time its own error is told; later ones keep the last good configuration.
        files.ready()?;
        let live = Live::open(site.below(cert), move |path| {
            files.ready().map_err(|e| StoreError::Io {
                path: path.into(),
                action: "use",
                source: io::Error::other(e.to_string()),
            })
        })?;
        Ok(Some(Tls { live }))
    }

    /// The configuration of the next handshake. A new certificate that can't be used is
    /// handed to `report`; the old one stays.
    pub fn config(&self, report: impl FnOnce(&StoreError)) -> Arc<ServerConfig> {
        if let Refresh::KeptOld(error) = self.live.refresh() {
            report(&error);
        }
        Arc::clone(&self.live.snapshot().config)
    }

    /// What is worth a line in the log at the start.
    #[must_use]
    pub fn warning(&self) -> Option<String> {
        self.live.snapshot().warning.clone()
    }

    /// What a finished handshake says to the rulesets.
    #[must_use]
    pub fn facts(&self, connection: &rustls::ServerConnection) -> TlsFacts {
        let ready = self.live.snapshot();
        let (cipher, bits) = names::cipher(connection.negotiated_cipher_suite());
        let mut tls = facts::Tls {
            version: names::version(connection.protocol_version()).into(),
            cipher: cipher.into(),
            bits,
            verify: "NOT".into(),
            ..facts::Tls::default()
        };
        let Some((first, others)) = connection.peer_certificates().and_then(<[_]>::split_first)
        else {
            if ready.asks_client {
                tls.verify = "NO".into();
            }
            return TlsFacts(tls);
        };
        let verified = ready
            .verifier
            .as_ref()
            .is_some_and(|v| v.verify_client_cert(first, others, UnixTime::now()).is_ok());
        tls.verify = if verified { "OK" } else { "FAIL" }.into();
        names::describe(first, &mut tls);
        TlsFacts(tls)
    }
}

/// The files that a configuration is made of.
struct Files {
    cert: PathBuf,
    key: PathBuf,
    ca_file: Option<PathBuf>,
    ca_path: Option<PathBuf>,
    crl: Option<PathBuf>,
    asks_client: bool,
    forgives_group: bool,
}

impl Files {
    fn of(site: &Site) -> Self {
        let tls = &site.options.tls;
        let below = |path: &Option<PathBuf>| path.as_deref().map(|p| site.below(p));
        Files {
            cert: below(&tls.server_cert).unwrap_or_default(),
            key: below(&tls.server_key).unwrap_or_default(),
            ca_file: below(&tls.ca_file),
            ca_path: below(&tls.ca_path),
            crl: below(&tls.crl_file),
            asks_client: !tls.srv_options.0.contains('V'),
            forgives_group: site
                .options
                .files
                .dont_blame
                .0
                .iter()
                .any(|w| w.eq_ignore_ascii_case("GroupReadableKeyFile")),
        }
    }

    fn ready(&self) -> Result<Ready, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let certs = certificates(&self.cert)?;
        let key = self.key()?;
        let verifier = self.verifier(&provider)?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()?;
        let builder = if self.asks_client {
            builder.with_client_cert_verifier(Arc::new(Anyone {
                provider,
                roots: verifier.clone(),
            }))
        } else {
            builder.with_no_client_auth()
        };
        let warning = certs.first().and_then(|c| self.ends_soon(c));
        let config = builder.with_single_cert(certs, key)?;
        Ok(Ready {
            config: Arc::new(config),
            verifier,
            asks_client: self.asks_client,
            warning,
        })
    }

    fn key(&self) -> Result<PrivateKeyDer<'static>, TlsError> {
        let metadata = std::fs::metadata(&self.key).map_err(|e| file(&self.key, &e))?;
        let forbidden = if self.forgives_group { 0o007 } else { 0o077 };
        if metadata.mode() & forbidden != 0 {
            return Err(TlsError::ReadableKey(self.key.clone()));
        }
        PrivateKeyDer::from_pem_file(&self.key).map_err(|e| file(&self.key, &e))
    }

    /// The site's authorities.
    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            for cert in certificates(path)? {
                // One odd authority among many is no reason to do without the others.
                let _ = roots.add(cert);
            }
        }
        if let Some(folder) = &self.ca_path {
            for entry in std::fs::read_dir(folder)
                .into_iter()
                .flatten()
                .flatten()
                .take(1000)
            {
                let path = entry.path();
                let hashed = path
                    .extension()
                    .is_some_and(|e| e == "0" || e == "pem" || e == "crt");
                for cert in certificates(&path).into_iter().flatten().filter(|_| hashed) {
                    let _ = roots.add(cert);
                }
            }
        }
        Ok(roots)
    }

    fn revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let Some(path) = &self.crl else {
            return Ok(Vec::new());
        };
        let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_file_iter(path)
            .map_err(|e| file(path, &e))?
            .collect();
        lists.map_err(|e| file(path, &e))
    }

    /// Verifies clients against the site's authorities; nobody where it has none.
    fn verifier(
        &self,
        provider: &Arc<CryptoProvider>,
    ) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
        let roots = self.roots()?;
        if roots.is_empty() {
            return Ok(None);
        }
        let builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
                .with_crls(self.revoked()?);
        builder.build().map(Some).map_err(|e| TlsError::File {
            path: self.ca_file.clone().unwrap_or_default(),
            why: e.to_string(),
        })
    }

    fn ends_soon(&self, cert: &CertificateDer<'_>) -> Option<String> {
        let (_, parsed) = x509_parser::parse_x509_certificate(cert).ok()?;
        let end = parsed.validity().not_after.timestamp();
        let now = i64::try_from(crate::clock::now_unix()).unwrap_or(i64::MAX);
        let path = self.cert.display();
        match end - now {
            ..=0 => Some(format!("{path}: the certificate has expired")),
            left if left < WARN_SECONDS => Some(format!(
                "{path}: the certificate expires in {} days",
                left / 86_400
            )),
            _ => None,
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path)
        .map_err(|e| file(path, &e))?
        .collect();
    let all = all.map_err(|e| file(path, &e))?;
    if all.is_empty() {
        return Err(file(path, &"no certificate in it"));
    }
    Ok(all)
}

fn file(path: &Path, why: &dyn std::fmt::Display) -> TlsError {
    TlsError::File {
        path: path.into(),
        why: why.to_string(),
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
        let known = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, signature, known)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let known = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, signature, known)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}
