//! Whatever option a site gives is done, or told with file and line that it is not.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeSet;
use std::path::Path;

use libmaps::lint::{options, undone};
use libmaps::site::model::options::{OptionView, conf_names};
use libmaps::site::{Diagnostic, Severity, load};

/// Options that are done: where, and the words that ask for the value there.
const DONE: &[(&str, &str, &str)] = &[
    ("AliasFile", "bins/smtpd/src/awaited.rs", ".aliases"),
    (
        "AllowBogusHELO",
        "bins/smtpd/src/daemon.rs",
        ".allow_bogus_helo",
    ),
    ("AuthMechanisms", "bins/smtpd/src/login.rs", ".mechanisms"),
    ("AuthOptions", "bins/smtpd/src/login.rs", ".options"),
    ("AuthRealm", "bins/smtpd/src/login.rs", ".realm"),
    (
        "BadRcptThrottle",
        "bins/smtpd/src/daemon.rs",
        ".bad_recipient_throttle",
    ),
    ("BlankSub", "libmaps/src/policy/route/parse.rs", ".blank()"),
    ("CACertFile", "bins/smtpd/src/tls/client.rs", ".ca_file"),
    ("CACertPath", "bins/smtpd/src/tls/files.rs", ".ca_path"),
    ("CRLFile", "bins/smtpd/src/tls/files.rs", ".crl_file"),
    ("CRLPath", "bins/smtpd/src/tls/files.rs", ".crl_path"),
    (
        "CipherList",
        "libmaps/src/site/model/options/terms.rs",
        ".cipher_list",
    ),
    (
        "ClassFactor",
        "bins/smtpd/src/queue/schedule.rs",
        ".class_factor",
    ),
    (
        "ClientCertFile",
        "bins/smtpd/src/tls/client.rs",
        ".client_cert",
    ),
    (
        "ClientKeyFile",
        "bins/smtpd/src/tls/client.rs",
        ".client_key",
    ),
    (
        "ClientSSLOptions",
        "libmaps/src/site/model/options/terms.rs",
        ".client_options",
    ),
    (
        "ConnectOnlyTo",
        "bins/smtpd/src/relay/delivery/hosts.rs",
        ".connect_only_to",
    ),
    (
        "ConnectionCacheSize",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".connection_cache_size",
    ),
    (
        "ConnectionCacheTimeout",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".connection_cache_timeout",
    ),
    (
        "ConnectionRateMap",
        "bins/smtpd/src/server.rs",
        ".connection_rate_map",
    ),
    (
        "ConnectionRateThrottle",
        "bins/smtpd/src/daemon.rs",
        ".connection_rate",
    ),
    (
        "ConnectionRateWindowSize",
        "bins/smtpd/src/server.rs",
        ".connection_rate_window",
    ),
    (
        "DeadLetterDrop",
        "bins/smtpd/src/agent/allowed.rs",
        ".dead_letter_drop",
    ),
    (
        "DefaultAuthInfo",
        "bins/smtpd/src/relay/authinfo.rs",
        ".default_info",
    ),
    (
        "DefaultCharSet",
        "bins/smtpd/src/relay/delivery/transactions.rs",
        ".default_charset",
    ),
    (
        "DefaultUser",
        "bins/smtpd/src/privilege.rs",
        ".default_user",
    ),
    ("DelayLA", "bins/smtpd/src/daemon.rs", ".delay_load"),
    (
        "DeliverByMin",
        "bins/smtpd/src/daemon.rs",
        ".deliver_by_min",
    ),
    ("DeliveryMode", "bins/smtpd/src/daemon.rs", ".mode"),
    (
        "DontBlameSendmail",
        "bins/smtpd/src/agent/files.rs",
        ".dont_blame",
    ),
    (
        "DontProbeInterfaces",
        "libmaps/src/site/mc/finish.rs",
        ".dont_probe_interfaces",
    ),
    (
        "DoubleBounceAddress",
        "bins/smtpd/src/dsn/report.rs",
        ".double_bounce_address",
    ),
    (
        "EightBitMode",
        "bins/smtpd/src/relay/delivery/transactions.rs",
        ".eight_bit_mode",
    ),
    (
        "ErrorHeader",
        "bins/smtpd/src/deliver/ending.rs",
        ".error_header",
    ),
    (
        "FallbackMXhost",
        "bins/smtpd/src/relay/delivery/hosts.rs",
        ".fallback_mx",
    ),
    (
        "FallbackSmartHost",
        "bins/smtpd/src/relay/delivery/hosts.rs",
        ".fallback_smart_host",
    ),
    (
        "ForwardPath",
        "bins/smtpd/src/deliver/forward_file.rs",
        ".forward_path",
    ),
    ("HeloName", "bins/smtpd/src/relay/open.rs", ".helo_name"),
    (
        "HoldExpensive",
        "bins/smtpd/src/deliver/batch.rs",
        ".hold_expensive",
    ),
    ("HostsFile", "bins/tools/src/serve/confinement.rs", ".hosts"),
    // By its findings: filters are not asked.
    (
        "InputMailFilters",
        "libmaps/src/lint/undone.rs",
        ".filters.input",
    ),
    (
        "LDAPDefaultSpec",
        "libmaps/src/site/mc/ldap.rs",
        ".ldap_default",
    ),
    (
        "MaxAliasRecursion",
        "libmaps/src/policy/expand.rs",
        ".max_alias_recursion",
    ),
    (
        "MaxDaemonChildren",
        "bins/smtpd/src/throttle.rs",
        ".max_daemon_children",
    ),
    (
        "MaxHeadersLength",
        "bins/smtpd/src/drop/take.rs",
        ".max_headers_octets",
    ),
    ("MaxHopCount", "bins/smtpd/src/deliver.rs", ".max_hops"),
    (
        "MaxMessageSize",
        "bins/smtpd/src/daemon.rs",
        ".max_message_octets",
    ),
    (
        "MaxNOOPCommands",
        "bins/smtpd/src/daemon.rs",
        ".max_noop_commands",
    ),
    (
        "MaxQueueAge",
        "bins/smtpd/src/queue/schedule.rs",
        ".max_age",
    ),
    (
        "MaxQueueChildren",
        "bins/smtpd/src/deliver.rs",
        ".max_children",
    ),
    (
        "MaxQueueRunSize",
        "bins/smtpd/src/world.rs",
        ".max_run_size",
    ),
    (
        "MaxRecipientsPerMessage",
        "bins/smtpd/src/daemon.rs",
        ".max_recipients",
    ),
    (
        "MinFreeBlocks",
        "bins/smtpd/src/world.rs",
        ".min_free_blocks",
    ),
    (
        "MinQueueAge",
        "bins/smtpd/src/queue/schedule.rs",
        ".min_age",
    ),
    (
        "OldStyleHeaders",
        "bins/smtpd/src/sendmail/submit.rs",
        ".old_style_headers",
    ),
    ("PidFile", "bins/smtpd/src/sendmail/daemon.rs", ".pid"),
    (
        "PostmasterCopy",
        "bins/smtpd/src/dsn/report.rs",
        ".postmaster_copy",
    ),
    ("PrivacyOptions", "bins/smtpd/src/daemon.rs", ".privacy"),
    ("QueueDirectory", "bins/smtpd/src/drop/mod.rs", ".directory"),
    ("QueueLA", "bins/smtpd/src/daemon.rs", ".queue_load"),
    (
        "QueueSortOrder",
        "bins/smtpd/src/queue/schedule.rs",
        ".sort_order",
    ),
    (
        "RecipientFactor",
        "bins/smtpd/src/queue/schedule.rs",
        ".recipient_factor",
    ),
    ("RefuseLA", "bins/smtpd/src/daemon.rs", ".refuse_load"),
    (
        "RetryFactor",
        "bins/smtpd/src/queue/schedule.rs",
        ".retry_factor",
    ),
    (
        "RrtImpliesDsn",
        "bins/smtpd/src/connection/message.rs",
        ".rrt_implies_dsn",
    ),
    ("RunAsUser", "bins/smtpd/src/privilege.rs", ".run_as_user"),
    ("SMTPUTF8", "bins/smtpd/src/daemon.rs", ".smtputf8"),
    (
        "SafeFileEnvironment",
        "bins/smtpd/src/deliver/safe_folder.rs",
        ".safe_file_environment",
    ),
    (
        "SendMimeErrors",
        "bins/smtpd/src/deliver/ending.rs",
        ".send_mime_errors",
    ),
    ("ServerCertFile", "bins/smtpd/src/tls.rs", ".server_cert"),
    ("ServerKeyFile", "bins/smtpd/src/tls.rs", ".server_key"),
    (
        "ServerSSLOptions",
        "libmaps/src/site/model/options/terms.rs",
        ".server_options",
    ),
    (
        "ServiceSwitchFile",
        "bins/tools/src/serve/confinement.rs",
        ".service_switch",
    ),
    (
        "SingleThreadDelivery",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".single_thread",
    ),
    ("SmtpGreetingMessage", "bins/smtpd/src/world.rs", ".message"),
    ("SoftBounce", "bins/smtpd/src/daemon.rs", ".soft_bounce"),
    (
        "TLSFallbacktoClear",
        "bins/smtpd/src/relay/open.rs",
        ".fallback_to_clear",
    ),
    (
        "TLSSrvOptions",
        "bins/smtpd/src/consult/welcome.rs",
        ".srv_options",
    ),
    (
        "Timeout.aconnect",
        "bins/smtpd/src/relay/delivery.rs",
        ".aconnect",
    ),
    ("Timeout.auth", "bins/smtpd/src/relay/link.rs", ".auth"),
    (
        "Timeout.command",
        "bins/smtpd/src/connection.rs",
        ".command",
    ),
    (
        "Timeout.connect",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".connect",
    ),
    (
        "Timeout.datablock",
        "bins/smtpd/src/relay/link.rs",
        ".data_block",
    ),
    (
        "Timeout.datafinal",
        "bins/smtpd/src/relay/link.rs",
        ".data_final",
    ),
    (
        "Timeout.datainit",
        "bins/smtpd/src/relay/link.rs",
        ".data_init",
    ),
    ("Timeout.helo", "bins/smtpd/src/relay/link.rs", ".helo"),
    (
        "Timeout.hoststatus",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".host_status",
    ),
    (
        "Timeout.iconnect",
        "bins/smtpd/src/relay/delivery/connections.rs",
        ".iconnect",
    ),
    (
        "Timeout.initial",
        "bins/smtpd/src/relay/link.rs",
        ".initial",
    ),
    ("Timeout.lhlo", "bins/smtpd/src/relay/link.rs", ".lhlo"),
    ("Timeout.mail", "bins/smtpd/src/relay/link.rs", ".mail"),
    (
        "Timeout.queuereturn",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_return",
    ),
    (
        "Timeout.queuereturn.dsn",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_return_dsn",
    ),
    (
        "Timeout.queuereturn.non-urgent",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_return_non_urgent",
    ),
    (
        "Timeout.queuereturn.normal",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_return_normal",
    ),
    (
        "Timeout.queuereturn.urgent",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_return_urgent",
    ),
    (
        "Timeout.queuewarn",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_warn",
    ),
    (
        "Timeout.queuewarn.dsn",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_warn_dsn",
    ),
    (
        "Timeout.queuewarn.non-urgent",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_warn_non_urgent",
    ),
    (
        "Timeout.queuewarn.normal",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_warn_normal",
    ),
    (
        "Timeout.queuewarn.urgent",
        "bins/smtpd/src/queue/schedule.rs",
        ".queue_warn_urgent",
    ),
    ("Timeout.quit", "bins/smtpd/src/relay/link.rs", ".quit"),
    ("Timeout.rcpt", "bins/smtpd/src/relay/link.rs", ".rcpt"),
    (
        "Timeout.resolver.retrans",
        "bins/smtpd/src/resolver.rs",
        ".resolver_retrans",
    ),
    (
        "Timeout.resolver.retry",
        "bins/smtpd/src/resolver.rs",
        ".resolver_retry",
    ),
    ("Timeout.rset", "bins/smtpd/src/relay/link.rs", ".rset"),
    (
        "Timeout.starttls",
        "bins/smtpd/src/connection/handshake.rs",
        ".starttls",
    ),
    (
        "TryNullMXList",
        "bins/smtpd/src/relay/exchange.rs",
        ".try_null_mx_list",
    ),
    (
        "UseCompressedIPv6Addresses",
        "bins/tools/src/serve/policy/decide.rs",
        ".compressed_ipv6",
    ),
    (
        "CheckAliases",
        "libmaps/src/site/alias_files.rs",
        "\"CheckAliases\"",
    ),
    (
        "DontExpandCnames",
        "bins/smtpd/src/resolver.rs",
        ".dont_expand_cnames",
    ),
    (
        "MatchGECOS",
        "libmaps/src/policy/route/localaddr.rs",
        ".match_gecos",
    ),
    (
        "ErrorMode",
        "bins/smtpd/src/sendmail/submit.rs",
        ".error_mode",
    ),
    // Always: a NUL is a fault of the body.
    (
        "RejectNUL",
        "bins/smtpd/src/session/body.rs",
        "BodyFault::Nul",
    ),
    // By the FEATURE that asks for them.
    (
        "SetCertAltnames",
        "libmaps/src/policy/tls.rs",
        ".check_cert_altnames",
    ),
    (
        "TrustedUser",
        "libmaps/src/site/alias_files.rs",
        "\"TrustedUser\"",
    ),
];

