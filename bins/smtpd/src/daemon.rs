//! A listener's rules, out of DAEMON_OPTIONS and the site's options.

use std::sync::Arc;

use libmaps::site::Site;
use libmaps::site::model::DaemonOptions;
use libmaps::site::model::options::{Load, OptionValue, PrivacyFlag};

use crate::session::{AuthDemand, Bounces, Names, Offer, Offers, Rules};
use crate::throttle::{RateGate, load_average};

/// Failed logins after which a connection ends.
const AUTH_STRIKES: u32 = 3;

/// One listener.
#[derive(Debug)]
pub struct Daemon {
    /// Its options.
    pub options: DaemonOptions,
    /// The rules of its sessions.
    pub rules: Arc<Rules>,
    /// ConnectionRateThrottle: new connections a second.
    pub gate: RateGate,
    loads: Loads,
    only_queues: bool,
}

/// Load averages at which a daemon does less; none is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Loads {
    queue: Option<f64>,
    refuse: Option<f64>,
    delay: Option<f64>,
}

impl Loads {
    /// The daemon's own words (`queueLA=` and its like) count before the site's options.
    fn of(site: &Site, options: &DaemonOptions) -> Self {
        let limits = &site.options.limits;
        let load = |own: &str, site: Load| {
            let own = options.other(own).map(Load::read);
            // One that does not read was refused with the configuration.
            own.map_or(site, Result::unwrap_or_default).get()
        };
        Loads {
            queue: load("queueLA", limits.queue_load),
            refuse: load("refuseLA", limits.refuse_load),
            delay: load("delayLA", limits.delay_load),
        }
    }
}

impl Daemon {
    /// The listener of these options.
    #[must_use]
    pub fn of(site: &Site, options: &DaemonOptions) -> Self {
        let privacy = site.options.greeting.privacy;
        let has = |flag| privacy.has(flag);
        let modifier = |letter: char| options.modifiers.0.contains(letter);
        let limits = &site.options.limits;
        // Below 0 it is not announced.
        let deliver_by_min = limits.deliver_by_min.0.map_or(-1, |shortest| {
            i64::try_from(shortest.as_secs()).unwrap_or(i64::MAX)
        });
        let mut offers = Offers::of(&[Offer::Pipelining, Offer::Chunking]);
        let mut offer = |what: Offer, wanted: bool| {
            if wanted {
                offers = offers.with(what);
            }
        };
        offer(Offer::Vrfy, !has(PrivacyFlag::NoVrfy));
        offer(Offer::Expn, !has(PrivacyFlag::NoExpn));
        offer(
            Offer::Verb,
            !has(PrivacyFlag::NoVerb) && !has(PrivacyFlag::NoExpn),
        );
        offer(Offer::Dsn, !has(PrivacyFlag::NoReceipts));
        offer(Offer::Etrn, !has(PrivacyFlag::NoEtrn) && !modifier('E'));
        offer(Offer::Auth, !modifier('A'));
        offer(Offer::StartTls, !modifier('S'));
        offer(Offer::DeliverBy, deliver_by_min >= 0);
        offer(Offer::SmtpUtf8, site.options.greeting.smtputf8);
        let count = |limit: Option<u64>| usize::try_from(limit.unwrap_or(0)).unwrap_or(usize::MAX);
        Daemon {
            options: options.clone(),
            rules: Arc::new(Rules {
                hostname: site.host_name.clone(),
                privacy,
                offers,
                // As in sendmail, `A` overrides `a`.
                auth: if modifier('a') && !modifier('A') {
                    AuthDemand::Required
                } else {
                    AuthDemand::Optional
                },
                max_message_octets: limits.max_message_octets.0.unwrap_or(0),
                max_recipients: count(limits.max_recipients.0),
                bad_rcpt_throttle: u32::try_from(limits.bad_recipient_throttle.0.unwrap_or(0))
                    .unwrap_or(u32::MAX),
                max_noop: u32::try_from(limits.max_noop_commands.0.unwrap_or(0))
                    .unwrap_or(u32::MAX),
                names: match site.options.greeting.allow_bogus_helo {
                    true => Names::Any,
                    false => Names::Hosts,
                },
                bounces: match site.options.delivery.soft_bounce {
                    true => Bounces::Soft,
                    false => Bounces::Hard,
                },
                auth_strikes: AUTH_STRIKES,
                bad_command: site.features.check_other.clone(),
                deliver_by_min_seconds: deliver_by_min,
            }),
            gate: RateGate::new(limits.connection_rate.0.unwrap_or(0)),
            loads: Loads::of(site, options),
            only_queues: {
                let mode = options.other("DeliveryMode");
                let mode = mode.unwrap_or(&site.options.delivery.mode);
                // `queue` and `deferred`; the first letter counts.
                mode.trim().starts_with(['q', 'Q', 'd', 'D'])
            },
        }
    }

    /// RefuseLA: whether new connections are refused for now.
    #[must_use]
    pub fn refuses_connections(&self) -> bool {
        is_reached(self.loads.refuse)
    }

    /// DelayLA: whether each command waits a second.
    #[must_use]
    pub fn delays_commands(&self) -> bool {
        is_reached(self.loads.delay)
    }

    /// QueueLA and DeliveryMode: whether a message waits for a queue run.
    #[must_use]
    pub fn only_queues(&self) -> bool {
        self.only_queues || is_reached(self.loads.queue)
    }

    /// Whether TLS starts with the first octet (modifier `s`).
    #[must_use]
    pub fn is_tls_from_start(&self) -> bool {
        self.options.modifiers.0.contains('s')
    }
}

fn is_reached(limit: Option<f64>) -> bool {
    limit.is_some_and(|limit| load_average() >= limit)
}
