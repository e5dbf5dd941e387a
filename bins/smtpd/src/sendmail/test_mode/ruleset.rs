//! Rulesets by name or number, one after the other on the same workspace.

use std::io::{self, Write};

use libmaps::address::{Address, ReversePath};
use libmaps::decision::{Decision, Trace};
use libmaps::policy::facts::{Facts, Session};
use libmaps::policy::{
    Outcome, Policy, Ruling, check_compat, check_mail, check_rcpt, check_relay, srv_features, tls,
    trust_auth, try_tls,
};
use tools::consult::Given;

use super::{Shell, print_trace, trace_line, workspace};

/// Highest ruleset number that sendmail's test mode takes.
const MAX_NUMBER: u32 = 499;

/// A ruleset that this suite has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ruleset {
    Canonify,
    Parse,
    Localaddr,
    Final,
    /// Does nothing: rulesets 1, 2 and those without rules, and `translate`, which how-tos
    /// define so that `$|` can be typed.
    Nothing,
    CheckRelay,
    CheckMail,
    CheckRcpt,
    CheckCompat,
    TrustAuth,
    SrvFeatures,
    TryTls,
    TlsClient,
    TlsServer,
    TlsRcpt,
}

/// The ruleset of a name or number, and the name that is printed.
fn ruleset(word: &str) -> Option<(Ruleset, String)> {
    if let Ok(number) = word.parse::<u32>() {
        let known = match number {
            0 => (Ruleset::Parse, "parse".to_owned()),
            3 => (Ruleset::Canonify, "canonify".to_owned()),
            4 => (Ruleset::Final, "final".to_owned()),
            5 => (Ruleset::Localaddr, "localaddr".to_owned()),
            other if other <= MAX_NUMBER => (Ruleset::Nothing, other.to_string()),
            _ => return None,
        };
        return Some(known);
    }
    let found = match word {
        "canonify" => Ruleset::Canonify,
        "parse" => Ruleset::Parse,
        "localaddr" => Ruleset::Localaddr,
        "final" => Ruleset::Final,
        "translate" | "Stranslate" => Ruleset::Nothing,
        "check_relay" | "Basic_check_relay" => Ruleset::CheckRelay,
        "check_mail" | "Basic_check_mail" => Ruleset::CheckMail,
        "check_rcpt" | "Basic_check_rcpt" => Ruleset::CheckRcpt,
        "check_compat" => Ruleset::CheckCompat,
        "trust_auth" => Ruleset::TrustAuth,
        "srv_features" => Ruleset::SrvFeatures,
        "try_tls" => Ruleset::TryTls,
        "tls_client" => Ruleset::TlsClient,
        "tls_server" => Ruleset::TlsServer,
        "tls_rcpt" => Ruleset::TlsRcpt,
        _ => return None,
    };
    Some((found, word.to_owned()))
}

/// What a ruleset left: the workspace, and its lookups.
struct Left {
    workspace: String,
    trace: Trace,
}

impl Left {
    fn plain(workspace: impl Into<String>) -> Self {
        Left {
            workspace: workspace.into(),
            trace: Trace::new(),
        }
    }
}

