//! PostgreSQL, by one connection: for a follower to listen and read on, for a writer to write on.
//!
//! A writer does everything in one transaction, which begins with the lock of
//! the map's row and ends with the switch: until then nobody sees a row of it,
//! and whatever ends the connection undoes it. A reader reads in one snapshot
//! (REPEATABLE READ), so that generations may be removed under it.

mod read;
mod remove;
pub mod schema;
mod switches;
mod write;

use std::collections::HashMap;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use libmaps::store::shared::{Connection, Origin, Server, Tls};
use libmaps::sysexits::SysExit;
use tokio_postgres::config::{Config, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, NoTls, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::engine::{
    Amount, Engine, Generation, Generations, Give, Head, Left, SCHEMA, Switch, Take,
};
use crate::fault::{Fault, within};
use crate::heard::{Heard, News};
use crate::tls;

/// Every question is answered by the tables' keys. What the server knows of their content is
/// older than a generation that was loaded a moment ago, and it would read all of a table for
/// one row.
const BY_INDEX: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";

/// A host that is gone without a word is noticed by the server too, and what it holds is free:
/// after half a minute, not after the system's two hours.
const KEEPALIVE: &str = "SET tcp_keepalives_idle = 10; SET tcp_keepalives_interval = 5; \
     SET tcp_keepalives_count = 3; SET tcp_user_timeout = 20000";

/// What stands for `$1`, `$2`, ... in a statement.
type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection to a database.
pub struct Pgsql {
    client: Client,
    news: Arc<Heard>,
    timeout: Duration,
    /// The numbers that the tables have for maps' names.
    ids: HashMap<String, i32>,
}

impl Pgsql {
    fn id(&self, map: &str) -> Result<i32, Fault> {
        let id = self.ids.get(map).copied();
        id.ok_or_else(|| Fault::new(SysExit::Software, format!("{map} was not looked at")))
    }

    async fn batch(&self, text: &str) -> Result<(), Fault> {
        within(self.timeout, self.client.batch_execute(text)).await
    }

    async fn all(&self, text: &str, values: Values<'_>) -> Result<Vec<Row>, Fault> {
        within(self.timeout, self.client.query(text, values)).await
    }

    async fn one(&self, text: &str, values: Values<'_>) -> Result<Row, Fault> {
        within(self.timeout, self.client.query_one(text, values)).await
    }

    async fn maybe(&self, text: &str, values: Values<'_>) -> Result<Option<Row>, Fault> {
        within(self.timeout, self.client.query_opt(text, values)).await
    }

    async fn execute(&self, text: &str, values: Values<'_>) -> Result<u64, Fault> {
        within(self.timeout, self.client.execute(text, values)).await
    }

    /// Whether the tables are there, in the version that this program knows.
    async fn has_schema(&self) -> Result<bool, Fault> {
        let text = "SELECT to_regclass('mailmaps_schema') IS NOT NULL";
        let row = self.one(text, &[]).await?;
        if !row.try_get::<_, bool>(0)? {
            return Ok(false);
        }
        let text = "SELECT max(version) FROM mailmaps_schema";
        let row = self.one(text, &[]).await?;
        match row.try_get::<_, Option<i32>>(0)? {
            Some(SCHEMA) => Ok(true),
            None => Ok(false),
            Some(found) => Err(Fault::new(
                SysExit::Config,
                format!(
                    "the database has tables of version {found}; this program knows version {SCHEMA}"
                ),
            )),
        }
    }
}

impl Engine for Pgsql {
    async fn connect(server: &Server) -> Result<Self, Fault> {
        let mut faults = Faults::default();
        for (host, port) in &server.hosts {
            let shown = format!("{host}:{port}");
            if host.starts_with('/') {
                match open(server, host, None, *port).await {
                    Ok(opened) => return Ok(opened),
                    Err(fault) => faults.add(host, fault),
                }
                continue;
            }
            let asked = tokio::net::lookup_host((host.as_str(), *port));
            let found = match within(server.timeout, asked).await {
                Ok(found) => found,
                Err(fault) => {
                    let why = format!("error connecting to server: {}", fault.why);
                    faults.add(&shown, Fault::new(SysExit::TempFail, why));
                    continue;
                }
            };
            for address in found {
                match open(server, host, Some(address.ip()), *port).await {
                    Ok(opened) => return Ok(opened),
                    Err(fault) => faults.add(&address.to_string(), fault),
                }
            }
        }
        Err(faults.all())
    }

    async fn listen(&mut self, _maps: &[String]) -> Result<(), Fault> {
        self.batch(&format!("LISTEN {}", schema::CHANNEL)).await
    }

    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        match self.news.wait(time).await? {
            News::Of(maps) => Ok(Some(maps)),
            News::OfAny => Ok(None),
            News::None => {
                // A server that is gone without a word is noticed here.
                self.batch("").await?;
                Ok(None)
            }
        }
    }

    async fn look(&mut self, connection: &Connection) -> Result<Option<Head>, Fault> {
        self.batch("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            .await?;
        match self.has_schema().await? {
            true => self.head(&connection.map, read::For::Reading).await,
            false => Ok(None),
        }
    }

    async fn leave(&mut self) -> Result<(), Fault> {
        self.batch("ROLLBACK").await
    }

    async fn recover(&mut self) -> Result<(), Fault> {
        self.batch("ROLLBACK").await
    }

    async fn stay(&mut self) -> Result<(), Fault> {
        self.batch("").await
    }

    async fn lock(&mut self, map: &str) -> Result<Head, Fault> {
        self.lock_row(map).await
    }

    async fn generations(&mut self, map: &str) -> Result<Generations, Fault> {
        self.all_generations(map).await
    }

    async fn marks(&mut self, map: &str, serial: u64) -> Result<Vec<String>, Fault> {
        self.marks_of(map, serial).await
    }

    async fn entries(
        &mut self,
        map: &str,
        generation: &Generation,
        take: &mut Take<'_>,
    ) -> Result<(), Fault> {
        self.copy_out(map, generation, take).await
    }

    async fn load(
        &mut self,
        map: &str,
        generation: &Generation,
        give: &mut Give<'_>,
    ) -> Result<(), Fault> {
        self.copy_in(map, generation, give).await
    }

    async fn commit(
        &mut self,
        map: &str,
        switch: Switch<'_>,
        here: Option<&Origin>,
    ) -> Result<(), Fault> {
        self.switch(map, switch, here).await
    }

    async fn remove(&mut self, map: &str, keep: u32, amount: Amount) -> Result<Left, Fault> {
        self.remove_old(map, keep, amount).await
    }
}

/// Why none of several addresses would do.
#[derive(Default)]
struct Faults(Vec<(String, Fault)>);

impl Faults {
    fn add(&mut self, address: &str, fault: Fault) {
        self.0.push((address.to_owned(), fault));
    }

    /// All of them in one. What a server said by itself counts more than that another is gone.
    fn all(self) -> Fault {
        let lasting = self.0.iter().find(|(_, fault)| !fault.exit.is_temporary());
        let exit = lasting.map_or(SysExit::TempFail, |(_, fault)| fault.exit);
        let why = match self.0.as_slice() {
            [] => "the host has no address".to_owned(),
            [(_, only)] => only.why.clone(),
            several => {
                let each = several
                    .iter()
                    .map(|(at, fault)| format!("{at}: {}", fault.why));
                each.collect::<Vec<_>>().join("; ")
            }
        };
        Fault::new(exit, why)
    }
}

/// How to log in at one address; certificates are for the host's name.
fn config(
    server: &Server,
    host: &str,
    address: Option<IpAddr>,
    port: u16,
) -> Result<Config, Fault> {
    let mut config = Config::new();
    config.host(host).port(port);
    if let Some(address) = address {
        config.hostaddr(address);
    }
    let user = server.user.as_deref();
    let user = user.ok_or_else(|| Fault::new(SysExit::Config, "user: it is missing"))?;
    config
        .user(user)
        .dbname(server.database.as_deref().unwrap_or(user));
    if let Some(password) = server.password()? {
        config.password(password);
    }
    config
        .application_name("mapremote")
        .connect_timeout(server.timeout)
        .keepalives_idle(Duration::from_secs(30))
        .keepalives_interval(Duration::from_secs(10))
        .keepalives_retries(3)
        .target_session_attrs(TargetSessionAttrs::ReadWrite)
        .ssl_mode(match server.tls {
            Tls::Off => SslMode::Disable,
            Tls::Verify | Tls::StartTls => SslMode::Require,
        });
    Ok(config)
}

/// One address has the whole of the timeout, and the next one has it anew: a host that is
/// silent must not use up the time of those behind it.
async fn open(
    server: &Server,
    host: &str,
    address: Option<IpAddr>,
    port: u16,
) -> Result<Pgsql, Fault> {
    let config = config(server, host, address, port)?;
    match server.tls {
        Tls::Off => log_in(&config, NoTls, server.timeout).await,
        Tls::Verify | Tls::StartTls => {
            let tls = MakeRustlsConnect::new(tls::config(server)?);
            log_in(&config, tls, server.timeout).await
        }
    }
}

async fn log_in<T>(config: &Config, tls: T, timeout: Duration) -> Result<Pgsql, Fault>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, mut connection) = within(timeout, config.connect(tls)).await?;
    let news = Arc::new(Heard::default());
    let tell = Arc::clone(&news);
    // Ends with the connection.
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(told) = message {
                tell.tell(told.payload());
            }
        }
        let why = "the server closed the connection";
        tell.end(Fault::new(SysExit::TempFail, why));
    });
    // A server that allows no such setting goes its own way.
    for settings in [BY_INDEX, KEEPALIVE] {
        let _ = within(timeout, client.batch_execute(settings)).await;
    }
    Ok(Pgsql {
        client,
        news,
        timeout,
        ids: HashMap::new(),
    })
}
