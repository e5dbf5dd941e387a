//! Requests and answers of `mapctl ask`: one JSON object a line each way.
//!
//! ```text
//! {"ask":"session","session":{...}}  -> a verdict for each ruleset, and the route
//! {"ask":"expand","address":"staff"} -> {"deliver":[...],"unknown":[...],"errors":[...]}
//! {"ask":"rewrite","as":"header-sender","mailer":"esmtp","address":"joe"} -> {"result":"joe@example.org"}
//! {"ask":"query","map":"access","keys":["from:spam.example"]} -> {"found":{"from:spam.example":["REJECT"]}}
//! ```
//!
//! A request with `"trace":true` is answered with the probes too. What can't be
//! answered is answered `{"error":"..."}`, and the next request is read.

use libmaps::address::{Address, AddressError, ReversePath};
use libmaps::decision::{Asked, Decision, Found, Trace};
use libmaps::lhs::Lhs;
use libmaps::map::Map;
use libmaps::policy::expand::Expander;
use libmaps::policy::expand::include::SiteIncludes;
use libmaps::policy::facts::{Facts, Login, Resolve, Session, Tls};
use libmaps::policy::maps::Handle;
use libmaps::policy::route::MailerTriple;
use libmaps::policy::{
    Outcome, check_mail, check_rcpt, check_relay, srv_features, tls, trust_auth, try_tls,
};
use serde_json::{Map as Object, Value, json};

use crate::consult::{Consultant, Given};
use crate::serve::site_maps::is_secret;

/// Longest request, in octets.
pub const MAX_REQUEST_OCTETS: usize = 1 << 20;

/// Answers one request, given as the octets of its line.
#[must_use]
pub fn answer(consultant: &Consultant, line: &[u8]) -> Value {
    if line.len() > MAX_REQUEST_OCTETS {
        return json!({"error": format!("the request is longer than {MAX_REQUEST_OCTETS} octets")});
    }
    let answered = serde_json::from_slice(line)
        .map_err(|error| format!("not a JSON object: {error}"))
        .and_then(|request| answer_object(consultant, &request));
    answered.unwrap_or_else(|error| json!({ "error": error }))
}

fn answer_object(consultant: &Consultant, request: &Value) -> Result<Value, String> {
    let address = || text(request, "address").ok_or("address: expected a text");
    match request.get("ask").and_then(Value::as_str) {
        Some("session") => {
            let asked = request.get("session").unwrap_or(&Value::Null);
            let story = Story::parse(asked)?;
            let mut given = Given::default();
            add_given(&mut given, asked.get("dns"))?;
            let told = story.tell(consultant, &given);
            let traced = request.get("trace") == Some(&Value::Bool(true));
            Ok(told.to_json(if traced { With::Trace } else { With::Verdicts }))
        }
        Some("expand") => expand(consultant, &latin1(address()?)),
        Some("rewrite") => rewrite(consultant, request, &latin1(address()?)),
        Some("query") => query(consultant, request),
        _ => Err("ask: expected session, expand, rewrite or query".to_owned()),
    }
}

/// A session that is asked about.
#[derive(Clone, Debug)]
pub struct Story {
    /// What the rulesets are told.
    pub session: Session,
    /// The argument of MAIL.
    pub from: Result<ReversePath, AddressError>,
    /// The argument of RCPT; `None` for the empty one.
    pub to: Option<Result<Address, AddressError>>,
    /// The argument of RCPT as it was given.
    pub to_text: Vec<u8>,
    /// The AUTH= parameter of MAIL.
    pub author: String,
}

impl Story {
    /// Reads a session object.
    ///
    /// # Errors
    /// When a field has the wrong type; the text names it.
    pub fn parse(asked: &Value) -> Result<Self, String> {
        let Some(asked) = asked.as_object() else {
            return Err("session: expected an object".to_owned());
        };
        let word = |key: &str| string(asked, key);
        let from = word("mail_from")?;
        let to = word("rcpt_to")?;
        let mut session = Session {
            client_addr: word("client_addr")?,
            client_name: word("client_name")?,
            client_ptr: word("client_ptr")?,
            client_resolve: resolve(&word("client_resolve")?)?,
            client_rate: number(asked, "client_rate")?,
            client_connections: number(asked, "client_connections")?,
            helo: word("helo")?,
            daemon_flags: word("daemon_flags")?,
            server_name: word("server_name")?,
            server_addr: word("server_addr")?,
            ..Session::default()
        };
        if let Some(auth) = object(asked, "auth")? {
            session.login = Some(Login {
                mechanism: string(auth, "mechanism")?,
                authid: string(auth, "authid")?,
                author: string(auth, "author")?,
                bits: number(auth, "ssf")?,
            });
        }
        if let Some(tls) = object(asked, "tls")? {
            session.tls = Tls {
                version: string(tls, "version")?,
                cipher: string(tls, "cipher")?,
                bits: number(tls, "cipher_bits")?,
                verify: string(tls, "verify")?,
                cn_subject: string(tls, "cn_subject")?,
                cert_subject: string(tls, "cert_subject")?,
                cn_issuer: string(tls, "cn_issuer")?,
                cert_issuer: string(tls, "cert_issuer")?,
                altnames: Vec::new(),
            };
        }
        let author = match asked.get("auth_param") {
            None => "joe".to_owned(),
            Some(_) => string(asked, "auth_param")?,
        };
        Ok(Story::new(session, &from, &to, author))
    }

