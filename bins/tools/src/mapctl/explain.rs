//! `mapctl explain`: every decision about a session, and why.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use libmaps::policy::facts::{Counted, Login, Resolve, Session, Tls};
use libmaps::site::Site;
use libmaps::site::machine::domain_literal;
use libmaps::sysexits::SysExit;

use super::{Failure, Outcome, Style};
use crate::ask::{Story, With, resolve};
use crate::consult::{Consultant, Given};
use crate::explanation::{Explanation, Ink, Sides};

/// Explains every decision of an SMTP session: which entries were asked for, what they said, and where they stand.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "EXAMPLE:\n  mapctl explain --client-addr 203.0.113.9 --client-name host.spam.example \\\n    --from a@spam.example --rcpt b@other.example"
)]
pub(super) struct ExplainArgs {
    /// Take all paths of the site below this folder.
    #[arg(long, value_name = "DIR")]
    pub(super) root: Option<PathBuf>,
    /// Read the configuration from this file instead of /etc/mail/sendmail.mc.
    #[arg(short = 'C', long = "config", value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// Address of the client.
    #[arg(long, value_name = "IP", default_value = "203.0.113.1")]
    pub(super) client_addr: IpAddr,
    /// Name of the client; without it the address does not resolve.
    #[arg(long, value_name = "NAME")]
    pub(super) client_name: Option<String>,
    /// How the address resolves: OK, FAIL, FORGED or TEMP.
    #[arg(long, value_name = "WORD")]
    pub(super) client_resolve: Option<String>,
    /// Its connections within the window of ClientRate:.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) client_rate: u32,
    /// Its open connections, for ClientConn:.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) client_connections: u32,
    /// What the client says in HELO.
    #[arg(long, value_name = "NAME", default_value = "client.invalid")]
    pub(super) helo: String,
    /// Sender; an empty one is the null sender.
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    pub(super) from: String,
    /// Recipient.
    #[arg(long, value_name = "ADDRESS", default_value = "postmaster")]
    pub(super) rcpt: String,
    /// The session uses TLS, of this version.
    #[arg(long, value_name = "VERSION")]
    pub(super) tls_version: Option<String>,
    /// Strength of the cipher, in bits.
    #[arg(
        long,
        value_name = "BITS",
        default_value_t = 256,
        requires = "tls_version"
    )]
    pub(super) cipher_bits: u32,
    /// How the other side's certificate was verified: OK, NO, NOT, FAIL, ...
    #[arg(long, value_name = "WORD")]
    pub(super) verify: Option<String>,
    /// Common name of the certificate.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) cn_subject: String,
    /// Subject of the certificate.
    #[arg(long, value_name = "DN", default_value = "")]
    pub(super) cert_subject: String,
    /// Common name of the certificate's issuer.
    #[arg(long, value_name = "NAME", default_value = "")]
    pub(super) cn_issuer: String,
    /// Issuer of the certificate.
    #[arg(long, value_name = "DN", default_value = "")]
    pub(super) cert_issuer: String,
    /// The client has logged in as this user.
    #[arg(long, value_name = "USER")]
    pub(super) auth: Option<String>,
    /// By this mechanism.
    #[arg(
        long,
        value_name = "MECHANISM",
        default_value = "PLAIN",
        requires = "auth"
    )]
    pub(super) mech: String,
    /// Strength of the mechanism's security layer, in bits.
    #[arg(long, value_name = "BITS", default_value_t = 0, requires = "auth")]
    pub(super) ssf: u32,
    /// The AUTH= parameter of MAIL; without it trust_auth is not asked.
    #[arg(long, value_name = "ADDRESS")]
    pub(super) auth_param: Option<String>,
    /// Flags of the daemon (`Modifiers` of DAEMON_OPTIONS), such as "f" or "u".
    #[arg(long, value_name = "FLAGS", default_value = "")]
    pub(super) daemon_flags: String,
    /// Name of the server that the mail is passed on to; asks the rulesets of the client side too.
    #[arg(long, value_name = "NAME")]
    pub(super) server_name: Option<String>,
    /// Address of that server.
    #[arg(long, value_name = "IP", requires = "server_name")]
    pub(super) server_addr: Option<IpAddr>,
    /// An answer of DNS: NAME host=NAME, NAME a=IP,..., NAME mx=NAME,...; TEMP for "no answer now", nothing for "not
    /// there".
    #[arg(long, value_name = "ANSWER")]
    pub(super) dns: Vec<String>,
}

