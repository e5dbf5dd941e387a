//! One recipient after the other: the walk behind [`Expander::expand`].

mod loops;
mod sources;

use std::sync::Arc;

use crate::decision::{LookupError, Trace};
use crate::map::Map;
use crate::policy::route::localaddr::{FullNames, LocalName, find_user};
use crate::policy::route::{Delivery, MailerTriple, Routed};
use crate::site::shells::Shells;
use crate::site::users::User;
use crate::table::aliases::{Separator, addresses};
use crate::tokens::strip_quotes;

use super::include::lines;
use super::queued::{Key, Queued};
use super::trust::Trust;
use super::{Expander, Expansion, FORWARD, MAX_PROBES, MAX_RECIPIENTS, Place, Recipient, State};

/// An expansion at work.
pub(super) struct Run<'a, 'b, M, A> {
    pub(super) expander: &'a Expander<'b, M, A>,
    pub(super) out: Expansion,
    /// What is known of each recipient beside what is told.
    pub(super) flags: Vec<Flags>,
    /// The recipients of each triple; those that were found to be duplicates are not there.
    pub(super) queued: Queued,
    pub(super) max_depth: i64,
    /// `${Host}` of FEATURE(preserve_luser_host).
    pub(super) kept_host: Vec<u8>,
    /// Whether [`MAX_RECIPIENTS`] was reached, and said.
    pub(super) full: bool,
    /// The valid shells, once somebody's was asked for.
    pub(super) shells: Option<Shells<'b>>,
}

/// What sendmail notes of a recipient.
#[derive(Clone, Copy, Default)]
pub(super) struct Flags {
    /// It was typed, or stands in the place of one that was.
    primary: bool,
    /// It is done with.
    done: bool,
    /// Something below it leads back to it.
    leads_back: bool,
    /// Ruleset 5 has nothing more to say.
    stays_here: bool,
    /// Strangers can write it: no programs and files below it.
    unsafe_list: bool,
}

/// Where a list stands.
struct List<'t> {
    text: &'t [u8],
    from: Option<usize>,
    place: Option<Place>,
    depth: i64,
}

impl<M: Map, A: Map> Run<'_, '_, M, A> {
    /// Takes the addresses that were typed.
    pub(super) fn top(&mut self, list: &[u8]) -> Result<(), LookupError> {
        let separator = Separator::guess(list);
        self.list(
            List {
                text: list,
                from: None,
                place: None,
                depth: 0,
            },
            separator,
        )
    }

    /// Takes one address.
    pub(super) fn one(&mut self, address: &[u8]) -> Result<(), LookupError> {
        let delivery = self.route(address)?;
        let new = self.add(delivery, address, None, None);
        self.recipient(new, 0)
    }

    /// Takes one address that was routed.
    pub(super) fn routed(&mut self, routed: &Routed) -> Result<(), LookupError> {
        let new = self.add(routed.delivery.clone(), &routed.address, None, None);
        self.recipient(new, 0)
    }

    /// Takes the addresses of a user's list, line by line.
    pub(super) fn below(
        &mut self,
        path: &str,
        list: &[u8],
        user: &User,
        trust: Trust,
    ) -> Result<(), LookupError> {
        let parent = Delivery {
            triple: MailerTriple {
                mailer: FORWARD.to_owned(),
                host: Vec::new(),
                user: user.name.clone().into_bytes(),
            },
            stays_here: false,
        };
        let path: Arc<str> = path.into();
        let place = |line| Place {
            path: Arc::clone(&path),
            line,
        };
        let parent = self.add(parent, user.name.as_bytes(), None, Some(place(0)));
        self.set(parent, State::Included);
        self.put_under(parent, user.uid, Some(user));
        self.note(parent, |flags| {
            flags.unsafe_list = trust == Trust::Addresses;
        });
        for (line, text) in lines(list) {
            // Users put blanks before it, too.
            if self.full || text.trim_ascii_start().starts_with(b"#") {
                continue;
            }
            let list = List {
                text,
                from: Some(parent),
                place: Some(place(line)),
                depth: 1,
            };
            self.list(list, Separator::Comma)?;
        }
        Ok(())
    }

