//! What a client gets to see of the server, and what is asked of it.

use libmaps::table::features::{Feature, Switch, Word, words};

use crate::daemon::Daemon;
use crate::login::Passwords;
use crate::session::{AuthDemand, Offer, Offers};
use crate::tls::Asked;

/// A client's own mixture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Features {
    pub(super) offers: Offers,
    pub(super) auth: AuthDemand,
    pub(super) passwords: Passwords,
    pub(super) asked: Asked,
}

impl Features {
    /// Switches what the words of a `Srv_Features:` entry name. Only AUTH stays off where the
    /// listener's `A` says so; that is the one modifier that they do not override in sendmail.
    pub(super) fn switch(&mut self, rhs: &str, daemon: &Daemon) {
        for word in words(rhs) {
            if let Word::Known(feature, switch, _) = word {
                self.set(feature, switch);
            }
        }
        if daemon.options.modifiers.has('A') {
            self.offers = self.offers.without(Offer::Auth);
        }
    }

    fn set(&mut self, feature: Feature, switch: Switch) {
        let on = switch == Switch::On;
        let mut offer = |offer| {
            self.offers = match on {
                true => self.offers.with(offer),
                false => self.offers.without(offer),
            };
        };
        match feature {
            Feature::Auth => offer(Offer::Auth),
            Feature::Verb => offer(Offer::Verb),
            Feature::Dsn => offer(Offer::Dsn),
            Feature::Etrn => offer(Offer::Etrn),
            Feature::Pipelining => offer(Offer::Pipelining),
            Feature::StartTls => offer(Offer::StartTls),
            Feature::Expn => offer(Offer::Expn),
            Feature::PasswordsUnderTls => {
                self.passwords = match on {
                    true => Passwords::UnderTls,
                    false => Passwords::Anywhere,
                };
            }
            Feature::Login => {
                self.auth = match on {
                    true => AuthDemand::Required,
                    false => AuthDemand::Optional,
                };
            }
            Feature::ClientCertificate => {
                self.asked = match on {
                    true => Asked::Certificate,
                    false => Asked::Nothing,
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use libmaps::site::Site;
    use libmaps::site::model::options::OptionValue;
    use libmaps::site::model::{DaemonOptions, options::Letters};

    /// As sendmail 8.17.1.9 does it, asked by EHLO.
    #[test]
    fn small_letters_switch_on_what_the_site_has_off() {
        let mut site = Site::default();
        site.options.greeting.privacy = OptionValue::read("goaway noreceipts noetrn").unwrap();
        let features = |modifiers: &str, rhs: &str| {
            let mut options = DaemonOptions::new("MTA", "smtp");
            options.modifiers = Letters(modifiers.into());
            let daemon = Daemon::of(&site, &options);
            let mut features = Features {
                offers: daemon.rules.offers,
                auth: daemon.rules.auth,
                passwords: Passwords::Anywhere,
                asked: Asked::Certificate,
            };
            features.switch(rhs, &daemon);
            features
        };
        let many = [Offer::Verb, Offer::Dsn, Offer::Etrn, Offer::Expn];
        let off = features("", "");
        assert!(many.iter().all(|o| !off.offers.has(*o)), "{off:?}");
        let on = features("", "b d e x");
        assert!(many.iter().all(|o| on.offers.has(*o)), "{on:?}");
        assert!(features("S", "s").offers.has(Offer::StartTls));
        assert!(!features("", "S").offers.has(Offer::StartTls));
        assert!(!features("", "P").offers.has(Offer::Pipelining));
        assert!(features("", "P p").offers.has(Offer::Pipelining));
        assert!(features("", "A a").offers.has(Offer::Auth));
        assert!(!features("A", "a").offers.has(Offer::Auth));
        assert_eq!(features("a", "L").auth, AuthDemand::Optional);
        assert_eq!(features("", "l").auth, AuthDemand::Required);
        assert_eq!(features("", "c").passwords, Passwords::UnderTls);
        assert_eq!(features("", "c C").passwords, Passwords::Anywhere);
        assert_eq!(features("", "V").asked, Asked::Nothing);
    }
}
