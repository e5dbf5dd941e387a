//! Connecting to a directory and logging in.

use std::sync::Arc;

use ldap3::{Ldap, LdapConnAsync, LdapConnSettings};
use libmaps::store::shared::{Server, Tls};
use libmaps::sysexits::SysExit;

use crate::fault::{Fault, within};
use crate::tls;

/// A connection to one of the server's hosts.
pub(super) async fn open(server: &Server, host: &str, port: u16) -> Result<Ldap, Fault> {
    let mut settings = LdapConnSettings::new().set_conn_timeout(server.timeout);
    if server.tls != Tls::Off {
        settings = settings.set_config(Arc::new(tls::config(server)?));
    }
    if server.tls == Tls::StartTls {
        settings = settings.set_starttls(true);
    }
    let scheme = match server.tls {
        Tls::Verify => "ldaps",
        Tls::Off | Tls::StartTls => "ldap",
    };
    let url = match (host.starts_with('/'), host.contains(':')) {
        (true, _) => format!("ldapi://{}", host.replace('/', "%2F")),
        (false, true) => format!("{scheme}://[{host}]:{port}"),
        (false, false) => format!("{scheme}://{host}:{port}"),
    };
    let connected = LdapConnAsync::with_settings(settings, &url);
    let (connection, mut ldap) = within(server.timeout, connected).await?;
    tokio::spawn(async move {
        // How it ended is told by the next question.
        let _ = connection.drive().await;
    });
    if let Some(user) = &server.user {
        let password = server.password()?.unwrap_or_default();
        let password = String::from_utf8(password)
            .map_err(|_| Fault::new(SysExit::Config, "password-file: the password is no UTF-8"))?;
        if password.is_empty() {
            // RFC 4513 section 5.1.2: a name without a password logs in as nobody.
            return Err(Fault::new(
                SysExit::Config,
                "user: password-file is missing",
            ));
        }
        let bound = ldap.simple_bind(user, &password);
        within(server.timeout, async { bound.await?.success() }).await?;
    }
    Ok(ldap)
}
