//! Everything that all sessions share: the site, its maps, the resolver, the queue.
//!
//! A SIGHUP makes a new world; sessions that are open keep the old one to their end.

use std::sync::Arc;

use libmaps::map::StoreError;
use libmaps::policy::live_classes::ClassNews;
use libmaps::reply::Reply;
use libmaps::sasl::conf::ConfError;
use libmaps::site::Site;
use libmaps::site::users::Users;

use crate::consult::reply;
use crate::daemon::Daemon;
use crate::log::{Level, Log};
use crate::login::Logins;
use crate::maps::{LiveMaps, Snapshot};
use crate::queue::schedule::{Schedule, run_size};
use crate::queue::{Queue, secret};
use crate::reach;
use crate::relay::state::RelayState;
use crate::resolver::{Resolver, ResolverError};
use crate::sound::SoundSite;
use crate::throttle::{Throttle, load_average};
use crate::tls::Tls;
use crate::tls::client::ClientTls;

/// Shared by all sessions.
pub struct World {
    /// The configuration.
    pub site: Arc<Site>,
    /// The maps.
    pub maps: LiveMaps,
    /// Names and addresses.
    pub resolver: Resolver,
    /// Who has a mailbox here.
    pub users: Users,
    /// Logins.
    pub logins: Logins,
    /// TLS, where there is any.
    pub tls: Option<Arc<Tls>>,
    /// TLS with the servers that we pass mail on to.
    pub client_tls: ClientTls,
    /// What is known of those servers, and connections to them.
    pub relay: Arc<RelayState>,
    /// Listeners.
    pub daemons: Vec<Arc<Daemon>>,
    /// The queue.
    pub queue: Arc<Queue>,
    /// When its messages are tried, and which first.
    pub schedule: Schedule,
    /// The log.
    pub log: Arc<Log>,
    /// Connections by address.
    pub throttle: Arc<Throttle>,
}

