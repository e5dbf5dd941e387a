//! What status a recipient has who is refused where addresses are expanded.

use libmaps::policy::route::MailerTriple;
use libmaps::tokens::strip_quotes;

/// The status of a refusal: what the error mailer was given, else what the words say.
pub(super) fn status_of(triple: &MailerTriple, why: &str) -> String {
    let given = triple.host.to_ascii_lowercase();
    let given = String::from_utf8_lossy(&given);
    let is_status = given.starts_with(['4', '5']) && given.matches('.').count() == 2;
    match &*given {
        given if triple.is_error() && is_status => given.into(),
        "tempfail" if triple.is_error() => "4.0.0".into(),
        // A code without a status.
        _ if triple.is_error() && is_for_now(&triple.user) => "4.0.0".into(),
        _ if why == "aliasing/forwarding loop broken" => "5.4.6".into(),
        // A program or a file that is not for this list or its user.
        _ if why.contains(" mailing to ") || why.contains(": cannot mail to ") => "5.7.1".into(),
        _ => "5.1.3".into(),
    }
}

/// Whether the error mailer's text begins with a code of 4xx.
fn is_for_now(text: &[u8]) -> bool {
    let text = strip_quotes(text);
    matches!(*text, [b'4', b'0'..=b'9', b'0'..=b'9', b' ', ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_for_now_is_none_for_good() {
        let status = |host: &str, user: &str| {
            let triple = MailerTriple {
                mailer: "error".into(),
                host: host.into(),
                user: user.into(),
            };
            status_of(&triple, "why")
        };
        assert_eq!(status("4.2.1", "\"450 later\""), "4.2.1");
        assert_eq!(status("", "\"451 later\""), "4.0.0");
        assert_eq!(status("", "451 later"), "4.0.0");
        assert_eq!(status("tempfail", "later"), "4.0.0");
        assert_eq!(status("", "\"551 no\""), "5.1.3");
        assert_eq!(status("", "4511 x"), "5.1.3");
    }
}
