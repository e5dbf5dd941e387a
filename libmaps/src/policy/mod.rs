//! Policy: what the tables mean for mail, a function for each of sendmail's rulesets.

pub mod expand;
pub mod rewrite;
pub mod route;