/// A value of this kind that is nobody's default.
fn odd_value(view: &OptionView) -> &'static str {
    match view.kind {
        "switch" if view.value == "True" => "False",
        "switch" => "True",
        "number" | "limit" => "77",
        "mode" => "0644",
        "path" => "/odd/path",
        kind if kind.starts_with("time") => "77s",
        _ => "odd",
    }
}

/// What is found in a `.mc` file of this text, but for notes on what it lacks.
fn findings(root: &Path, mc: &str) -> Vec<Diagnostic> {
    let path = root.join("etc/mail/sendmail.mc");
    std::fs::write(&path, mc).unwrap();
    let loaded = load(Some(root), None).unwrap();
    undone::findings(&loaded.site)
}

/// The options of a file that says nothing.
fn usual() -> Vec<OptionView> {
    let root = root();
    let mc = "MAIL_FILTER(`f', `S=local:/f')dnl\n";
    std::fs::write(root.path().join("etc/mail/sendmail.mc"), mc).unwrap();
    load(Some(root.path()), None).unwrap().site.options.views()
}

fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    root
}

/// A file that defines this, in its third line.
fn defining(conf: &str, value: &str) -> String {
    format!(
        "OSTYPE(`linux')dnl\nMAIL_FILTER(`f', `S=local:/f')dnl\ndefine(`{conf}', `{value}')dnl\nMAILER(`local')dnl\n"
    )
}