impl Shell {
    /// `ruleset,ruleset address, address`.
    pub(super) fn rulesets(&mut self, line: &str, out: &mut dyn Write) -> io::Result<()> {
        let (names, rest) = match line.split_once([' ', '\t']) {
            Some((names, rest)) => (names, rest.trim()),
            None => (line, ""),
        };
        if rest.is_empty() {
            return writeln!(out, "No address!");
        }
        for address in split_commas(rest) {
            let mut workspace = address.trim().to_owned();
            for name in names.split(',').filter(|n| !n.is_empty()) {
                let known = ruleset(name).filter(|(ruleset, _)| self.has(*ruleset));
                let Some((ruleset, shown)) = known else {
                    writeln!(out, "Undefined ruleset {name}")?;
                    break;
                };
                trace_line(out, &shown, "input", &workspace)?;
                match self.run(ruleset, &workspace) {
                    Ok(left) => {
                        trace_line(out, &shown, "returns", &left.workspace)?;
                        print_trace(out, &left.trace)?;
                        workspace = left.workspace;
                    }
                    Err(why) => {
                        writeln!(out, "{}... {why}", address.trim())?;
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// check_compat comes with a FEATURE.
    fn has(&self, ruleset: Ruleset) -> bool {
        ruleset != Ruleset::CheckCompat || self.consultant.site.features.compat_check
    }

    fn run(&self, ruleset: Ruleset, input: &str) -> Result<Left, String> {
        let session = self.macros.session();
        match ruleset {
            Ruleset::Nothing => Ok(Left::plain(input)),
            Ruleset::Canonify => self.canonify(input),
            Ruleset::Parse => self.parse(input),
            Ruleset::Localaddr => self.localaddr(input),
            Ruleset::Final => {
                let here = &self.consultant.site.host_name;
                Ok(Left::plain(workspace::external(input, here)))
            }
            Ruleset::CheckRelay => {
                let (name, addr) = pair(input);
                let session = Session {
                    client_name: name.clone(),
                    client_ptr: name,
                    client_addr: addr,
                    ..session
                };
                Ok(self.ask(|p, f| check_relay::check_relay(p, &session, f)))
            }
            Ruleset::CheckMail => {
                let bare = bare(input);
                let sender = ReversePath::parse(bare.as_bytes()).map_err(|e| e.to_string())?;
                let session = Session {
                    sender,
                    sender_text: format!("<{bare}>"),
                    ..session
                };
                Ok(self.ask(|p, f| check_mail::check_mail(p, &session, f)))
            }
            Ruleset::CheckRcpt => {
                let to = address(input)?;
                Ok(self.ask(|p, f| check_rcpt::check_rcpt(p, &session, f, &to)))
            }
            Ruleset::TlsRcpt => {
                let to = address(input)?;
                Ok(self.ask(|p, f| tls::tls_rcpt(p, &session, f, &to)))
            }
            Ruleset::CheckCompat => {
                let (from, to) = pair(input);
                Ok(self.ask(|p, f| {
                    check_compat::check_compat(p, &session, f, from.as_bytes(), to.as_bytes())
                }))
            }
            Ruleset::TrustAuth => {
                Ok(self.ask(|p, f| trust_auth::trust_auth(p, &session, f, input.as_bytes())))
            }
            Ruleset::SrvFeatures => {
                let told = self.settle(|p, f| srv_features::srv_features(p, &session, f));
                Ok(Left {
                    workspace: match told.outcome {
                        Ok(Some(letters)) => format!("$# {letters}"),
                        Ok(None) => "OK".to_owned(),
                        Err(_) => "$# temp".to_owned(),
                    },
                    trace: told.trace,
                })
            }
            Ruleset::TryTls => Ok(self.ask(|p, f| try_tls::try_tls(p, &session, f))),
            Ruleset::TlsClient => {
                // `${verify} $| MAIL` and `${verify} $| STARTTLS`: what is typed counts.
                let (verify, _) = pair(input);
                let tls = libmaps::policy::facts::Tls {
                    verify,
                    ..session.tls.clone()
                };
                let session = Session { tls, ..session };
                Ok(self.ask(|p, f| tls::tls_client(p, &session, f)))
            }
            Ruleset::TlsServer => {
                let tls = libmaps::policy::facts::Tls {
                    verify: input.trim().to_owned(),
                    ..session.tls.clone()
                };
                let session = Session { tls, ..session };
                Ok(self.ask(|p, f| tls::tls_server(p, &session, f)))
            }
        }
    }

    fn settle<T>(&self, ruleset: impl Fn(Policy<'_>, &Facts) -> Ruling<T>) -> Decision<T> {
        let mut facts = Facts::new();
        self.consultant
            .settle(&Given::default(), &mut facts, ruleset)
    }

    fn ask(&self, ruleset: impl Fn(Policy<'_>, &Facts) -> Ruling) -> Left {
        let told = self.settle(ruleset);
        Left {
            workspace: outcome(&told.outcome),
            trace: told.trace,
        }
    }

    fn canonify(&self, input: &str) -> Result<Left, String> {
        let given = Given::default();
        let names = self.consultant.names(&given);
        let addressing = self.consultant.addressing(&names, "");
        let mut trace = Trace::new();
        let read = addressing.canonify(input.as_bytes(), &mut trace);
        let canonical = read
            .map_err(|e| e.to_string())?
            .map_err(|e| e.to_string())?;
        Ok(Left {
            workspace: workspace::of_canonical(&canonical),
            trace,
        })
    }

    fn parse(&self, input: &str) -> Result<Left, String> {
        let given = Given::default();
        let names = self.consultant.names(&given);
        let addressing = self.consultant.addressing(&names, "");
        let mut trace = Trace::new();
        let canonical = workspace::to_canonical(input)?;
        let resolved = addressing.parse(canonical, &mut trace);
        let resolved = resolved.map_err(|e| e.to_string())?;
        Ok(Left {
            workspace: workspace::of_resolved(&resolved),
            trace,
        })
    }

    fn localaddr(&self, input: &str) -> Result<Left, String> {
        let given = Given::default();
        let names = self.consultant.names(&given);
        let addressing = self.consultant.addressing(&names, "");
        let mut trace = Trace::new();
        let user: String = input.split_whitespace().collect();
        let found = addressing.resolve_local(user.as_bytes(), &self.consultant.users, &mut trace);
        let workspace = match found.map_err(|e| e.to_string())? {
            Some(resolved) => workspace::of_resolved(&resolved),
            None => input.to_owned(),
        };
        Ok(Left { workspace, trace })
    }
}

/// A decision as the rules leave it. Whatever lets mail through is `OK` here.
fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Accept | Outcome::Delayed => "OK".to_owned(),
        Outcome::Discard => "$# discard $: discard".to_owned(),
        Outcome::Quarantine(why) => format!("$# error $@ quarantine $: {why}"),
        Outcome::Refuse(refusal) => workspace::error(&refusal.at, &refusal.text),
    }
}

/// Both sides of `$|`.
fn pair(input: &str) -> (String, String) {
    let (left, right) = input.split_once("$|").unwrap_or((input, ""));
    (bare(left), bare(right))
}

/// Without blanks around and angle brackets.
fn bare(text: &str) -> String {
    let text = text.trim();
    let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
    inner.unwrap_or(text).trim().to_owned()
}

fn address(input: &str) -> Result<Address, String> {
    Address::parse(bare(input).as_bytes()).map_err(|e| e.to_string())
}

/// Splits at commas outside quotes and brackets.
pub(super) fn split_commas(text: &str) -> Vec<&str> {
    let (mut all, mut start) = (Vec::new(), 0);
    let (mut quoted, mut angles, mut escaped) = (false, 0usize, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '<' if !quoted => angles += 1,
            '>' if !quoted => angles = angles.saturating_sub(1),
            ',' if !quoted && angles == 0 => {
                all.extend(text.get(start..at));
                start = at + 1;
            }
            _ => {}
        }
    }
    all.extend(text.get(start..));
    all.retain(|piece| !piece.trim().is_empty());
    all
}
