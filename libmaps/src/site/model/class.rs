//! Classes: the sets of words that rules match against.

use std::collections::HashSet;

/// A class such as `$=w`; words are compared without regard to the case of ASCII letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Class {
    words: HashSet<Box<[u8]>>,
    /// A bit for each length that a word has; the last one stands for all longer ones too. Most
    /// of what is asked for is told by it to be no word.
    lengths: u64,
}

/// The bit of a length.
fn bit_of(octets: usize) -> u64 {
    1 << octets.min(63)
}

impl Class {
    /// Adds a word.
    pub fn insert(&mut self, word: &[u8]) {
        self.lengths |= bit_of(word.len());
        self.words.insert(word.to_ascii_lowercase().into());
    }

    /// Whether the word is in the class.
    #[must_use]
    pub fn contains(&self, word: &[u8]) -> bool {
        if self.lengths & bit_of(word.len()) == 0 {
            false
        } else if word.iter().any(u8::is_ascii_uppercase) {
            self.words.contains(word.to_ascii_lowercase().as_slice())
        } else {
            self.words.contains(word)
        }
    }

    /// How many words there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.words.len()
    }

    /// Whether there is no word.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The words, sorted.
    #[must_use]
    pub fn sorted(&self) -> Vec<&[u8]> {
        let mut words: Vec<&[u8]> = self.words.iter().map(AsRef::as_ref).collect();
        words.sort_unstable();
        words
    }

    /// The words in no order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.words.iter().map(AsRef::as_ref)
    }
}

impl<'a> Extend<&'a [u8]> for Class {
    fn extend<T: IntoIterator<Item = &'a [u8]>>(&mut self, words: T) {
        words.into_iter().for_each(|word| self.insert(word));
    }
}

/// The classes of a site, by what they are for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// `$=w`: names of this host; mail to them is local. Domain literals stand with their brackets.
    pub local_hosts: Class,
    /// `$=m`: domains this host is in.
    pub local_domains: Class,
    /// `$=t`: users who may set the sender freely.
    pub trusted_users: Class,
    /// `$=R`: domains and networks for which, and from which, relaying is allowed (with the words of
    /// [`virtual_hosts`](Classes::virtual_hosts), which sendmail's rules include).
    pub relay_domains: Class,
    /// `$=M`: domains that are masqueraded.
    pub masquerade_domains: Class,
    /// `$=N`: domains that never are.
    pub masquerade_exceptions: Class,
    /// `$=E`: users that are shown as from this host.
    pub exposed_users: Class,
    /// `$=G`: domains the genericstable is asked for, besides this host.
    pub generics_domains: Class,
    /// `$={VirtHost}`: domains the virtusertable is asked for, besides `$=w`.
    pub virtual_hosts: Class,
    /// `$=L`: users delivered here whatever LUSER_RELAY, MAIL_HUB or LOCAL_RELAY say.
    pub local_users: Class,
    /// `$={Canonify}`: domains that are made canonical in spite of FEATURE(nocanonify).
    pub canonify_domains: Class,
    /// `$=P`: endings that make a name canonical without asking: `.`, and pseudo-domains such as `REDIRECT`.
    pub pseudo_domains: Class,
    /// `$={TrustAuthMech}`: mechanisms that allow relaying.
    pub trusted_mechanisms: Class,
    /// `$={Accept}`: access RHS that mean yes, where the site adds words of its own.
    pub accept_words: Class,
}

impl Classes {
    /// The class that sendmail knows by this name, if a rule of ours asks it.
    pub fn named_mut(&mut self, name: &str) -> Option<&mut Class> {
        Some(match name {
            "w" => &mut self.local_hosts,
            "m" => &mut self.local_domains,
            "t" => &mut self.trusted_users,
            "R" => &mut self.relay_domains,
            "M" => &mut self.masquerade_domains,
            "N" => &mut self.masquerade_exceptions,
            "E" => &mut self.exposed_users,
            "G" => &mut self.generics_domains,
            "VirtHost" => &mut self.virtual_hosts,
            "L" => &mut self.local_users,
            "Canonify" => &mut self.canonify_domains,
            "P" => &mut self.pseudo_domains,
            "TrustAuthMech" => &mut self.trusted_mechanisms,
            "Accept" => &mut self.accept_words,
            _ => return None,
        })
    }
}
