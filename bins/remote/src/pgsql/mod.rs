//! PostgreSQL, by one connection: for a follower to listen and read on, for a writer to write on.
//!
//! A writer does everything in one transaction, which begins with the lock of
//! the map's row and ends with the switch: until then nobody sees a row of it,
//! and whatever ends the connection undoes it. A reader reads in one snapshot
//! (REPEATABLE READ), so that generations may be removed under it.

mod read;
pub mod schema;
mod write;

use std::collections::HashMap;
use std::future::poll_fn;
use std::time::Duration;

use libmaps::store::shared::{Connection, Server, Tls};
use libmaps::sysexits::SysExit;
use tokio::sync::mpsc;
use tokio_postgres::config::{Config, SslMode, TargetSessionAttrs};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, NoTls, Row, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::engine::{Engine, Generation, Give, Head, SCHEMA, Switch, Take};
use crate::fault::{Fault, within};
use crate::tls;

/// News that wait to be taken; more are the same as these, since each map is looked at whole.
const MAX_NEWS: usize = 1_024;

/// Every question is answered by the tables' keys. What the server knows of their content is
/// older than a generation that was loaded a moment ago, and it would read all of a table for
/// one row.
const BY_INDEX: &str =
    "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off";

/// What stands for `$1`, `$2`, ... in a statement.
type Values<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A connection to a database.
pub struct Pgsql {
    client: Client,
    news: mpsc::Receiver<String>,
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
        let config = config(server)?;
        match server.tls {
            Tls::Off => open(&config, NoTls, server.timeout).await,
            Tls::Verify | Tls::StartTls => {
                let tls = MakeRustlsConnect::new(tls::config(server)?);
                open(&config, tls, server.timeout).await
            }
        }
    }

    async fn listen(&mut self, _maps: &[String]) -> Result<(), Fault> {
        self.batch(&format!("LISTEN {}", schema::CHANNEL)).await
    }

    async fn wait(&mut self, time: Duration) -> Result<Option<Vec<String>>, Fault> {
        let first = match tokio::time::timeout(time, self.news.recv()).await {
            Err(_) => {
                // A server that is gone without a word is noticed here.
                self.batch("").await?;
                return Ok(None);
            }
            Ok(Some(first)) => first,
            Ok(None) => {
                return Err(Fault::new(
                    SysExit::TempFail,
                    "the server closed the connection",
                ));
            }
        };
        let mut maps = vec![first];
        while let Ok(next) = self.news.try_recv() {
            if !maps.contains(&next) {
                maps.push(next);
            }
        }
        Ok(Some(maps))
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

    async fn lock(&mut self, map: &str) -> Result<Head, Fault> {
        self.lock_row(map).await
    }

    async fn generations(&mut self, map: &str) -> Result<Vec<Generation>, Fault> {
        self.all_generations(map).await
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

    async fn commit(&mut self, map: &str, switch: Switch<'_>) -> Result<(), Fault> {
        self.switch(map, switch).await
    }

    async fn remove(&mut self, map: &str, keep: u32) -> Result<(), Fault> {
        self.remove_old(map, keep).await
    }
}

fn config(server: &Server) -> Result<Config, Fault> {
    let mut config = Config::new();
    for (host, port) in &server.hosts {
        config.host(host).port(*port);
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

async fn open<T>(config: &Config, tls: T, timeout: Duration) -> Result<Pgsql, Fault>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    let (client, mut connection) = within(timeout, config.connect(tls)).await?;
    let (tell, news) = mpsc::channel(MAX_NEWS);
    // Ends with the connection, and with it the channel.
    tokio::spawn(async move {
        while let Some(Ok(message)) = poll_fn(|cx| connection.poll_message(cx)).await {
            if let AsyncMessage::Notification(told) = message {
                let _ = tell.try_send(told.payload().to_owned());
            }
        }
    });
    // A server that allows no such setting goes its own way.
    let _ = within(timeout, client.batch_execute(BY_INDEX)).await;
    Ok(Pgsql {
        client,
        news,
        timeout,
        ids: HashMap::new(),
    })
}