/// Why there is no world.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// A map can't be opened.
    #[error(transparent)]
    Map(#[from] libmaps::map::StoreError),
    /// The resolver can't be set up.
    #[error(transparent)]
    Resolver(#[from] ResolverError),
    /// Logins can't be set up.
    #[error(transparent)]
    Logins(#[from] ConfError),
    /// No random numbers.
    #[error("the system gives no random numbers: {0}")]
    Secret(std::io::Error),
    /// The users can't be read.
    #[error("/etc/passwd: {0}")]
    Users(std::io::Error),
}

impl World {
    /// Opens everything that the site names.
    ///
    /// # Errors
    /// When something that is needed can't be opened.
    pub fn open(
        site: SoundSite,
        queue: Arc<Queue>,
        log: Arc<Log>,
        throttle: Arc<Throttle>,
        tls: Option<Arc<Tls>>,
    ) -> Result<Arc<Self>, WorldError> {
        let (client_tls, warning) = ClientTls::of(&site);
        if let Some(warning) = warning {
            log.say(Level::Warning, &format!("STARTTLS=client: {warning}"));
        }
        let daemons = site
            .daemons
            .iter()
            .map(|d| Arc::new(Daemon::of(&site, d)))
            .collect();
        let secret = queue.secret().or_else(|error| {
            // A full disk must not stop the server.
            log.say(
                Level::Warning,
                &format!("the queue keeps no secret: {error}"),
            );
            secret::random().map_err(WorldError::Secret)
        })?;
        let logins = Logins::of(&site, secret)?;
        for warning in logins.warnings() {
            log.say(Level::Warning, &warning.to_string());
        }
        if let Some(missing) = logins.missing() {
            log.say(Level::Warning, &missing);
        }
        let schedule = Schedule::of(&site);
        let site = Arc::new(site.into_site());
        let maps = LiveMaps::open(&site)?;
        for text in maps.texts() {
            let text = text.display();
            let warning = format!("{text} is read as it stands: newaliases has built no map of it");
            log.say(Level::Warning, &warning);
        }
        let world = World {
            maps,
            resolver: Resolver::of(&site)?,
            users: Users::of(&site).map_err(WorldError::Users)?,
            logins,
            tls,
            client_tls,
            relay: Arc::default(),
            daemons,
            schedule,
            queue,
            log,
            throttle,
            site,
        };
        // Nothing can fail any more: the queue of a server that stays as it was keeps its limits.
        let most = run_size(world.site.options.queue.max_run_size);
        world.queue.limit_runs(most);
        world.queue.limit_waits(world.schedule.longest_wait());
        Ok(Arc::new(world))
    }

    /// The configuration, with its classes as they are now.
    #[must_use]
    pub fn site_now(&self) -> Arc<Site> {
        self.maps.site(|news| self.tell_class(news))
    }

    fn tell_kept(&self, error: &StoreError) {
        self.log
            .say(Level::Error, &format!("map kept as it was: {error}"));
    }

    fn tell_class(&self, news: ClassNews<'_>) {
        let level = match news {
            ClassNews::Kept { .. } => Level::Error,
            ClassNews::Readable { .. } => Level::Info,
        };
        self.log.say(level, &news.to_string());
    }

    /// The maps as they are now; one that can't be read is logged and stays as it was.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.maps
            .snapshot(|error| self.tell_kept(error), |news| self.tell_class(news))
    }

    /// Whether STARTTLS can be offered.
    #[must_use]
    pub fn tls_available(&self) -> bool {
        self.tls.is_some()
    }

    /// The greeting with its macros. sendmail's own default would claim to be sendmail.
    #[must_use]
    pub fn greeting_text(&self) -> &str {
        match self.site.options.greeting.message.as_str() {
            "$j Sendmail $v/$Z; $b" => "$j smtpd $v; $b",
            other => other,
        }
    }

    /// QueueLA: whether messages are only queued for now.
    #[must_use]
    pub fn only_queues(&self) -> bool {
        let limit = self.site.options.limits.queue_load.get();
        limit.is_some_and(|limit| load_average() >= limit)
    }

    /// MinFreeBlocks: the refusal while the queue's disk is full.
    #[must_use]
    pub fn overload(&self) -> Option<Reply> {
        let wanted = self.site.options.limits.min_free_blocks.0?;
        let free = free_blocks(&reach::queue(&self.site))?;
        let text = "Insufficient disk space; try again later";
        (free < wanted).then(|| reply(452, (4, 4, 5), text))
    }
}

#[cfg(test)]
impl World {
    /// A world of a site below this folder, with a queue on this disk, that says nothing.
    pub(crate) fn of_test(
        root: &std::path::Path,
        disk: Arc<dyn libmaps::store::disk::Disk>,
    ) -> Arc<Self> {
        for folder in ["etc/mail", "var/spool/clientmqueue", "queue"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let mc = "define(`confDOMAIN_NAME', `mx.test.example')dnl\nFEATURE(`no_default_msa')dnl\n\
                  define(`ALIAS_FILE', `/etc/mail/aliases')dnl\nMAILER(`local')dnl\nMAILER(`smtp')dnl\n";
        let files = [
            ("etc/mail/sendmail.mc", mc),
            ("etc/mail/service.switch", "hosts files\n"),
            ("etc/hosts", "127.0.0.1 mx.test.example\n"),
            ("etc/passwd", "ann:x:1001:1001::/home/ann:/bin/sh\n"),
            ("etc/mail/aliases", ""),
        ];
        for (name, text) in files {
            let path = root.join(name);
            if !path.exists() {
                std::fs::write(path, text).unwrap();
            }
        }
        crate::tables::build_aliases(&root.join("etc/mail/aliases")).unwrap();
        let site = SoundSite::read(Some(root), None).unwrap().0;
        let queue = Queue::open_on(&root.join("queue"), disk).unwrap();
        let log = Log::open(crate::log::Target::Syslog(root.join("no/log")));
        let throttle = Throttle::new(std::time::Duration::from_secs(60), 0);
        World::open(site, queue, Arc::new(log), throttle, None).unwrap()
    }
}

/// The site's TLS. What can't be used is logged, and what was there before stays.
#[must_use]
pub fn open_tls(site: &Site, log: &Log, before: Option<Arc<Tls>>) -> Option<Arc<Tls>> {
    let tls = match Tls::of(site) {
        Ok(tls) => tls?,
        Err(error) => {
            log.say(Level::Error, &format!("STARTTLS=server: {error}"));
            return before;
        }
    };
    if let Some(warning) = tls.warning() {
        log.say(Level::Warning, &warning);
    }
    Some(Arc::new(tls))
}

/// Free blocks of 1,024 octets for ordinary users.
#[allow(unsafe_code)] // statvfs(3) has no safe form in std.
fn free_blocks(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: the path ends in NUL and the structure is ours.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stat) == 0).then_some(stat)?
    };
    Some(stat.f_bavail * stat.f_frsize / 1024)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use libmaps::store::disk::System;

    use super::*;

    #[test]
    fn a_world_that_does_not_come_about_changes_no_limits() {
        let root = tempfile::tempdir().unwrap();
        let world = World::of_test(root.path(), Arc::new(System));
        let (queue, log) = (Arc::clone(&world.queue), Arc::clone(&world.log));
        let limits = (17, Duration::from_secs(42));
        queue.limit_runs(limits.0);
        queue.limit_waits(limits.1);
        let site = SoundSite::read(Some(root.path()), None).unwrap().0;
        let hosts = root.path().join("etc/hosts");
        std::fs::remove_file(&hosts).unwrap();
        std::fs::create_dir(&hosts).unwrap();
        let throttle = Throttle::new(Duration::from_secs(60), 0);
        assert!(World::open(site, Arc::clone(&queue), log, throttle, None).is_err());
        assert_eq!(queue.limits(), limits);
        drop(world);
    }
}
