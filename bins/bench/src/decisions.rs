//! `bench decisions`: how long all answers of one session take, on maps as they grow.
//!
//! A session is ten decisions: what a server is asked from connection to the recipient's
//! route. Their traces tell which probes they made; the same probes are made through libdb,
//! which decides nothing with what it finds.

use std::fs;
use std::hint::black_box;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use libmaps::address::{Address, ReversePath};
use libmaps::build::{Builder, Start};
use libmaps::decision::{Asked, Trace};
use libmaps::map::{Map, MapClass, StoreError};
use libmaps::policy::check_mail::check_mail;
use libmaps::policy::check_rcpt::check_rcpt;
use libmaps::policy::check_relay::check_relay;
use libmaps::policy::facts::{Answer, Facts, Need, Session, settle};
use libmaps::policy::maps::Maps;
use libmaps::policy::route::canonify::{Addressing, NoNames};
use libmaps::policy::srv_features::srv_features;
use libmaps::policy::tls::{tls_client, tls_rcpt, tls_server};
use libmaps::policy::trust_auth::trust_auth;
use libmaps::policy::try_tls::try_tls;
use libmaps::policy::{Outcome, Policy};
use libmaps::site::{Site, load};
use libmaps::store::publish::Options;

use crate::report::{Bound, Figure, Report, Row, Sample, Subject, Target};
use crate::setting::{Bench, Extent, Setting};
use crate::stores::{self, BERKELEY, Store};
use crate::turns::{self, Contender};

const SESSION: Figure = Figure::less("us a session");
const PROBES: Figure = Figure::less("probes a session");

const DECISIONS: &str = "ten decisions";
const PROBES_ALONE: &str = "their probes alone";

