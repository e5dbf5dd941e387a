//! `smtpd check`: tests a configuration and prints what it would listen on and trust.

use std::process::ExitCode;
use std::sync::Arc;

use libmaps::sasl::password::SecretBytes;
use libmaps::site::Site;
use libmaps::site::diagnostic::{Diagnostic, Severity};
use libmaps::site::load;
use libmaps::site::model::DaemonOptions;
use libmaps::sysexits::SysExit;

use crate::login::Logins;
use crate::maps::LiveMaps;
use crate::privilege::Becoming;
use crate::resolver::Resolver;
use crate::server::Start;
use crate::tls::Tls;

/// Checks; 0 if the server would start, 78 if not.
#[must_use]
pub fn check(start: &Start) -> ExitCode {
    let loaded = match load::load(start.root.as_deref(), start.file.as_deref()) {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("smtpd: {error}");
            return SysExit::NoInput.into();
        }
    };
    let undone = crate::undone::findings(&loaded.site);
    let findings: Vec<_> = loaded.diagnostics.iter().chain(&undone).collect();
    for finding in &findings {
        println!("{finding}");
    }
    let is_error = |f: &&&Diagnostic| f.severity == Severity::Error;
    let mut faults = findings.iter().filter(is_error).count();
    let site = &Arc::new(loaded.site);
    println!("host {}", site.host_name);
    for daemon in &site.daemons {
        println!("listen {}", listener(daemon));
    }
    let mut try_part = |what: &str, result: Result<String, String>| match result {
        Ok(text) => println!("{what} {text}"),
        Err(error) => {
            faults += 1;
            println!("{what} ERROR {error}");
        }
    };
    try_part(
        "maps",
        LiveMaps::open(site)
            .map(|_| "open".into())
            .map_err(|e| e.to_string()),
    );
    try_part(
        "counts",
        Ok(match site.options.limits.connection_rate_map.trim() {
            "" => "of this host".into(),
            map => format!("of all hosts, by {map}"),
        }),
    );
    try_part("tls", tls(site));
    try_part("run-as", Becoming::described(site));
    try_part("auth", auth(site));
    try_part(
        "resolver",
        Resolver::of(site)
            .map(|_| "ready".into())
            .map_err(|e| e.to_string()),
    );
    let classes = &site.classes;
    for (what, class) in [
        ("local", &classes.local_hosts),
        ("relay", &classes.relay_domains),
        ("trust-auth", &classes.trusted_mechanisms),
    ] {
        let mut words: Vec<_> = class.iter().map(|w| String::from_utf8_lossy(w)).collect();
        words.sort_unstable();
        println!("{what} {}", words.join(" "));
    }
    if faults == 0 {
        SysExit::Ok
    } else {
        SysExit::Config
    }
    .into()
}

fn listener(daemon: &DaemonOptions) -> String {
    let mut text = format!(
        "{} {} {}:{} modifiers={}",
        daemon.name,
        daemon.family.as_str(),
        daemon.address.as_deref().unwrap_or("*"),
        daemon.port,
        daemon.modifiers.0
    );
    if let Some(proxies) = daemon.other("Proxy") {
        text.push_str(&format!(" proxies={proxies}"));
    }
    text
}

fn tls(site: &Site) -> Result<String, String> {
    match Tls::of(site) {
        Ok(Some(tls)) => Ok(tls.warning().unwrap_or_else(|| "ready".into())),
        Ok(None) => Ok("none".into()),
        Err(error) => Err(error.to_string()),
    }
}

fn auth(site: &Site) -> Result<String, String> {
    // Nobody logs in here, so nothing is shown that depends on the secret.
    let logins = Logins::of(site, SecretBytes::new(Vec::new())).map_err(|e| e.to_string())?;
    for warning in logins.warnings() {
        println!("{warning}");
    }
    let clear = libmaps::policy::facts::Tls::default();
    let under = libmaps::policy::facts::Tls {
        version: "TLSv1.3".into(),
        ..clear.clone()
    };
    let any = [libmaps::sasl::mechanism::ChannelBinding {
        kind: libmaps::sasl::mechanism::BindingKind::TlsExporter,
        data: Vec::new(),
    }];
    Ok(format!(
        "in clear: {}; under TLS: {}",
        logins.mechanisms(&clear, &[]).join(" "),
        logins.mechanisms(&under, &any).join(" ")
    ))
}
