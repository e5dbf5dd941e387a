//! The files of TLS: certificate, key, authorities, revocation lists.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libmaps::opening::{self, Seen};
use libmaps::site::{Site, model};
use libmaps::table::tls_features::OwnCertificate;
use libmaps::terms::Terms;
use rustix::fs::{Dir, DirEntry};
use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::sign::SingleCertAndKey;

use super::{Anyone, Asked, Ready, TlsError, terms, version_one};

/// How long before its end a certificate is warned about.
const WARN_SECONDS: i64 = 21 * 86_400;
/// Most files that are read of a folder.
const MAX_FILES: usize = 1_000;

/// The files that a configuration is made of.
pub(super) struct Files {
    root: Option<PathBuf>,
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) ca_path: Option<PathBuf>,
    pub(super) crl: Option<PathBuf>,
    pub(super) crl_path: Option<PathBuf>,
    forgives_group: bool,
}

impl Files {
    pub(super) fn of(site: &Site) -> Self {
        let tls = &site.options.tls;
        // sendmail takes two, separated by a comma; the first is used here.
        let first = |path: &Path| match path.to_str().and_then(|t| t.split_once(',')) {
            Some((first, _)) => PathBuf::from(first.trim()),
            None => path.to_path_buf(),
        };
        let below = |path: &Option<PathBuf>| path.as_deref().map(|p| site.below(&first(p)));
        Files {
            root: site.root.clone(),
            cert: below(&tls.server_cert).unwrap_or_default(),
            key: below(&tls.server_key).unwrap_or_default(),
            ca_file: below(&tls.ca_file),
            ca_path: below(&tls.ca_path),
            crl: below(&tls.crl_file),
            crl_path: below(&tls.crl_path),
            forgives_group: site
                .options
                .files
                .dont_blame
                .0
                .iter()
                .any(|w| w.eq_ignore_ascii_case("GroupReadableKeyFile")),
        }
    }

    pub(super) fn ready(&self, terms: &Terms) -> Result<Ready, TlsError> {
        let provider = terms::provider();
        let certs = certificates(&self.cert)?;
        let key = self.private_key(&self.key)?;
        let roots = self.verifier(&provider)?;
        let warning = certs.first().and_then(|c| self.ends_soon(c));
        let certificate = certs.first().map(|c| c.to_vec()).unwrap_or_default();
        let own = version_one::own(certs, key, &provider)?;
        let anyone = Arc::new(Anyone { provider, roots });
        let config = |asked| terms::server(terms, asked, &anyone, &own).map(Arc::new);
        Ok(Ready {
            asking: config(Asked::Certificate)?,
            silent: config(Asked::Nothing)?,
            own,
            anyone,
            certificate,
            warning,
        })
    }

    pub(super) fn private_key(&self, path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
        let metadata = opening::metadata(path).map_err(|e| file(path, &e))?;
        let forbidden = if self.forgives_group { 0o007 } else { 0o077 };
        if metadata.mode() & forbidden != 0 {
            return Err(TlsError::ReadableKey(path.to_owned()));
        }
        let text = opening::file(path).map_err(|e| file(path, &e))?;
        PrivateKeyDer::from_pem_reader(text).map_err(|e| file(path, &e))
    }

    /// The certificate for a single peer: what is shown, and the certificate alone.
    pub(super) fn of_peer(
        &self,
        own: &OwnCertificate,
    ) -> Result<(Arc<SingleCertAndKey>, Vec<u8>), TlsError> {
        let below = |path: &Path| model::below(self.root.as_deref(), path);
        let certs = certificates(&below(&own.cert))?;
        let key = self.private_key(&below(&own.key))?;
        let certificate = certs.first().map(|c| c.to_vec()).unwrap_or_default();
        let own = version_one::own(certs, key, &terms::provider())?;
        Ok((own, certificate))
    }

    /// The site's authorities.
    pub(super) fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            for cert in certificates(path)? {
                // One odd authority among many is no reason to do without the others.
                let _ = roots.add(cert);
            }
        }
        for path in self.ca_path.iter().flat_map(|folder| hashed(folder, 'c')) {
            for cert in certificates(&path).into_iter().flatten() {
                let _ = roots.add(cert);
            }
        }
        Ok(roots)
    }

    /// What they have revoked.
    pub(super) fn revoked(&self) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
        let mut lists = Vec::new();
        let of_folder = self.crl_path.iter().flat_map(|f| hashed(f, 'r'));
        for path in self.crl.iter().cloned().chain(of_folder) {
            let text = opening::file(&path).map_err(|e| file(&path, &e))?;
            let read: Result<Vec<_>, _> =
                CertificateRevocationListDer::pem_reader_iter(text).collect();
            lists.extend(read.map_err(|e| file(&path, &e))?);
        }
        Ok(lists)
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
        let lists = self.revoked()?;
        let mut builder =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
        if !lists.is_empty() {
            // An authority without a list revokes nothing, as with OpenSSL's lookup.
            builder = builder.with_crls(lists).allow_unknown_revocation_status();
        }
        builder.build().map(Some).map_err(|e| TlsError::File {
            path: self.ca_file.clone().unwrap_or_default(),
            why: e.to_string(),
        })
    }

    /// Every file and folder as it is now.
    pub(super) fn seen(&self) -> Vec<Option<Seen>> {
        let all = [
            Some(&self.cert),
            Some(&self.key),
            self.ca_file.as_ref(),
            self.ca_path.as_ref(),
            self.crl.as_ref(),
            self.crl_path.as_ref(),
        ];
        all.into_iter()
            .flatten()
            .map(|path| Seen::of(path).ok())
            .collect()
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

/// The files of a folder that bear the names of OpenSSL's c_rehash (`HASH.0` for
/// certificates, `HASH.r0` for lists), or end in `.pem`, `.crt` or `.crl`.
fn hashed(folder: &Path, kind: char) -> Vec<PathBuf> {
    let entries = opening::file(folder).and_then(|folder| Ok(Dir::new(folder)?));
    let entries = entries.into_iter().flatten().flatten();
    let path_of = |entry: DirEntry| folder.join(OsStr::from_bytes(entry.file_name().to_bytes()));
    let fits = |path: &PathBuf| {
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("");
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        match kind {
            'r' => extension == "crl" || extension.strip_prefix('r').is_some_and(digits),
            _ => matches!(extension, "pem" | "crt") || digits(extension),
        }
    };
    let mut all: Vec<PathBuf> = entries.take(MAX_FILES).map(path_of).filter(fits).collect();
    all.sort();
    all
}

pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = opening::file(path).map_err(|e| file(path, &e))?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_reader_iter(text).collect();
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
