//! LDAP, with sendmail's own schema: read alone.
//!
//! A directory has no generations. What a search gives is one: its mark is the
//! digest of the entries, its number the newest `entryCSN` among them. The
//! search is made anew when `contextCSN` of the naming context has changed,
//! and again when that changed while it ran, so that no half of a change is
//! taken for the whole. A directory has no change of many entries at once
//! either, which is why no program writes maps there: use LDAP's own tools.

mod reference;
mod resolve;
mod search;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use ldap3::adapters::{Adapter, EntriesOnly, PagedResults};
use ldap3::{Ldap, LdapConnAsync, LdapConnSettings, LdapError, Scope, SearchEntry};
use libmaps::build::aliases::MARK;
use libmaps::map::MapClass;
use libmaps::store::redb::Duplicates;
use libmaps::store::shared::frame::Frame;
use libmaps::store::shared::{Connection, Digest, Offer, Origin, Server, Tls, Way};
use libmaps::sysexits::SysExit;

use crate::engine::{Current, Engine, Generation, Generations, Give, Head, Switch, Take};
use crate::fault::{Fault, chain, within};
use crate::tls;

use reference::Scope as FindScope;
use resolve::{Resolved, too_much};
use search::{Empty, Kind, Search};

/// Entries of one page (RFC 2696).
const PAGE: i32 = 500;
/// How often a search is made anew because the directory changed meanwhile.
const TRIES: u32 = 5;
/// How long a search may take, with those that its entries name.
const LONGEST_SEARCH: Duration = Duration::from_secs(600);

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

/// A connection to a directory.
pub struct Directory {
    ldap: Ldap,
    timeout: Duration,
    found: HashMap<String, Found>,
}

/// The states of the providers of each naming context that was searched.
type State = BTreeMap<String, Vec<String>>;

/// What a search gave.
struct Found {
    state: State,
    generation: Generation,
    entries: Entries,
}

/// What a search gives.
#[derive(Default)]
struct Read {
    entries: Entries,
    /// The newest entryCSN.
    newest: String,
    /// The names below which was searched besides the map's base.
    bases: BTreeSet<String>,
}

impl From<LdapError> for Fault {
    fn from(error: LdapError) -> Self {
        let exit = match &error {
            // invalidCredentials, insufficientAccessRights, noSuchObject and their like (RFC 4511
            // section 4.1.9) are not mended by waiting; busy and unavailable are.
            LdapError::LdapResult { result } if ![51, 52, 80].contains(&result.rc) => {
                SysExit::Config
            }
            LdapError::FilterParsing => SysExit::Config,
            _ => SysExit::TempFail,
        };
        Fault::new(exit, chain(&error))
    }
}

impl Directory {
    /// The states of all providers of these naming contexts.
    async fn state(&mut self, contexts: &BTreeSet<String>) -> Result<State, Fault> {
        let mut states = State::new();
        for context in contexts {
            let mut found = self
                .attributes(context, "(objectClass=*)", &["contextCSN"])
                .await?;
            let mut state = found.remove("contextCSN").unwrap_or_default();
            if state.is_empty() {
                let why = format!("{context} has no contextCSN: load the module syncprov for it");
                return Err(Fault::new(SysExit::Config, why));
            }
            state.sort();
            states.insert(context.clone(), state);
        }
        Ok(states)
    }

    /// The naming contexts that hold these names.
    async fn contexts<'a>(
        &mut self,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Result<BTreeSet<String>, Fault> {
        let mut root = self
            .attributes("", "(objectClass=*)", &["namingContexts"])
            .await?;
        let all = root.remove("namingContexts").unwrap_or_default();
        let plain = |dn: &str| dn.to_ascii_lowercase().replace(", ", ",");
        let mut contexts = BTreeSet::new();
        for name in names {
            let ends = |context: &&String| plain(name).ends_with(&plain(context));
            let longest = all.iter().filter(ends).max_by_key(|c| c.len());
            let Some(longest) = longest else {
                let why = format!("base: the server does not hold {name}");
                return Err(Fault::new(SysExit::Config, why));
            };
            contexts.insert(longest.clone());
        }
        Ok(contexts)
    }

    async fn attributes(
        &mut self,
        dn: &str,
        filter: &str,
        names: &[&str],
    ) -> Result<HashMap<String, Vec<String>>, Fault> {
        let asked = self.ldap.search(dn, Scope::Base, filter, names.to_vec());
        let (mut found, _) = within(self.timeout, async { asked.await?.success() }).await?;
        let entry = found.pop().map(SearchEntry::construct);
        Ok(entry.map(|e| e.attrs).unwrap_or_default())
    }

