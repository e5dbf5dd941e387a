//! The administrator's configuration: `sendmail.mc` read into a typed [`Site`].

pub mod diagnostic;
pub mod hosts;
pub mod m4;
pub mod model;
pub mod users;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use hosts::{Hosts, Service, ServiceSwitch};
pub use model::Site;
pub use users::{User, Users};
