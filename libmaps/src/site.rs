//! The administrator's configuration: `sendmail.mc` read into a typed [`Site`].

pub mod diagnostic;
pub mod model;

pub use diagnostic::{Diagnostic, Place, Severity};
pub use model::Site;