    /// Everything that the search finds.
    async fn search(&mut self, search: &Search) -> Result<Read, Fault> {
        let mut read = Read::default();
        let (mut found, mut octets) = (0, 0);
        let mut referring = Vec::new();
        self.find(
            &search.base,
            FindScope::Subtree,
            &search.filter,
            search.names(),
            |entry| {
                let csn = entry.attrs.get("entryCSN").and_then(|v| v.first());
                if let Some(csn) = csn.filter(|csn| **csn > read.newest) {
                    read.newest.clone_from(csn);
                }
                found += 1;
                let entry = search.read(&entry, search.attributes.iter())?;
                octets += match entry.references.is_empty() {
                    true => search.put(&entry, &mut read.entries)?,
                    false => {
                        let octets = entry.octets();
                        referring.push(entry);
                        octets
                    }
                };
                match octets > search.kind.max_octets() {
                    true => Err(too_much(search)),
                    false => Ok(()),
                }
            },
        )
        .await?;
        let mut resolved = Resolved::default();
        for mut entry in referring {
            self.resolve(search, &mut entry, &mut resolved).await?;
            octets += search.put(&entry, &mut read.entries)?;
            if octets > search.kind.max_octets() {
                return Err(too_much(search));
            }
        }
        read.bases = resolved.bases;
        // What a server does not let us see is not there, for it.
        if found == 0 && search.empty == Empty::Fault {
            let why = format!(
                "the search finds nothing below {} for {}; `empty yes` takes that for an empty map",
                search.base, search.filter
            );
            return Err(Fault::new(SysExit::DataErr, why));
        }
        if search.kind == Kind::Aliases {
            read.entries.insert(MARK.to_vec(), MARK.to_vec());
        }
        Ok(read)
    }

    /// Makes a search, and hands over each entry that it finds.
    async fn find(
        &mut self,
        base: &str,
        scope: FindScope,
        filter: &str,
        names: Vec<&str>,
        mut take: impl FnMut(SearchEntry) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let adapters: Vec<Box<dyn Adapter<_, _>>> = vec![
            Box::new(EntriesOnly::new()),
            Box::new(PagedResults::new(PAGE)),
        ];
        let scope = match scope {
            FindScope::Base => Scope::Base,
            FindScope::OneLevel => Scope::OneLevel,
            FindScope::Subtree => Scope::Subtree,
        };
        let asked = self
            .ldap
            .streaming_search_with(adapters, base, scope, filter, names);
        let mut stream = within(self.timeout, asked).await?;
        while let Some(entry) = within(self.timeout, stream.next()).await? {
            take(SearchEntry::construct(entry))?;
        }
        // A limit of the server's (RFC 4511: sizeLimitExceeded) is an error: half a map is none.
        let ended = stream.finish().await.success()?;
        if let Some(other) = ended.refs.first() {
            let why = format!("a part of the tree is elsewhere, which is not searched: {other}");
            return Err(Fault::new(SysExit::DataErr, why));
        }
        Ok(())
    }
}

/// The generation that these entries are.
fn generation(entries: &Entries, newest: &str) -> Result<Generation, Fault> {
    let mut digest = Digest::default();
    for (lhs, rhs) in entries {
        digest.add(lhs, 0, rhs);
    }
    // 20261126023201.123456Z#000000#001#000000
    let digits: String = newest.chars().take_while(char::is_ascii_digit).collect();
    let number = digits.parse::<u64>().unwrap_or(0);
    let origin = Origin::parse(&format!("{number} {digest}"));
    Ok(Generation {
        origin: origin.ok_or_else(|| Fault::new(SysExit::Software, "a mark"))?,
        base: None,
        offer: Offer {
            way: Way::Full,
            digest,
            class: MapClass::Hash,
            duplicates: Duplicates::None,
            options: String::new(),
            source: None,
            program: concat!("mapremote ", env!("CARGO_PKG_VERSION")).into(),
        },
        host: String::new(),
        age: Duration::ZERO,
    })
}

impl Engine for Directory {
    async fn connect(server: &Server) -> Result<Self, Fault> {
        let mut last = Fault::new(SysExit::Config, "host: it is missing");
        for (host, port) in &server.hosts {
            match open(server, host, *port).await {
                Ok(ldap) => {
                    return Ok(Directory {
                        ldap,
                        timeout: server.timeout,
                        found: HashMap::new(),
                    });
                }
                Err(fault) => last = fault,
            }
        }
        Err(last)
    }