    /// Says whose list a recipient is.
    fn put_under(&mut self, at: usize, uid: u32, user: Option<&User>) {
        if let Some(recipient) = self.out.recipients.get_mut(at) {
            recipient.list_owner = (uid != 0).then_some(uid);
            recipient.controller = user.map(|user| user.name.as_str().into());
        }
    }

    /// Routes every address of a list, then takes one after the other, the last first.
    fn list(&mut self, list: List<'_>, separator: Separator) -> Result<(), LookupError> {
        let mut taken = Vec::new();
        for address in addresses(list.text, separator) {
            if self.out.recipients.len() >= MAX_RECIPIENTS {
                if !self.full {
                    self.full = true;
                    let error =
                        format!("more than {MAX_RECIPIENTS} addresses, the rest is left out");
                    self.out.errors.push(error);
                }
                break;
            }
            let delivery = self.route(address)?;
            let new = self.add(delivery, address, list.from, list.place.clone());
            if let Some(parent) = list.from {
                if self.same(parent, new) {
                    self.note(parent, |flags| flags.leads_back = true);
                }
                if let Some(kept) = self.loop_ends_at(new)? {
                    let stays_here = self.flags(new).stays_here;
                    self.note(kept, |flags| {
                        flags.leads_back = true;
                        flags.stays_here |= stays_here;
                    });
                    self.set(new, State::Loop);
                    continue;
                }
            }
            taken.push(new);
        }
        for new in taken.into_iter().rev() {
            self.recipient(new, list.depth)?;
        }
        Ok(())
    }

    /// Where an address goes. One that leads in a circle through the tables is refused, not the
    /// whole expansion.
    fn route(&mut self, address: &[u8]) -> Result<Delivery, LookupError> {
        let mut trace = Trace::new();
        let found = self.expander.addressing.deliver_to(address, &mut trace);
        self.keep(trace);
        match found {
            Err(error @ LookupError::Loop { .. }) => Ok(Delivery {
                triple: MailerTriple {
                    mailer: "error".to_owned(),
                    host: b"5.4.6".to_vec(),
                    user: error.to_string().into_bytes(),
                },
                stays_here: false,
            }),
            found => found,
        }
    }

    fn add(
        &mut self,
        delivery: Delivery,
        address: &[u8],
        from: Option<usize>,
        place: Option<Place>,
    ) -> usize {
        let above = from.and_then(|from| self.out.recipients.get(from));
        let list_owner = above.and_then(|above| above.list_owner);
        let controller = above.and_then(|above| above.controller.clone());
        self.out.recipients.push(Recipient {
            list_owner,
            controller,
            address: address.to_vec(),
            place,
            triple: delivery.triple,
            from,
            state: State::Deliver,
            owner: None,
        });
        self.flags.push(Flags {
            stays_here: delivery.stays_here,
            ..Flags::default()
        });
        self.out.recipients.len() - 1
    }

    /// Takes a recipient: drops it if it is there already, else finds out what it stands for.
    fn recipient(&mut self, new: usize, depth: i64) -> Result<(), LookupError> {
        if depth == 0 {
            self.note(new, |flags| flags.primary = true);
            self.kept_host.clear();
        }
        if depth > self.max_depth {
            let why = format!(
                "aliasing/forwarding loop broken ({depth} aliases deep; {} max)",
                self.max_depth
            );
            self.set(new, State::Refused(why));
            return Ok(());
        }
        let triple = self.triple(new);
        if triple.is_error() {
            self.set(new, refusal(&triple));
        } else if triple.mailer == "prog" {
            self.check_source(new, "programs")?;
        }
        if let Some(earlier) = self.earlier(new, &triple) {
            self.merge(earlier, new);
            return Ok(());
        }
        let key = self.key(new, &triple);
        self.queued.add(key, new);
        if self.is(new, &State::Deliver) {
            self.resolve(new, &triple, depth)?;
        }
        if self
            .out
            .recipients
            .get(new)
            .is_some_and(|r| r.from.is_none())
        {
            self.check_self_destruct(new);
        }
        self.note(new, |flags| flags.done = true);
        Ok(())
    }

