//! The mechanism `pam`: what PAM's rules for the service say.
//!
//! The service field names the file below `/etc/pam.d`. The realm is not
//! looked at; with `-r` it is part of the login.

use super::PasswordChecker;
use crate::answer::Answer;
use crate::ffi::pam::{Denied, Pam};
use crate::frame::Request;

/// Asks PAM.
#[derive(Debug)]
pub struct PamChecker {
    /// libpam, loaded.
    pub pam: Pam,
}

impl PasswordChecker for PamChecker {
    fn check(&mut self, request: &Request) -> Answer {
        let asked = self
            .pam
            .check(&request.service, &request.login, &request.password);
        match asked {
            Ok(()) => Answer::ok(),
            Err(Denied::Start) => Answer::refused("PAM start error"),
            Err(Denied::Authenticate) => Answer::refused("PAM auth error"),
            Err(Denied::Account) => Answer::refused("PAM acct error"),
        }
    }
}
