//! The administrator's configuration: `sendmail.mc` read into a typed [`Site`].

pub mod alias_files;
pub mod cf;
pub mod check;
mod class_file;
pub mod class_map;
pub mod diagnostic;
pub mod hosts;
pub mod ids;
pub mod ldap;
pub mod load;
pub mod m4;
pub mod machine;
pub mod mc;
pub mod model;
pub mod options;
pub mod shells;
pub mod show;
pub mod users;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use hosts::{Hosts, Service, ServiceSwitch};
pub use load::{Loaded, SiteError, load};
pub use machine::Machine;
pub use model::Site;
pub use users::{User, Users};