    /// The recipient of the same triple that makes this one a duplicate.
    fn earlier(&self, new: usize, triple: &MailerTriple) -> Option<usize> {
        if self.queued.is_empty() {
            return None;
        }
        self.queued.of(&self.key(new, triple)).find(|earlier| {
            let flags = self.flags(*earlier);
            *earlier != new && (flags.done || !flags.primary)
        })
    }

    fn key(&self, at: usize, triple: &MailerTriple) -> Key {
        let runs = matches!(triple.mailer.as_str(), "prog" | "*file*");
        let found = self.out.recipients.get(at).filter(|_| runs);
        (triple.clone(), found.and_then(|r| r.controller.clone()))
    }

    fn merge(&mut self, earlier: usize, new: usize) {
        let (old, flags) = (self.flags(earlier), self.flags(new));
        if old.primary && old.leads_back && self.is(new, &State::Deliver) {
            self.set(earlier, State::Deliver);
        }
        if !old.primary || old.leads_back {
            self.note(earlier, |merged| {
                merged.primary |= flags.primary;
                merged.leads_back |= flags.leads_back;
                merged.stays_here |= flags.stays_here;
                merged.unsafe_list |= flags.unsafe_list;
            });
        }
        if self.is(new, &State::Deliver) {
            self.set(new, State::Duplicate);
        }
    }

    /// Includes, aliases, ruleset 5 and the list of users, in this order.
    fn resolve(
        &mut self,
        new: usize,
        triple: &MailerTriple,
        depth: i64,
    ) -> Result<(), LookupError> {
        match triple.mailer.as_str() {
            "*include*" => return self.include(new, triple, depth),
            "*file*" => self.check_source(new, "files")?,
            _ => {}
        }
        let expander = self.expander;
        let flags = expander
            .addressing
            .mailer(&triple.mailer)
            .map_or("", |kind| kind.flags);
        self.lead_on(new, triple, flags, depth)?;
        if flags.contains('w') && self.is(new, &State::Deliver) {
            let name = strip_quotes(&triple.user).into_owned();
            match self.find_user(&name)? {
                Some(user) => {
                    let by_full_name = !name.eq_ignore_ascii_case(user.as_bytes());
                    self.found(new, triple, user.into_bytes());
                    if by_full_name {
                        // He may be an alias himself, or go elsewhere.
                        let login = self.triple(new);
                        self.lead_on(new, &login, flags, depth)?;
                    }
                }
                None => self.set(new, State::Unknown),
            }
        }
        Ok(())
    }

    /// By the aliases, and by ruleset 5.
    fn lead_on(
        &mut self,
        new: usize,
        triple: &MailerTriple,
        flags: &str,
        depth: i64,
    ) -> Result<(), LookupError> {
        let quoted = triple.user.contains(&b'\\');
        if !quoted && flags.contains('A') && self.is(new, &State::Deliver) {
            self.alias(new, triple, depth)?;
        }
        if flags.contains('5') && self.is(new, &State::Deliver) && !self.flags(new).stays_here {
            self.ruleset5(new, triple, depth)?;
        }
        Ok(())
    }

    fn find_user(&self, name: &[u8]) -> Result<Option<String>, LookupError> {
        let expander = self.expander;
        find_user(
            expander.users,
            FullNames::of(expander.addressing.site),
            name,
        )
    }

    /// A user may have been found under another spelling of his name.
    fn found(&mut self, new: usize, triple: &MailerTriple, user: Vec<u8>) {
        let plain = strip_quotes(&triple.user);
        if plain.as_ref() != user.as_slice()
            && let Some(recipient) = self.out.recipients.get_mut(new)
        {
            recipient.triple.user = user;
        }
    }

