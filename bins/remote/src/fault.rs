//! Why an engine could not be asked, or would not answer.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::io;
use std::time::Duration;

use libmaps::map::StoreError;
use libmaps::sysexits::SysExit;

/// Why a map can't be written at the moment.
pub(crate) const HELD: &str = "another writer holds the map";

/// What went wrong, for people, and what a program ends with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// 75 where waiting may help, 78 where somebody must change something.
    pub exit: SysExit,
    /// One line.
    pub why: String,
}

impl Fault {
    /// A fault.
    pub fn new(exit: SysExit, why: impl Into<String>) -> Self {
        Fault {
            exit,
            why: why.into(),
        }
    }

    /// What the engine holds is not what its writer said.
    pub fn damaged(why: impl Into<String>) -> Self {
        Fault::new(SysExit::IoErr, why)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One line, whatever an engine said.
        for c in self.why.chars() {
            match c.is_control() {
                true => f.write_str(" ")?,
                false => write!(f, "{c}")?,
            }
        }
        Ok(())
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Fault::new(error.exit(), error.to_string())
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Fault::new(SysExit::IoErr, error.to_string())
    }
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        let Some(told) = error.as_db_error() else {
            let wants_mending =
                is_of_tls(&error) || error.to_string().starts_with("invalid configuration");
            let exit = match wants_mending {
                true => SysExit::Config,
                false => SysExit::TempFail,
            };
            return Fault::new(exit, chain(&error));
        };
        let code = told.code().code();
        let exit = match code.get(..2) {
            // No such role or password, database, table or right; what is spelled wrong.
            Some("28" | "3D" | "42" | "22" | "0A") => SysExit::Config,
            _ => SysExit::TempFail,
        };
        let mut why = format!("{}: {} ({code})", told.severity(), told.message());
        if let Some(detail) = told.detail() {
            why.push_str(": ");
            why.push_str(detail);
        }
        Fault::new(exit, why)
    }
}

/// Whether both sides have another mind of TLS, which waiting does not change: a server without it,
/// or a certificate that is not believed.
fn is_of_tls(error: &tokio_postgres::Error) -> bool {
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(error) = next {
        let inner = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref);
        let tls = match inner {
            Some(inner) => inner.downcast_ref::<rustls::Error>(),
            None => error.downcast_ref::<rustls::Error>(),
        };
        if matches!(tls, Some(rustls::Error::InvalidCertificate(_))) {
            return true;
        }
        // The library has no other sign of it.
        if error.to_string() == "server does not support TLS" {
            return true;
        }
        next = error.source();
    }
    false
}

/// An error with those that it comes from, each told once.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        next = cause.source();
    }
    text
}

/// Waits for `future`, for so long at the most.
///
/// # Errors
/// Its own, and that of a server that does not answer.
pub async fn within<T, E: Into<Fault>>(
    time: Duration,
    future: impl Future<Output = Result<T, E>>,
) -> Result<T, Fault> {
    match tokio::time::timeout(time, future).await {
        Ok(done) => done.map_err(Into::into),
        Err(_) => Err(Fault::new(
            SysExit::TempFail,
            format!("no answer within {} s", time.as_secs()),
        )),
    }
}
