//! `bench auth`: what a login costs the server, by mechanism, and how many saslauthd answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use libmaps::map::Entry;
use libmaps::sasl::key::HASHED_PASSWORD;
use libmaps::sasl::mechanism::{
    Channel, ClientExchange, ClientSetup, Mechanism, Nonce, Offer, ServerExchange, ServerStep,
    Service,
};
use libmaps::sasl::{Password, SaslDb, ScramHash, SecretBytes, UserId};
use libmaps::store::MemoryMap;

use crate::accounts::{REALM, derived};
use crate::report::{Figure, Report, Row, Sample, Subject, Whose};
use crate::saslauthd;
use crate::setting::Setting;

const NAME: &str = "alice";
const PASSWORD: &str = "secret";

const EXCHANGE: Figure = Figure::less("server's CPU us");
const BEYOND: Figure = Figure::less("beyond the lookup us");

/// Logs in by each mechanism, and asks saslauthd beside Cyrus SASL's where that is installed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// How many exchanges of each mechanism are measured.
    #[arg(long, default_value_t = 5_000)]
    exchanges: u32,
    /// How many cached requests each saslauthd is asked in a run.
    #[arg(long, default_value_t = 20_000)]
    requests: u32,
    /// How many clients ask at a time.
    #[arg(long, default_value_t = 4)]
    clients: u32,
}

/// Measures, and prints tables.
///
/// # Errors
/// No random numbers, or a program that is not there or fails.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    let user = UserId::new(NAME.as_bytes(), REALM.as_bytes()).map_err(io::Error::other)?;
    let record = derived(NAME, PASSWORD)?.to_record();
    let entry = Entry::new(user.lhs(HASHED_PASSWORD), record.expose());
    let accounts = SaslDb::new(MemoryMap::new("sasldb2", [entry]));
    let lookup = each(args.exchanges, || {
        let found = accounts.secrets(&user).map_err(io::Error::other)?;
        found
            .map(drop)
            .ok_or_else(|| io::Error::other("no secrets"))
    })?;
    let mut rows = Vec::new();
    for (mechanism, exchanges) in [
        (Mechanism::CramMd5, args.exchanges),
        (Mechanism::DigestMd5, args.exchanges),
        (Mechanism::Scram(ScramHash::Sha1), args.exchanges),
        (Mechanism::Scram(ScramHash::Sha256), args.exchanges),
        // argon2id takes its time on purpose.
        (Mechanism::Plain, args.exchanges.div_ceil(200)),
    ] {
        let recorded = Recorded::play(mechanism, &accounts)?;
        let cost = each(exchanges, || recorded.again(&accounts))?;
        rows.push(Row {
            size: 1,
            title: mechanism.to_string(),
            whose: Whose::Ours,
            samples: vec![Sample(vec![
                (EXCHANGE, micros(cost)),
                (BEYOND, micros(cost.saturating_sub(lookup))),
            ])],
        });
    }
    let mut report = Report {
        subjects: vec![Subject {
            title: "a login".into(),
            sizes: "exchange",
            rows,
            targets: Vec::new(),
        }],
        skipped: Vec::new(),
    };
    saslauthd::compare(&bench, args.requests, args.clients, &mut report)?;
    args.setting.print(&report);
    Ok(())
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000_000.0
}

/// The CPU time of one of so many calls, the best of five rounds: what else the machine does
/// can only add to it.
fn each(calls: u32, mut call: impl FnMut() -> io::Result<()>) -> io::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let before = cpu_time()?;
        for _ in 0..calls {
            call()?;
        }
        best = best.min(cpu_time()?.saturating_sub(before));
    }
    Ok(best / calls.max(1))
}

/// What this thread has used of a processor.
#[allow(unsafe_code)] // std has no clock of CPU time
fn cpu_time() -> io::Result<Duration> {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the pointer is to a live timespec.
    if unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) } != 0 {
        return Err(io::Error::last_os_error());
    }
    let seconds = u64::try_from(time.tv_sec).map_err(io::Error::other)?;
    let nanos = u32::try_from(time.tv_nsec).map_err(io::Error::other)?;
    Ok(Duration::new(seconds, nanos))
}

/// A client's part of an exchange: with the same nonces its words fit every time.
struct Recorded {
    mechanism: Mechanism,
    service: Arc<Service>,
    nonce: Nonce,
    initial: Option<Vec<u8>>,
    responses: Vec<Vec<u8>>,
}

impl Recorded {
    fn play(mechanism: Mechanism, accounts: &SaslDb<MemoryMap>) -> io::Result<Self> {
        let nonce = |text: &str| Nonce::from_text(text).ok_or_else(|| io::Error::other("a nonce"));
        let setup = ClientSetup {
            authid: NAME.into(),
            authzid: Vec::new(),
            password: Password::new(PASSWORD.into()).map_err(io::Error::other)?,
            realm: None,
            service: "smtp".to_owned(),
            host: REALM.to_owned(),
            bindings: Vec::new(),
            plus: Offer::NotOffered,
        };
        let mut client = ClientExchange::new(mechanism, setup, nonce("mine")?);
        let mut recorded = Recorded {
            mechanism,
            service: Arc::new(Service::new("smtp", REALM, SecretBytes::new(vec![1; 32]))),
            nonce: nonce("theirs")?,
            initial: client.initial().map_err(io::Error::other)?,
            responses: Vec::new(),
        };
        let (mut server, mut step) = recorded.start(accounts);
        while let ServerStep::Challenge(text) = &step {
            let response = client.respond(text).map_err(io::Error::other)?;
            step = server.respond(&response, accounts);
            recorded.responses.push(response);
        }
        succeeded(&step)?;
        Ok(recorded)
    }

    fn start(&self, accounts: &SaslDb<MemoryMap>) -> (ServerExchange, ServerStep) {
        ServerExchange::start(
            self.mechanism,
            Arc::clone(&self.service),
            Channel::default(),
            &self.nonce,
            0,
            self.initial.as_deref(),
            accounts,
        )
    }

    /// The server's part once more.
    fn again(&self, accounts: &SaslDb<MemoryMap>) -> io::Result<()> {
        let (mut server, mut step) = self.start(accounts);
        for response in &self.responses {
            step = server.respond(response, accounts);
        }
        succeeded(&step)
    }
}

fn succeeded(step: &ServerStep) -> io::Result<()> {
    match step {
        ServerStep::Success(_) => Ok(()),
        other => Err(io::Error::other(format!("no login: {other:?}"))),
    }
}