    /// A session with this sender and recipient, with or without angle brackets.
    #[must_use]
    pub fn new(mut session: Session, from: &str, to: &str, author: String) -> Self {
        let bare = |text: &str| {
            let inner = text.strip_prefix('<').and_then(|t| t.strip_suffix('>'));
            inner.unwrap_or(text).to_owned()
        };
        let (from, to) = (bare(from), bare(to));
        session.sender_text = format!("<{from}>");
        let to_text = latin1(&to);
        let from = ReversePath::parse(&latin1(&from));
        if let Ok(path) = &from {
            session.sender = path.clone();
        }
        Story {
            session,
            from,
            to: (!to.is_empty()).then(|| Address::parse(&to_text)),
            to_text,
            author,
        }
    }

    /// Asks every ruleset.
    #[must_use]
    pub fn tell(&self, consultant: &Consultant, given: &Given) -> Told {
        let session = &self.session;
        let mut facts = Facts::new();
        let mut rulings = Vec::new();
        let mut add = |name, decision: Decision<Outcome>| {
            rulings.push(Ruled {
                name,
                outcome: decision.outcome,
                value: None,
                trace: decision.trace,
            });
        };
        add(
            "check_relay",
            consultant.settle(given, &mut facts, |p, f| {
                check_relay::check_relay(p, session, f)
            }),
        );
        add(
            "tls_client",
            consultant.settle(given, &mut facts, |p, f| tls::tls_client(p, session, f)),
        );
        add(
            "check_mail",
            match &self.from {
                Ok(_) => consultant.settle(given, &mut facts, |p, f| {
                    check_mail::check_mail(p, session, f)
                }),
                Err(error) => Decision::new(Outcome::not_an_address(*error), Trace::new()),
            },
        );
        let bad_recipient = match &self.to {
            None => Some(Outcome::refuse("nouser", "553 User address required")),
            Some(Err(error)) => Some(Outcome::not_an_address(*error)),
            Some(Ok(_)) => None,
        };
        let mut for_recipient = |ruleset: &dyn Fn(
            libmaps::policy::Policy<'_>,
            &Facts,
            &Address,
        ) -> _| match (&bad_recipient, &self.to) {
            (None, Some(Ok(to))) => consultant.settle(given, &mut facts, |p, f| ruleset(p, f, to)),
            (bad, _) => Decision::new(bad.clone().unwrap_or(Outcome::Accept), Trace::new()),
        };
        let check_rcpt = for_recipient(&|p, f, to| check_rcpt::check_rcpt(p, session, f, to));
        let tls_rcpt = for_recipient(&|p, f, to| tls::tls_rcpt(p, session, f, to));
        add("check_rcpt", check_rcpt);
        add(
            "trust_auth",
            consultant.settle(given, &mut facts, |p, f| {
                trust_auth::trust_auth(p, session, f, self.author.as_bytes())
            }),
        );
        let features = consultant.settle(given, &mut facts, |p, f| {
            srv_features::srv_features(p, session, f)
        });
        rulings.push(Ruled {
            name: "srv_features",
            outcome: Outcome::Accept,
            value: features.outcome.unwrap_or_else(|_| Some("temp".into())),
            trace: features.trace,
        });
        let mut add = |name, decision: Decision<Outcome>| {
            rulings.push(Ruled {
                name,
                outcome: decision.outcome,
                value: None,
                trace: decision.trace,
            });
        };
        add(
            "try_tls",
            consultant.settle(given, &mut facts, |p, f| try_tls::try_tls(p, session, f)),
        );
        add(
            "tls_server",
            consultant.settle(given, &mut facts, |p, f| tls::tls_server(p, session, f)),
        );
        add("tls_rcpt", tls_rcpt);
        let names = consultant.names(given);
        let route = consultant
            .addressing(&names, &session.daemon_flags)
            .route(&self.to_text)
            .map_err(|error| error.to_string());
        Told { rulings, route }
    }
}