#[test]
fn every_option_is_done_or_told() {
    let root = root();
    let told: BTreeSet<&str> = options::undone().map(|(name, _)| name).collect();
    let done: BTreeSet<&str> = DONE.iter().map(|(name, ..)| *name).collect();
    assert_eq!(
        (told.len(), done.len()),
        (options::undone().count(), DONE.len()),
        "named twice"
    );
    let views = usual();
    for (name, conf) in conf_names() {
        assert!(
            told.contains(name) != done.contains(name),
            "{name} is to be in one of both tables"
        );
        if !told.contains(name) {
            continue;
        }
        let view = views.iter().find(|view| view.name == name).unwrap();
        let found = findings(root.path(), &defining(conf, odd_value(view)));
        let text = format!("{name} is not done: ");
        let of_it: Vec<_> = found.iter().filter(|d| d.text.starts_with(&text)).collect();
        assert_eq!(of_it.len(), 1, "{name}: {found:#?}");
        assert_eq!(of_it[0].line, 3, "{name}");
        // Who writes what is so anyway is told nothing.
        let found = findings(root.path(), &defining(conf, &view.value));
        assert!(
            !found.iter().any(|d| d.text.starts_with(&text)),
            "{name}={}: {found:#?}",
            view.value
        );
    }
    assert_eq!(told.len() + done.len(), conf_names().count());
}

