//! The FEATUREs of a site, with their arguments.

use super::maps::MapSpec;
use super::regex_map::RegexMap;

/// What FEATURE lines switch on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Features {
    // -- tables
    /// `access_db`.
    pub access: Option<AccessDb>,
    /// `mailertable`.
    pub mailertable: Option<MapSpec>,
    /// `virtusertable`.
    pub virtusertable: Option<MapSpec>,
    /// `virtuser_entire_domain`: `$={VirtHost}` matches subdomains too.
    pub virtuser_entire_domain: bool,
    /// `genericstable`.
    pub genericstable: Option<MapSpec>,
    /// `generics_entire_domain`: `$=G` matches subdomains too.
    pub generics_entire_domain: bool,
    /// `domaintable`.
    pub domaintable: Option<MapSpec>,
    /// `authinfo`.
    pub authinfo: Option<MapSpec>,
    /// `uucpdomain` and `bitdomain`: kept, but no rule asks them.
    pub uucpdomain: Option<MapSpec>,
    /// See [`uucpdomain`](Features::uucpdomain).
    pub bitdomain: Option<MapSpec>,

    // -- who may connect and send
    /// `blocklist_recipients` (`blacklist_recipients`): the access map is asked about recipients too.
    pub blocklist_recipients: bool,
    /// `delay_checks`: check_relay and check_mail wait for RCPT.
    pub delay_checks: Option<DelayChecks>,
    /// `accept_unresolvable_domains`.
    pub accept_unresolvable_domains: bool,
    /// `accept_unqualified_senders`.
    pub accept_unqualified_senders: bool,
    /// `require_rdns`: the client's address must resolve to a name and back.
    pub require_rdns: bool,
    /// `use_client_ptr`: `${client_ptr}` instead of `${client_name}` in check_relay.
    pub use_client_ptr: bool,
    /// `block_bad_helo`.
    pub block_bad_helo: bool,
    /// `badmx`: the regular expression that unwanted MX addresses match, a dot behind each.
    pub badmx: Option<RegexMap>,
    /// `dnsbl`, `enhdnsbl` and `rhsbl`, in order.
    pub dns_lists: Vec<DnsList>,
    /// `greet_pause`.
    pub greet_pause: Option<GreetPause>,
    /// `ratecontrol`.
    pub ratecontrol: Option<Control>,
    /// `conncontrol`.
    pub conncontrol: Option<Control>,
    /// `compat_check`: `Compat:sender<@>recipient` entries of the access map.
    pub compat_check: bool,
    /// `check_other`: the regular expression of bad commands that end a session.
    pub check_other: Option<RegexMap>,

    // -- who may relay
    /// `relay_entire_domain`: hosts of our domains `$=m` may relay.
    pub relay_entire_domain: bool,
    /// `relay_hosts_only`: `$=R` and the access map name hosts, not domains.
    pub relay_hosts_only: bool,
    /// `relay_mail_from`: a sender that the access map lets relay may.
    pub relay_mail_from: Option<RelayMailFrom>,
    /// `relay_local_from`: whoever claims a local sender may relay.
    pub relay_local_from: bool,
    /// `relay_based_on_MX`: hosts whose MX we are may be relayed to.
    pub relay_based_on_mx: bool,
    /// `promiscuous_relay`: everybody may relay.
    pub promiscuous_relay: bool,
    /// `loose_relay_check`: `user%site@other` is judged by the last part only.
    pub loose_relay_check: bool,

    // -- TLS
    /// `tls_session_features`: `TLS_Srv_features` and `TLS_Clt_features` entries are asked.
    pub tls_session_features: bool,
    /// `check_cert_altnames`.
    pub check_cert_altnames: bool,
    /// `_CERT_REGEX_ISSUER_`: what of a certificate's issuer the access map is asked for.
    pub cert_issuer: Option<RegexMap>,
    /// `_CERT_REGEX_SUBJECT_`: what of its subject.
    pub cert_subject: Option<RegexMap>,
    /// `TLS_PERM_ERR`: TLS that is not good enough is refused for good where no entry says otherwise.
    pub tls_perm_err: bool,

    // -- names and addresses
    /// `use_cw_file`: class w is also read from `confCW_FILE`.
    pub use_cw_file: bool,
    /// `use_ct_file`: class t is also read from `confCT_FILE`.
    pub use_ct_file: bool,
    /// `always_add_domain`: unqualified names get this domain; empty means the host name.
    pub always_add_domain: Option<String>,
    /// `nouucp`.
    pub nouucp: Option<Bang>,
    /// `nopercenthack`.
    pub nopercenthack: Option<Bang>,
    /// `nocanonify`.
    pub nocanonify: Option<NoCanonify>,
    /// `stickyhost`: `user@here` goes to MAIL_HUB, not to LOCAL_RELAY or an alias.
    pub stickyhost: bool,
    /// `preserve_local_plus_detail`: `+detail` stays on for local delivery.
    pub preserve_local_plus_detail: bool,
    /// `preserve_luser_host`.
    pub preserve_luser_host: bool,
    /// `redirect`: `address.REDIRECT` is answered 551.
    pub redirect: bool,

    // -- delivery
    /// `local_procmail`, `local_lmtp`: what the local mailer is.
    pub local: LocalDelivery,
    /// `smrsh`: path of the restricted shell of the prog mailer.
    pub smrsh: Option<String>,
    /// `no_default_msa`: no listener on port 587 by itself.
    pub no_default_msa: bool,
    /// `nullclient`: everything goes to this hub.
    pub nullclient: Option<String>,
    /// `msp`: this file describes a submission program, which has no listeners of its own.
    pub msp: Option<String>,
}