const MC: &str = "OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mail.example.com')dnl
define(`confCR_FILE', `-o /nowhere')dnl
LOCAL_DOMAIN(`example.com')dnl
VIRTUSER_DOMAIN(`shop.example')dnl
FEATURE(`access_db', `hash -T<TMPF> /etc/mail/access')dnl
FEATURE(`blocklist_recipients')dnl
FEATURE(`mailertable', `hash /etc/mail/mailertable')dnl
FEATURE(`virtusertable', `hash /etc/mail/virtusertable')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
";

/// A map's name, the LHS of its entry of a number, and the RHS of all of them.
type Filled = (&'static str, fn(u32) -> String, &'static str);

const MAPS: [Filled; 3] = [
    ("access", |n| format!("from:host{n:08}.example"), "REJECT"),
    (
        "mailertable",
        |n| format!("host{n:08}.example"),
        "esmtp:[10.0.0.1]",
    ),
    (
        "virtusertable",
        |n| format!("user{n:08}@shop.example"),
        "joe",
    ),
];

/// Takes the ten decisions of a session, on access, mailertable and virtusertable of 10,000 to
/// 1,000,000 entries each, beside the same probes through libdb.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    setting: Setting,
    /// Numbers of entries of each map.
    #[arg(long, value_delimiter = ',', value_name = "N")]
    entries: Option<Vec<u32>>,
    /// How many sessions a turn has.
    #[arg(long, value_name = "N")]
    sessions: Option<u32>,
}

/// Measures, and prints the tables.
///
/// # Errors
/// Our maps can't be built or asked.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    let bench = args.setting.open()?;
    let (sizes, sessions) = match bench.extent {
        Extent::Quick => (vec![1_000], 1_000),
        Extent::Full => (vec![10_000, 100_000, 1_000_000], 20_000),
    };
    let sizes = args.entries.clone().unwrap_or(sizes);
    let sessions = args.sessions.unwrap_or(sessions);
    let mut report = Report::default();
    let peer = BERKELEY.compile(&bench);
    let peer = peer.map_err(|why| report.skipped.push(why)).ok();
    let mut subject = Subject {
        title: "a session's decisions".into(),
        sizes: "entries a map",
        rows: Vec::new(),
        targets: vec![Target {
            ours: DECISIONS,
            size: 1_000_000,
            figure: SESSION,
            bound: Bound::Times(20.0, BERKELEY.title),
        }],
    };
    for size in sizes {
        let rows = at_size(&bench, size, sessions, peer.as_ref(), &mut report.skipped)?;
        subject.rows.extend(rows);
    }
    report.subjects.push(subject);
    args.setting.print(&report);
    Ok(())
}

fn at_size(
    bench: &Bench,
    size: u32,
    sessions: u32,
    peer: Option<&Store>,
    skipped: &mut Vec<String>,
) -> io::Result<Vec<Row>> {
    eprintln!("building maps of {size} entries");
    let root = bench.at("site");
    let (site, maps) = site(&root, size)?;
    let mail = root.join("etc/mail");
    let all: Vec<Asker> = (0..sessions)
        .map(|n| Asker::new(n.wrapping_mul(2_654_435_761) % size))
        .collect::<io::Result<_>>()?;
    for asker in &all {
        let _ = black_box(asker.ask(&site, &maps)?);
    }
    come_to_rest(&maps);
    let mut probes = Vec::new();
    for asker in &all {
        for trace in asker.ask(&site, &maps)? {
            note(&trace, &mut probes);
        }
    }
    let a_session = |n: f64| n / f64::from(sessions);
    let count = a_session(probes.len() as f64);
    let sample = move |spent: Duration| {
        let micros = spent.as_secs_f64() * 1e6;
        Sample(vec![(SESSION, a_session(micros)), (PROBES, count)])
    };
    let ours = MAPS.map(|(name, _, _)| libmaps::store::open(&mail.join(format!("{name}.db"))));
    let ours = ours.into_iter().collect::<Result<Vec<_>, _>>();
    let ours = ours.map_err(io::Error::other)?;
    probe(&ours, &probes)?;
    ours.iter().for_each(Map::settle);
    let mut contenders = vec![
        Contender::ours(DECISIONS, || {
            let begun = Instant::now();
            for asker in &all {
                let _ = black_box(asker.ask(&site, &maps)?);
            }
            Ok(sample(begun.elapsed()))
        }),
        Contender::ours(PROBES_ALONE, || {
            let begun = Instant::now();
            probe(&ours, &probes)?;
            Ok(sample(begun.elapsed()))
        }),
    ];
    if let Some(peer) = peer {
        let questions = bench.at("questions");
        stores::questions(&questions, &probes)?;
        let files = MAPS.map(|(name, _, _)| peer.at(&mail, name));
        for ((_, lhs, rhs), file) in MAPS.iter().zip(&files) {
            let entries = bench.at("entries");
            stores::entries(&entries, size, |n| (lhs(n), (*rhs).to_owned()))?;
            peer.build(file, &entries)?;
        }
        contenders.push(Contender::peer(peer.title, move || {
            let asked = peer.ask(&questions, 1, &files)?;
            Ok(sample(Duration::from_secs_f64(
                asked.nanos * count * f64::from(sessions) / 1e9,
            )))
        }));
    }
    let rows = turns::take(bench.runs, size.into(), contenders, skipped)?;
    fs::remove_dir_all(&root)?;
    Ok(rows)
}

/// A site below `root`, with so many entries in each of its maps.
///
/// # Errors
/// Those of files, and a map that can't be built.
pub(crate) fn site(root: &Path, size: u32) -> io::Result<(Site, Maps)> {
    let mail = root.join("etc/mail");
    fs::create_dir_all(&mail)?;
    fs::write(mail.join("sendmail.mc"), MC)?;
    for (name, lhs, rhs) in MAPS {
        let path = mail.join(format!("{name}.db"));
        build(&path, size, lhs, rhs).map_err(io::Error::other)?;
    }
    let loaded = load(Some(root), None).map_err(io::Error::other)?;
    if loaded.has_errors() {
        return Err(io::Error::other("the site has errors"));
    }
    let maps = Maps::open(&loaded.site).map_err(io::Error::other)?;
    Ok((loaded.site, maps))
}

fn build(path: &Path, size: u32, lhs: fn(u32) -> String, rhs: &str) -> Result<(), StoreError> {
    let options = Options::new(MapClass::Hash, "bench");
    let mut builder = Builder::open(path, Start::Empty, options)?;
    for n in 0..size {
        builder.put(lhs(n).as_bytes(), rhs.as_bytes(), u64::from(n) + 1)?;
    }
    builder.publish(None).map(drop)
}

/// Waits until what is asked often has been read into memory.
pub(crate) fn come_to_rest(maps: &Maps) {
    let filled = [&maps.access, &maps.mailertable, &maps.virtusertable];
    for handle in filled.into_iter().flatten() {
        handle.map().settle();
    }
}

/// Adds the probes of a decision, each with the number of its map.
fn note(trace: &Trace, probes: &mut Vec<(u32, Vec<u8>)>) {
    for probe in trace.probes() {
        if let Asked::Map(name) = &probe.asked {
            let stem = name.path.file_stem().map(PathBuf::from);
            let number = (0u32..)
                .zip(MAPS)
                .find(|(_, (name, _, _))| stem.as_deref() == Some(Path::new(name)));
            if let Some((number, _)) = number {
                probes.push((number, probe.lhs.as_bytes().to_vec()));
            }
        }
    }
}

fn probe(maps: &[Box<dyn Map>], probes: &[(u32, Vec<u8>)]) -> io::Result<()> {
    for (number, lhs) in probes {
        if let Some(map) = maps.get(*number as usize) {
            let _ = black_box(map.get(lhs).map_err(io::Error::other)?);
        }
    }
    Ok(())
}

/// A client that is relayed for nobody, a sender of whom no entry speaks, a virtual recipient
/// here: nearly all probes of such a session find nothing, as those of most do.
pub(crate) struct Asker {
    session: Session,
    recipient: Address,
    to: String,
}

impl Asker {
    /// The one of this number.
    ///
    /// # Errors
    /// No address can be made of it.
    pub(crate) fn new(n: u32) -> io::Result<Self> {
        let name = format!("mx{n}.host{n:08}.example");
        let from = format!("someone@host{:08}.example", n ^ 0x4000_0000);
        let to = format!("user{n:08}@shop.example");
        let session = Session {
            client_addr: format!("198.51.{}.{}", n >> 8 & 0xff, n & 0xff),
            client_ptr: name.clone(),
            helo: name.clone(),
            client_name: name,
            server_name: format!("mx.host{n:08}.example"),
            server_addr: "203.0.113.25".to_owned(),
            sender: ReversePath::parse(from.as_bytes()).map_err(io::Error::other)?,
            sender_text: format!("<{from}>"),
            ..Session::default()
        };
        Ok(Asker {
            session,
            recipient: Address::parse(to.as_bytes()).map_err(io::Error::other)?,
            to,
        })
    }

    /// All ten decisions, by their traces.
    ///
    /// # Errors
    /// One came out differently.
    pub(crate) fn ask(&self, site: &Site, maps: &Maps) -> io::Result<[Trace; 10]> {
        let policy = Policy { site, maps };
        let (session, recipient) = (&self.session, &self.recipient);
        let mut facts = Facts::new();
        let found = |need: &Need| Answer::Found(vec![need.name().into()]);
        let relay = settle(&mut facts, found, |f| check_relay(policy, session, f));
        let client = settle(&mut facts, found, |f| tls_client(policy, session, f));
        let mail = settle(&mut facts, found, |f| check_mail(policy, session, f));
        let rcpt = settle(&mut facts, found, |f| {
            check_rcpt(policy, session, f, recipient)
        });
        let trust = settle(&mut facts, found, |f| {
            trust_auth(policy, session, f, b"joe")
        });
        let features = settle(&mut facts, found, |f| srv_features(policy, session, f));
        let tries = settle(&mut facts, found, |f| try_tls(policy, session, f));
        let server = settle(&mut facts, found, |f| tls_server(policy, session, f));
        let to_rcpt = settle(&mut facts, found, |f| {
            tls_rcpt(policy, session, f, recipient)
        });
        let tables = maps.route_tables();
        let addressing = Addressing {
            site,
            tables: &tables,
            names: &NoNames,
            daemon_flags: "",
        };
        let route = addressing
            .route(self.to.as_bytes())
            .map_err(io::Error::other)?;
        let is_expected = mail.outcome == Outcome::Accept
            && rcpt.outcome == Outcome::Accept
            && route.outcome.user == b"joe";
        if !is_expected {
            return Err(io::Error::other(
                "a session that was not decided as it should be",
            ));
        }
        Ok([
            relay.trace,
            client.trace,
            mail.trace,
            rcpt.trace,
            trust.trace,
            features.trace,
            tries.trace,
            server.trace,
            to_rcpt.trace,
            route.trace,
        ])
    }
}
