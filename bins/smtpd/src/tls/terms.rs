//! Configurations of rustls that keep to what was agreed to.

use std::sync::Arc;

use libmaps::terms::{Order, Terms};
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::SingleCertAndKey;
use rustls::{
    ClientConfig, Error, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion, version,
};

use super::{Anyone, Asked, Ready, client, names};

/// All that can be done.
pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// What of it is agreed to: ciphers of TLS 1.2 in the order of the list.
fn provider_of(terms: &Terms) -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    if let Some(list) = &terms.ciphers {
        let (newest, old): (Vec<_>, Vec<_>) = provider
            .cipher_suites
            .into_iter()
            .partition(|suite| matches!(suite, SupportedCipherSuite::Tls13(_)));
        let listed = list.iter().filter_map(|cipher| {
            let mut old = old.iter();
            old.find(|suite| names::cipher(Some(**suite)).0 == cipher.name)
        });
        provider.cipher_suites = newest.into_iter().chain(listed.copied()).collect();
    }
    Arc::new(provider)
}

fn versions(terms: &Terms) -> Vec<&'static SupportedProtocolVersion> {
    let tls13 = terms.has_tls13().then_some(&version::TLS13);
    let tls12 = terms.has_tls12().then_some(&version::TLS12);
    tls13.into_iter().chain(tls12).collect()
}

/// A server's configuration.
///
/// # Errors
/// When no version is left.
pub(super) fn server(
    terms: &Terms,
    asked: Asked,
    anyone: &Arc<Anyone>,
    own: &Arc<SingleCertAndKey>,
) -> Result<ServerConfig, Error> {
    let builder = ServerConfig::builder_with_provider(provider_of(terms))
        .with_protocol_versions(&versions(terms))?;
    let builder = match asked {
        Asked::Certificate => builder.with_client_cert_verifier(Arc::clone(anyone) as _),
        Asked::Nothing => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::clone(own) as _);
    config.ignore_client_order = terms.order == Order::Server;
    Ok(config)
}

impl Ready {
    /// A configuration for one client, which may have a certificate of its own.
    pub(super) fn config(
        &self,
        asked: Asked,
        terms: &Terms,
        own: Option<&Arc<SingleCertAndKey>>,
    ) -> Result<ServerConfig, Error> {
        server(terms, asked, &self.anyone, own.unwrap_or(&self.own))
    }
}

/// A client's configuration, which shows `own` where there is any.
///
/// # Errors
/// When no version is left.
pub(super) fn client(
    terms: &Terms,
    own: Option<&Arc<SingleCertAndKey>>,
) -> Result<ClientConfig, Error> {
    let builder = ClientConfig::builder_with_provider(provider_of(terms))
        .with_protocol_versions(&versions(terms))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(client::Anyone(provider())));
    Ok(match own {
        Some(own) => {
            let own: Arc<dyn ResolvesClientCert> = Arc::clone(own) as _;
            builder.with_client_cert_resolver(own)
        }
        None => builder.with_no_client_auth(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmaps::site::Site;

    #[test]
    fn the_order_of_ciphers_is_the_servers_where_the_terms_say_so() {
        let folder = tempfile::tempdir().unwrap();
        let own = rcgen::generate_simple_self_signed(["own.example".to_owned()]).unwrap();
        std::fs::write(folder.path().join("own.pem"), own.cert.pem()).unwrap();
        let key = own.signing_key.serialize_pem();
        std::fs::write(folder.path().join("own.key"), key).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.path().join("own.key"), mode).unwrap();
        let mut site = Site {
            root: Some(folder.path().into()),
            ..Site::default()
        };
        site.options.tls.server_cert = Some("/own.pem".into());
        site.options.tls.server_key = Some("/own.key".into());
        let ready = super::super::Tls::of(&site).unwrap().unwrap().snapshot();
        for (order, is_ours) in [(Order::Server, true), (Order::Client, false)] {
            let terms = Terms {
                order,
                ..Terms::default()
            };
            let config = ready.config(Asked::Nothing, &terms, None).unwrap();
            assert_eq!(config.ignore_client_order, is_ours, "{order:?}");
        }
    }
}