impl Features {
    /// The tables, each with the name of its FEATURE.
    pub fn tables(&self) -> impl Iterator<Item = (&'static str, &MapSpec)> {
        let all = [
            ("access_db", self.access.as_ref().map(|access| &access.map)),
            ("mailertable", self.mailertable.as_ref()),
            ("virtusertable", self.virtusertable.as_ref()),
            ("genericstable", self.genericstable.as_ref()),
            ("domaintable", self.domaintable.as_ref()),
            ("authinfo", self.authinfo.as_ref()),
        ];
        all.into_iter().filter_map(|(name, map)| Some((name, map?)))
    }
}

/// `FEATURE(access_db, map, option...)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessDb {
    /// The map.
    pub map: MapSpec,
    /// `skip`: SKIP stops the walk over parent domains.
    pub skip: bool,
    /// `lookupdotdomain`: `.domain` is asked before each parent domain.
    pub lookup_dot_domain: bool,
    /// `relaytofulladdress`: `To:user@domain RELAY` is honoured.
    pub relay_to_full_address: bool,
}

/// `FEATURE(delay_checks, mode, no_compatibility)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayChecks {
    /// First argument.
    pub mode: DelayMode,
    /// No second argument: `To:` and untagged `SPAMFRIEND`, `SPAMHATER` entries are also understood.
    pub compatible_8_10: bool,
}

/// Who is spared, or subjected to, the delayed checks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DelayMode {
    /// Everybody is subject to them.
    Plain,
    /// `friend`: recipients marked `Spam:... FRIEND` are spared.
    Friend,
    /// `hater`: only recipients marked `Spam:... HATER` are subject to them.
    Hater,
}

/// Text of a reply as the configuration holds it: quoted strings, bare words and macros, as in
/// `"550 Rejected: " $&{client_addr} " listed at bl.example"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyText(pub String);

/// A piece of a [`ReplyText`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyPiece<'a> {
    /// Text as it stands; of quoted strings what is between the quotes.
    Text(&'a str),
    /// The value of a macro: `client_addr` for `$&{client_addr}` and `${client_addr}`, `j` for `$j`.
    Macro(&'a str),
}

/// One `dnsbl`, `enhdnsbl` or `rhsbl`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsList {
    /// Which feature.
    pub kind: DnsListKind,
    /// The zone that is asked below.
    pub zone: String,
    /// What a listed client is told.
    pub action: DnsListAction,
    /// What a client is told when the zone gives no answer; none lets it pass.
    pub on_temporary_failure: Option<ReplyText>,
    /// `enhdnsbl`: only these answers count, each as an address or a pattern of sendmail's rules; empty for any.
    pub results: Vec<String>,
}