/// One ruleset's decision.
#[derive(Clone, Debug)]
pub struct Ruled {
    /// The ruleset.
    pub name: &'static str,
    /// What it decided.
    pub outcome: Outcome,
    /// The letters of srv_features.
    pub value: Option<Box<str>>,
    /// Why.
    pub trace: Trace,
}

/// All decisions of a session.
#[derive(Clone, Debug)]
pub struct Told {
    /// By ruleset, in the order of a session.
    pub rulings: Vec<Ruled>,
    /// Where the recipient's mail goes.
    pub route: Result<Decision<MailerTriple>, String>,
}

/// How much of an answer is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum With {
    /// The verdicts.
    Verdicts,
    /// Every probe as well.
    Trace,
}

impl Told {
    /// The answer object.
    #[must_use]
    pub fn to_json(&self, with: With) -> Value {
        let mut answer = Object::new();
        let mut traces = Object::new();
        for ruled in &self.rulings {
            let mut value = verdict(&ruled.outcome);
            if let (Some(letters), Some(object)) = (&ruled.value, value.as_object_mut()) {
                object.insert("value".to_owned(), json!(&**letters));
            }
            answer.insert(ruled.name.to_owned(), value);
            traces.insert(ruled.name.to_owned(), trace_json(&ruled.trace));
        }
        let route = match &self.route {
            Ok(decision) => {
                traces.insert("route".to_owned(), trace_json(&decision.trace));
                triple(&decision.outcome)
            }
            Err(error) => json!({"error": error}),
        };
        answer.insert("route".to_owned(), route);
        if with == With::Trace {
            answer.insert("trace".to_owned(), Value::Object(traces));
        }
        Value::Object(answer)
    }
}

fn verdict(outcome: &Outcome) -> Value {
    match outcome {
        Outcome::Accept => json!({"action": "accept"}),
        Outcome::Discard => json!({"action": "discard"}),
        Outcome::Quarantine(reason) => json!({"action": "quarantine", "reason": &**reason}),
        Outcome::Refuse(refusal) => {
            json!({"action": "error", "at": &*refusal.at, "message": &*refusal.text})
        }
        Outcome::Delayed => Value::Null,
    }
}

fn trace_json(trace: &Trace) -> Value {
    trace
        .probes()
        .map(|probe| {
            let kind = match &probe.asked {
                Asked::Map(_) => "map",
                Asked::Class(_) => "class",
                Asked::Fact(_) => "fact",
                _ => "ruleset",
            };
            let found = match &probe.found {
                Found::Nothing => Value::Null,
                found => json!(found.to_string()),
            };
            json!({
                kind: probe.asked.to_string(),
                "lhs": probe.lhs.to_string(),
                "step": probe.step.to_string(),
                "found": found,
            })
        })
        .collect()
}

fn triple(triple: &MailerTriple) -> Value {
    if triple.leads_nowhere() {
        return json!({"mailer": triple.mailer, "host": "", "user": ""});
    }
    json!({
        "mailer": triple.mailer,
        "host": shown(&triple.host),
        "user": shown(&triple.user),
    })
}

fn expand(consultant: &Consultant, address: &[u8]) -> Result<Value, String> {
    let given = Given::default();
    let names = consultant.names(&given);
    let aliases = consultant.maps.alias_table();
    let expander = Expander {
        addressing: consultant.addressing(&names, ""),
        aliases: &aliases,
        users: &consultant.users,
        includes: &SiteIncludes {
            site: &consultant.site,
        },
    };
    let expansion = expander.expand(address).map_err(|e| e.to_string())?;
    let deliver: Vec<Value> = expansion.deliver().into_iter().map(triple).collect();
    Ok(json!({
        "deliver": deliver,
        "unknown": expansion.unknown(),
        "errors": expansion.errors(),
    }))
}

fn rewrite(consultant: &Consultant, request: &Value, address: &[u8]) -> Result<Value, String> {
    let role = text(request, "as")
        .ok_or("as: expected a text")?
        .parse()
        .map_err(|error| format!("as: {error}"))?;
    let name = text(request, "mailer").ok_or("mailer: expected a text")?;
    let mailer = consultant.site.mailers.get(name);
    let mailer = mailer.ok_or_else(|| format!("mailer: the site has no mailer {name}"))?;
    let given = Given::default();
    let names = consultant.names(&given);
    let decision = consultant
        .addressing(&names, "")
        .rewrite(role, mailer, address)
        .map_err(|error| error.to_string())?;
    Ok(json!({ "result": shown(&decision.outcome) }))
}

