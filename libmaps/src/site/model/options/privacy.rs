//! `PrivacyOptions`.

use super::values::OptionValue;

/// The flags of `PrivacyOptions` (op.me, section 5.6), in sendmail's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy(u32);

/// One word of `PrivacyOptions`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum PrivacyFlag {
    /// HELO or EHLO must come before MAIL.
    NeedMailHelo = 1,
    /// HELO or EHLO must come before EXPN.
    NeedExpnHelo = 1 << 1,
    /// HELO or EHLO must come before VRFY.
    NeedVrfyHelo = 1 << 2,
    /// EXPN is refused.
    NoExpn = 1 << 3,
    /// VRFY is not answered with facts.
    NoVrfy = 1 << 4,
    /// VERB is refused.
    NoVerb = 1 << 5,
    /// ETRN is refused.
    NoEtrn = 1 << 6,
    /// DSN requests are not honoured, and DSN is not announced.
    NoReceipts = 1 << 7,
    /// Bounces carry headers only.
    NoBodyReturn = 1 << 8,
    /// `X-Authentication-Warning:` headers are added.
    AuthWarnings = 1 << 9,
    /// Only those who own the queue folder may see the queue.
    RestrictMailq = 1 << 10,
    /// Only root and the owner of the queue folder may run the queue.
    RestrictQrun = 1 << 11,
    /// `-bv` and `-v` show less to ordinary users.
    RestrictExpand = 1 << 12,
    /// No `X-Actual-Recipient:` in DSNs.
    NoActualRecipient = 1 << 13,
}

use PrivacyFlag as F;

const WORDS: &[(&str, PrivacyFlag)] = &[
    ("needmailhelo", F::NeedMailHelo),
    ("needexpnhelo", F::NeedExpnHelo),
    ("needvrfyhelo", F::NeedVrfyHelo),
    ("noexpn", F::NoExpn),
    ("novrfy", F::NoVrfy),
    ("noverb", F::NoVerb),
    ("noetrn", F::NoEtrn),
    ("noreceipts", F::NoReceipts),
    ("nobodyreturn", F::NoBodyReturn),
    ("authwarnings", F::AuthWarnings),
    ("restrictmailq", F::RestrictMailq),
    ("restrictqrun", F::RestrictQrun),
    ("restrictexpand", F::RestrictExpand),
    ("noactualrecipient", F::NoActualRecipient),
];

/// What `goaway` stands for: every flag but noreceipts, restrictmailq,
/// restrictqrun, restrictexpand, noetrn and nobodyreturn (op.me).
const GOAWAY: &[PrivacyFlag] = &[
    F::NeedMailHelo,
    F::NeedExpnHelo,
    F::NeedVrfyHelo,
    F::NoExpn,
    F::NoVrfy,
    F::NoVerb,
    F::AuthWarnings,
    F::NoActualRecipient,
];

impl Privacy {
    /// Whether the flag is set.
    #[must_use]
    pub fn has(self, flag: PrivacyFlag) -> bool {
        self.0 & flag as u32 != 0
    }

    /// Sets the flag.
    pub fn add(&mut self, flag: PrivacyFlag) {
        self.0 |= flag as u32;
    }
}

impl OptionValue for Privacy {
    const KIND: &'static str = "flags";

    fn read(text: &str) -> Result<Self, &'static str> {
        let mut flags = Privacy::default();
        for word in text.split([',', ' ', '\t', '\n']).filter(|w| !w.is_empty()) {
            let known = WORDS
                .iter()
                .find(|(name, _)| word.eq_ignore_ascii_case(name));
            match known {
                Some((_, flag)) => flags.add(*flag),
                None if word.eq_ignore_ascii_case("goaway") => {
                    GOAWAY.iter().for_each(|flag| flags.add(*flag));
                }
                None if word.eq_ignore_ascii_case("public") => {}
                None => return Err("expected words such as authwarnings, noexpn, novrfy, goaway"),
            }
        }
        Ok(flags)
    }

    fn write(&self) -> String {
        let words: Vec<&str> = WORDS
            .iter()
            .filter(|(_, flag)| self.has(*flag))
            .map(|(name, _)| *name)
            .collect();
        words.join(",")
    }

    fn join(&mut self, more: Self) {
        self.0 |= more.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goaway_is_a_set_and_unknown_words_are_refused() {
        let flags = Privacy::read("goaway, noetrn").unwrap();
        assert!(flags.has(F::NoVrfy) && flags.has(F::NoEtrn) && !flags.has(F::RestrictQrun));
        assert_eq!(Privacy::read("public").unwrap(), Privacy::default());
        assert!(Privacy::read("novrfy,nonsense").is_err());
        assert_eq!(
            Privacy::read("NoExpn authwarnings").unwrap().write(),
            "noexpn,authwarnings"
        );
    }
}