/// The DNS list features.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DnsListKind {
    /// `dnsbl`: by client address, any answer counts.
    Dnsbl,
    /// `enhdnsbl`: by client address and answer.
    EnhDnsbl,
    /// `rhsbl`: by sender domain.
    Rhsbl,
}

/// What happens to what is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DnsListAction {
    /// Refuse with this text.
    Reject(ReplyText),
    /// Accept into quarantine, with the zone as the reason.
    Quarantine,
    /// Accept and drop.
    Discard,
}

/// `FEATURE(greet_pause, milliseconds)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GreetPause {
    /// The pause of clients about which the access map says nothing; none for no pause.
    pub milliseconds: Option<u64>,
    /// Whether the access map is asked (it was defined before).
    pub asks_access: bool,
}

/// `FEATURE(ratecontrol)` and `FEATURE(conncontrol)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Control {
    /// `nodelay`: at once, even with delay_checks.
    pub at_once: bool,
    /// `terminate`: answer 421 and close; else 452.
    pub terminate: bool,
}

/// `FEATURE(relay_mail_from, domain)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayMailFrom {
    /// Only `From:user@domain RELAY`.
    Address,
    /// `domain`: also `From:domain RELAY`.
    Domain,
}

/// What becomes of `!` (nouucp) or `%` (nopercenthack) in addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bang {
    /// `reject`: such local parts are refused.
    Reject,
    /// `nospecial`: the character means nothing.
    NoSpecial,
}

/// `FEATURE(nocanonify, canonify_hosts)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoCanonify {
    /// Unqualified names are still made canonical.
    pub canonify_hosts: bool,
}

/// What the local mailer is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LocalDelivery {
    /// `LOCAL_MAILER_PATH` and `LOCAL_MAILER_ARGS` as they stand.
    #[default]
    Program,
    /// `local_procmail`.
    Procmail,
    /// `local_lmtp`.
    Lmtp,
}

impl ReplyText {
    /// The text in pieces: quoted strings without their quotes, words, blanks and macros, in order.
    #[must_use]
    pub fn pieces(&self) -> Vec<ReplyPiece<'_>> {
        let mut pieces = Vec::new();
        let mut rest = self.0.as_str();
        while let Some(first) = rest.chars().next() {
            rest = match first {
                '"' => {
                    let body = rest.get(1..).unwrap_or_default();
                    let (text, tail) = body.split_once('"').unwrap_or((body, ""));
                    pieces.push(ReplyPiece::Text(text));
                    tail
                }
                '$' => {
                    let (name, tail) = macro_name(rest);
                    pieces.push(ReplyPiece::Macro(name));
                    tail
                }
                _ => {
                    let end = rest.find(['"', '$']).unwrap_or(rest.len());
                    let (text, tail) = rest.split_at(end);
                    pieces.push(ReplyPiece::Text(text));
                    tail
                }
            };
        }
        pieces
    }
}

/// Splits `$&{name}tail`, `${name}tail`, `$&xtail` or `$xtail` into name and tail.
fn macro_name(text: &str) -> (&str, &str) {
    let text = text.strip_prefix('$').unwrap_or(text);
    let text = text.strip_prefix('&').unwrap_or(text);
    match text.strip_prefix('{') {
        Some(braced) => braced.split_once('}').unwrap_or((braced, "")),
        None => {
            let end = text.chars().next().map_or(0, char::len_utf8);
            text.split_at(end)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ReplyPiece::{Macro, Text};
    use super::*;

    #[test]
    fn reply_texts_fall_into_pieces() {
        let text =
            ReplyText("\"550 Rejected: \" $&{client_addr} \" listed at bl.example\"".to_owned());
        assert_eq!(
            text.pieces(),
            [
                Text("550 Rejected: "),
                Text(" "),
                Macro("client_addr"),
                Text(" "),
                Text(" listed at bl.example")
            ]
        );
        let text = ReplyText("550 no $j $&f$".to_owned());
        assert_eq!(
            text.pieces(),
            [
                Text("550 no "),
                Macro("j"),
                Text(" "),
                Macro("f"),
                Macro("")
            ]
        );
        assert_eq!(ReplyText("\"open".to_owned()).pieces(), [Text("open")]);
    }
}