/// Runs the command.
pub(crate) fn explain(args: &ExplainArgs, style: Style, mut output: impl Write) -> Outcome {
    let consultant = Consultant::open(args.root.as_deref(), args.file.as_deref())
        .map_err(|error| Failure::Other(error.exit(), error.to_string()))?;
    let usage = |error| Failure::Other(SysExit::Usage, error);
    let given = given(args).map_err(usage)?;
    let session = session(args, &consultant.site).map_err(usage)?;
    let author = args.auth_param.clone().unwrap_or_default();
    let story = Story::new(session, &args.from, &args.rcpt, author);
    let told = story.tell(&consultant, &given);
    match style {
        Style::Json => writeln!(output, "{}", told.to_json(With::Trace))?,
        Style::Text => {
            let sides = Sides {
                server: true,
                client: args.server_name.is_some(),
                trust_auth: args.auth_param.is_some(),
            };
            let explanation = Explanation::new(&consultant.site, &story, &told, sides);
            write!(output, "{}", explanation.with(Ink::of_terminal()))?;
        }
    }
    output.flush()?;
    Ok(SysExit::Ok)
}

fn session(args: &ExplainArgs, site: &Site) -> Result<Session, String> {
    let text = |address: IpAddr| {
        let literal = domain_literal(address, site.options.addresses.compressed_ipv6);
        literal.trim_matches(['[', ']']).to_owned()
    };
    let client_addr = text(args.client_addr);
    let client_resolve = match (&args.client_resolve, &args.client_name) {
        (Some(word), _) => resolve(word)?,
        (None, Some(_)) => Resolve::Ok,
        (None, None) => Resolve::Fail,
    };
    let with_tls = args.tls_version.is_some();
    let verify = match &args.verify {
        Some(word) => word.clone(),
        None if with_tls => "NO".to_owned(),
        None => "NONE".to_owned(),
    };
    let name = args
        .client_name
        .clone()
        .unwrap_or_else(|| format!("[{client_addr}]"));
    Ok(Session {
        client_ptr: name.clone(),
        client_name: name,
        client_addr,
        client_resolve,
        client_rate: args.client_rate,
        client_connections: args.client_connections,
        counted: match site.options.limits.connection_rate_map.trim() {
            "" => Counted::Here,
            _ => Counted::OnAllHosts,
        },
        helo: args.helo.clone(),
        daemon_flags: args.daemon_flags.clone(),
        login: args.auth.as_ref().map(|authid| Login {
            mechanism: args.mech.clone(),
            authid: authid.clone(),
            author: args.auth_param.clone().unwrap_or_default(),
            bits: args.ssf,
        }),
        tls: Tls {
            version: args.tls_version.clone().unwrap_or_default(),
            bits: if with_tls { args.cipher_bits } else { 0 },
            verify,
            cn_subject: args.cn_subject.clone(),
            cert_subject: args.cert_subject.clone(),
            cn_issuer: args.cn_issuer.clone(),
            cert_issuer: args.cert_issuer.clone(),
            ..Tls::default()
        },
        server_name: args.server_name.clone().unwrap_or_default(),
        server_addr: args.server_addr.map(text).unwrap_or_default(),
        ..Session::default()
    })
}

fn given(args: &ExplainArgs) -> Result<Given, String> {
    let mut given = Given::default();
    for answer in &args.dns {
        let (question, answers) = answer
            .split_once('=')
            .ok_or_else(|| format!("--dns {answer}: expected NAME TYPE=ANSWER,..."))?;
        let answers = answers.split(',').map(str::trim);
        let answers = answers
            .filter(|answer| !answer.is_empty())
            .map(str::to_owned);
        given.add(question, answers.collect())?;
    }
    Ok(given)
}