    async fn listen(&mut self, _maps: &[String]) -> Result<(), Fault> {
        Ok(())
    }

    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        tokio::time::sleep(time).await;
        Ok(None)
    }

    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault> {
        let search = Search::of(connection)?;
        let mut contexts = match self.found.get(&connection.map) {
            Some(found) => found.state.keys().cloned().collect(),
            None => self.contexts([search.base.as_str()]).await?,
        };
        for _ in 0..TRIES {
            let state = self.state(&contexts).await?;
            let known = self.found.get(&connection.map);
            if let Some(found) = known.filter(|found| found.state == state) {
                return Ok(Some(Head {
                    serial: 0,
                    last: 0,
                    current: Current::of(Ok(found.generation.clone()), None),
                }));
            }
            let searched = tokio::time::timeout(LONGEST_SEARCH, self.search(&search)).await;
            let Ok(searched) = searched else {
                let why = format!("the search took more than {} s", LONGEST_SEARCH.as_secs());
                return Err(Fault::new(SysExit::TempFail, why));
            };
            let read = searched?;
            // Entries may name searches of other parts of the directory, whose changes count too.
            let names = read.bases.iter().map(String::as_str);
            let searched = self.contexts(names.chain([search.base.as_str()])).await?;
            if searched != contexts {
                contexts = searched;
                continue;
            }
            if self.state(&contexts).await? == state {
                let found = Found {
                    generation: generation(&read.entries, &read.newest)?,
                    state,
                    entries: read.entries,
                };
                self.found.insert(connection.map.clone(), found);
            }
        }
        let why = "the directory changes faster than it can be read";
        Err(Fault::new(SysExit::TempFail, why))
    }

    async fn leave(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn recover(&mut self) -> Result<(), Fault> {
        let asked = self.attributes("", "(objectClass=*)", &["namingContexts"]);
        asked.await.map(drop)
    }

    async fn stay(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    async fn lock(&mut self, _map: &str) -> Result<Head, Fault> {
        Err(read_alone())
    }

    async fn generations(&mut self, map: &str) -> Result<Generations, Fault> {
        let found = self.found.get(map);
        Ok(found.map(|f| f.generation.clone()).into_iter().collect())
    }

    async fn entries(
        &mut self,
        map: &str,
        _generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        let entries = self.found.get(map).map(|found| &found.entries);
        for (lhs, rhs) in entries.into_iter().flatten() {
            take(Frame {
                lhs,
                place: 0,
                rhs: Some(rhs),
            })?;
        }
        Ok(())
    }

    async fn load(
        &mut self,
        _map: &str,
        _generation: &Generation,
        _give: &mut Give<'_>,
    ) -> Result<(), Fault> {
        Err(read_alone())
    }

    async fn commit(&mut self, _map: &str, _switch: Switch<'_>) -> Result<(), Fault> {
        Err(read_alone())
    }

    async fn remove(&mut self, _map: &str, _keep: u32) -> Result<(), Fault> {
        Err(read_alone())
    }
}

/// Why no program writes maps in a directory.
pub(crate) fn read_alone() -> Fault {
    let why = "maps on LDAP are read alone: a directory cannot change a whole map at once; \
               change its entries with ldapmodify(1)";
    Fault::new(SysExit::Config, why)
}

async fn open(server: &Server, host: &str, port: u16) -> Result<Ldap, Fault> {
    let mut settings = LdapConnSettings::new().set_conn_timeout(server.timeout);
    if server.tls != Tls::Off {
        settings = settings.set_config(Arc::new(tls::config(server)?));
    }
    if server.tls == Tls::StartTls {
        settings = settings.set_starttls(true);
    }
    let scheme = match server.tls {
        Tls::Verify => "ldaps",
        Tls::Off | Tls::StartTls => "ldap",
    };
    let url = match (host.starts_with('/'), host.contains(':')) {
        (true, _) => format!("ldapi://{}", host.replace('/', "%2F")),
        (false, true) => format!("{scheme}://[{host}]:{port}"),
        (false, false) => format!("{scheme}://{host}:{port}"),
    };
    let connected = LdapConnAsync::with_settings(settings, &url);
    let (connection, mut ldap) = within(server.timeout, connected).await?;
    tokio::spawn(async move {
        // How it ended is told by the next question.
        let _ = connection.drive().await;
    });
    if let Some(user) = &server.user {
        let password = server.password()?.unwrap_or_default();
        let password = String::from_utf8(password)
            .map_err(|_| Fault::new(SysExit::Config, "password-file: the password is no UTF-8"))?;
        if password.is_empty() {
            // RFC 4513 section 5.1.2: a name without a password logs in as nobody.
            return Err(Fault::new(
                SysExit::Config,
                "user: password-file is missing",
            ));
        }
        let bound = ldap.simple_bind(user, &password);
        within(server.timeout, async { bound.await?.success() }).await?;
    }
    Ok(ldap)
}