#[test]
fn what_is_done_is_asked_for_where_the_table_says() {
    for (name, file, words) in DONE {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        let is_whole = |at: usize| {
            let next = text[at + words.len()..].chars().next();
            !next.is_some_and(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(
            text.match_indices(words).any(|(at, _)| is_whole(at)),
            "{name}: {file} has no {words}"
        );
    }
}

/// What distributions bring is read without a word, but for what is lost.
#[test]
fn files_of_distributions_are_not_drowned_in_findings() {
    let root = root();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testdata/site/mc");
    for (name, expected) in [
        ("debian-like", &["confAUTH_MECHANISMS:"][..]),
        ("redhat-like", &["UserDatabaseSpec", "mailer"][..]),
        ("submission-msa", &[][..]),
        ("slackware-full", &["mailer"][..]),
    ] {
        let mc = std::fs::read_to_string(folder.join(format!("{name}.mc"))).unwrap();
        let found = findings(root.path(), &mc);
        let told: Vec<&str> = found
            .iter()
            .filter(|d| d.severity > Severity::Note)
            .map(|d| d.text.split_whitespace().next().unwrap())
            .collect();
        assert_eq!(told, expected, "{name}: {found:#?}");
    }
}

#[test]
fn what_changes_who_gets_mail_is_an_error() {
    let root = root();
    let severity = |conf: &str, value: &str| {
        let found = findings(root.path(), &defining(conf, value));
        found.iter().find(|d| d.line == 3).map(|d| d.severity)
    };
    for (conf, value) in [
        ("confMAILBOX_DATABASE", "ldap"),
        ("confDANE", "always"),
        ("confDANE", "true"),
        ("confUSERDB_SPEC", "@hub.example"),
    ] {
        assert_eq!(
            severity(conf, value),
            Some(Severity::Error),
            "{conf} {value}"
        );
    }
    assert_eq!(severity("confDANE", "no"), None);
    // A user database that is not there is passed over by sendmail, too.
    let database = "/etc/mail/userdb";
    assert_eq!(
        severity("confUSERDB_SPEC", database),
        Some(Severity::Warning)
    );
    std::fs::write(root.path().join("etc/mail/userdb.db"), "").unwrap();
    assert_eq!(severity("confUSERDB_SPEC", database), Some(Severity::Error));
    for (options, told) in [
        ("+SSL_OP_NO_SSLv3 +SSL_OP_NO_TLSv1", None),
        ("+SSL_OP_CIPHER_SERVER_PREFERENCE", None),
        ("+SSL_OP_NO_SSLv3 +SSL_OP_NO_TLSv1_2", None),
        ("+SSL_OP_NO_SUCH", Some(Severity::Warning)),
        (
            "+SSL_OP_NO_TLSv1_2 +SSL_OP_NO_TLSv1_3",
            Some(Severity::Error),
        ),
    ] {
        assert_eq!(severity("confSERVER_SSL_OPTIONS", options), told);
        assert_eq!(severity("confCLIENT_SSL_OPTIONS", options), told);
    }
    assert_eq!(severity("confCIPHER_LIST", "HIGH"), None);
    assert_eq!(severity("confCIPHER_LIST", "DEFAULT@SECLEVEL=1"), None);
    let mc = defining("confCIPHER_LIST", "AES256-SHA")
        + "define(`confSERVER_SSL_OPTIONS', `+SSL_OP_NO_TLSv1_3')dnl\n";
    let found = findings(root.path(), &mc);
    let neither = "ServerSSLOptions: neither TLS 1.2, with a cipher, nor TLS 1.3 is left";
    assert!(
        found
            .iter()
            .any(|d| d.text == neither && d.severity == Severity::Error),
        "{found:#?}"
    );
    let none_of_ours = severity("confCIPHER_LIST", "AES256-SHA");
    assert_eq!(none_of_ours, Some(Severity::Warning));
}