    fn alias(&mut self, new: usize, triple: &MailerTriple, depth: i64) -> Result<(), LookupError> {
        let aliases = self.expander.aliases;
        let mut trace = Trace::new();
        let found = aliases.targets(&triple.user, &mut trace);
        self.keep(trace);
        let Some(targets) = found? else {
            return Ok(());
        };
        self.note(new, |flags| flags.leads_back = false);
        self.set(new, State::Alias);
        self.list(
            List {
                text: &targets,
                from: Some(new),
                place: self.out.recipients.get(new).and_then(|r| r.place.clone()),
                depth: depth + 1,
            },
            Separator::Comma,
        )?;
        if self.flags(new).leads_back && self.is(new, &State::Alias) {
            self.set(new, State::Deliver);
        }
        let mut trace = Trace::new();
        let owner = aliases.owner(&triple.user, &mut trace);
        self.keep(trace);
        if let (Some(owner), Some(recipient)) = (owner?, self.out.recipients.get_mut(new)) {
            recipient.owner = Some(owner);
        }
        Ok(())
    }

    fn ruleset5(
        &mut self,
        new: usize,
        triple: &MailerTriple,
        depth: i64,
    ) -> Result<(), LookupError> {
        let addressing = &self.expander.addressing;
        let mut trace = Trace::new();
        let name = LocalName {
            user: &triple.user,
            host: &triple.host,
            kept_host: &mut self.kept_host,
        };
        let resolved = addressing.localaddr(name, self.expander.users, &mut trace)?;
        let Some(resolved) = resolved else {
            self.keep(trace);
            return Ok(());
        };
        let delivery = addressing.finish(resolved, &mut trace)?;
        self.keep(trace);
        if delivery.triple == *triple || self.out.recipients.len() >= MAX_RECIPIENTS {
            return Ok(());
        }
        let Some(old) = self.out.recipients.get(new) else {
            return Ok(());
        };
        let (address, place) = (old.address.clone(), old.place.clone());
        let next = self.add(delivery, &address, Some(new), place);
        let old = self.flags(new);
        self.note(next, |flags| {
            flags.primary = old.primary;
            flags.unsafe_list = old.unsafe_list;
        });
        self.set(new, State::Replaced);
        self.recipient(next, depth + 1)
    }

    fn triple(&self, at: usize) -> MailerTriple {
        let found = self.out.recipients.get(at);
        found.map_or_else(
            || MailerTriple {
                mailer: String::new(),
                host: Vec::new(),
                user: Vec::new(),
            },
            |recipient| recipient.triple.clone(),
        )
    }

    fn is(&self, at: usize, state: &State) -> bool {
        self.out
            .recipients
            .get(at)
            .is_some_and(|r| r.state == *state)
    }

    fn set(&mut self, at: usize, state: State) {
        if let Some(recipient) = self.out.recipients.get_mut(at) {
            recipient.state = state;
        }
    }

    fn flags(&self, at: usize) -> Flags {
        self.flags.get(at).copied().unwrap_or_default()
    }

    fn note(&mut self, at: usize, change: impl FnOnce(&mut Flags)) {
        if let Some(flags) = self.flags.get_mut(at) {
            change(flags);
        }
    }

    fn keep(&mut self, trace: Trace) {
        let room = MAX_PROBES.saturating_sub(self.out.trace.len());
        if trace.len() <= room {
            self.out.trace.extend(trace);
        }
    }
}

/// What the error mailer says.
fn refusal(triple: &MailerTriple) -> State {
    let text = strip_quotes(&triple.user);
    let text = &*String::from_utf8_lossy(&text);
    let coded = text.len() > 3
        && text.bytes().take(3).all(|octet| octet.is_ascii_digit())
        && text.as_bytes().get(3) == Some(&b' ');
    let said = if coded {
        text.get(4..).unwrap_or(text)
    } else {
        text
    };
    if said == "User unknown" {
        return State::Unknown;
    }
    State::Refused(said.to_owned())
}
