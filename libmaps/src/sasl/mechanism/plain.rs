//! PLAIN (RFC 4616) and LOGIN, both sides.

use super::server::{Context, Failure, Progress, State, about};
use crate::sasl::password::Password;

pub(super) const ASK_NAME: &[u8] = b"Username:";
const ASK_PASSWORD: &[u8] = b"Password:";

/// `[authzid] NUL authcid NUL passwd`, with exactly two NULs.
pub(super) fn respond(context: &Context<'_>, response: &[u8]) -> Result<Progress, Failure> {
    let mut parts = response.split(|b| *b == 0);
    let (Some(authzid), Some(authid), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::malformed(
            "expected authzid NUL authid NUL password",
        ));
    };
    let authid = check(context, authid, password)?;
    Ok(Progress::Done(context.authorize(&authid, authzid)?))
}

/// LOGIN's first response.
pub(super) fn take_name(response: &[u8]) -> Progress {
    Progress::Ask(
        ASK_PASSWORD.to_vec(),
        State::LoginPassword(response.to_vec()),
    )
}

/// LOGIN's second response.
pub(super) fn take_password(
    context: &Context<'_>,
    name: &[u8],
    response: &[u8],
) -> Result<Progress, Failure> {
    let authid = check(context, name, response)?;
    Ok(Progress::Done(context.authorize(&authid, b"")?))
}

/// The account's name, where this is its password.
fn check(context: &Context<'_>, typed: &[u8], password: &[u8]) -> Result<Vec<u8>, Failure> {
    let name = context.name(typed);
    context.service.account(&name)?;
    let password = Password::new(password.to_vec()).map_err(|_| {
        about(
            Failure::malformed("the password is empty or too long"),
            &name,
        )
    })?;
    match context.accounts.check(context.service, &name, &password) {
        Ok(true) => Ok(name),
        Ok(false) => Err(about(
            Failure::rejected("password verification failed"),
            &name,
        )),
        Err(error) => Err(about(error.into(), &name)),
    }
}

/// PLAIN's only message, as the client sends it.
pub(super) fn message(authzid: &[u8], authid: &[u8], password: &Password) -> Vec<u8> {
    [authzid, authid, password.expose()].join(&0)
}
