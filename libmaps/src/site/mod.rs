//! The site's configuration, as far as programs other than the server need it.

pub mod alias_files;
pub mod cf;
pub mod options;