fn query(consultant: &Consultant, request: &Value) -> Result<Value, String> {
    let maps = &consultant.maps;
    let name = text(request, "map").ok_or("map: expected the name of a map")?;
    let handles: Vec<&Handle> = match name {
        "access" => maps.access.iter().collect(),
        "authinfo" => return Err("map: authinfo holds passwords and is not shown".to_owned()),
        "mailertable" => maps.mailertable.iter().collect(),
        "virtusertable" => maps.virtusertable.iter().collect(),
        "genericstable" => maps.genericstable.iter().collect(),
        "domaintable" => maps.domaintable.iter().collect(),
        "aliases" => maps.aliases.iter().collect(),
        _ => Vec::new(),
    };
    if handles.is_empty() {
        return Err(format!("map: the site has no map {name}"));
    }
    let keys = request.get("keys").and_then(Value::as_array);
    let mut found = Object::new();
    for key in keys.ok_or("keys: expected a list of texts")? {
        let key = key.as_str().ok_or("keys: expected a list of texts")?;
        let lhs = Lhs::folded(&latin1(key));
        if name == "access" && is_secret(lhs.as_bytes()) {
            return Err("keys: AuthInfo entries hold passwords and are not shown".to_owned());
        }
        let mut all = Vec::new();
        // Of several alias files, the first that has the key.
        for handle in &handles {
            let values = handle.map().get_all(lhs.as_bytes());
            all = values.map_err(|error| error.to_string())?;
            if !all.is_empty() {
                break;
            }
        }
        let all: Vec<String> = all.iter().map(|rhs| shown(rhs.as_bytes())).collect();
        found.insert(key.to_owned(), json!(all));
    }
    Ok(json!({ "found": found }))
}

/// Reads the `dns` field: `{"name a":["192.0.2.1"], "name mx":[], "name host":["TEMP"]}`.
fn add_given(given: &mut Given, dns: Option<&Value>) -> Result<(), String> {
    let Some(dns) = dns else { return Ok(()) };
    let dns = dns.as_object().ok_or("dns: expected an object")?;
    for (question, answers) in dns {
        let answers = answers.as_array().ok_or("dns: expected lists of texts")?;
        let answers = answers
            .iter()
            .map(|answer| answer.as_str().map(str::to_owned));
        let answers: Option<Vec<String>> = answers.collect();
        given.add(question, answers.ok_or("dns: expected lists of texts")?)?;
    }
    Ok(())
}

/// `${client_resolve}` by sendmail's word; empty means that it resolves.
///
/// # Errors
/// When it is another word.
pub fn resolve(word: &str) -> Result<Resolve, String> {
    match word {
        "" | "OK" => Ok(Resolve::Ok),
        "FAIL" => Ok(Resolve::Fail),
        "FORGED" => Ok(Resolve::Forged),
        "TEMP" => Ok(Resolve::Temp),
        _ => Err("client_resolve: expected OK, FAIL, FORGED or TEMP".to_owned()),
    }
}

fn text<'a>(object: &'a Value, key: &str) -> Option<&'a str> {
    object.get(key).and_then(Value::as_str)
}

fn object<'a>(
    object: &'a Object<String, Value>,
    key: &str,
) -> Result<Option<&'a Object<String, Value>>, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(inner)) => Ok(Some(inner)),
        Some(_) => Err(format!("{key}: expected an object")),
    }
}

/// A text field; absent is empty.
fn string(object: &Object<String, Value>, key: &str) -> Result<String, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(String::new()),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(format!("{key}: expected a text")),
    }
}

/// A count; absent is 0.
fn number(object: &Object<String, Value>, key: &str) -> Result<u32, String> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value
            .as_u64()
            .and_then(|n| u32::try_from(n).ok())
            .ok_or_else(|| format!("{key}: expected a number")),
    }
}

/// Octets of a request's text: characters to U+00FF are octets, so that every octet can be asked about; others are
/// taken as UTF-8.
fn latin1(text: &str) -> Vec<u8> {
    if text.chars().all(|c| u32::from(c) < 0x100) {
        text.chars()
            .filter_map(|c| u8::try_from(u32::from(c)).ok())
            .collect()
    } else {
        text.as_bytes().to_vec()
    }
}

/// Octets as text, the other way round.
fn shown(octets: &[u8]) -> String {
    match std::str::from_utf8(octets) {
        Ok(text) if octets.is_ascii() => text.to_owned(),
        _ => octets.iter().map(|&octet| char::from(octet)).collect(),
    }
}
