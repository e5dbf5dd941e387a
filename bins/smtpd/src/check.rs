//! `smtpd check`: tests a configuration and prints what it would listen on and trust.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::sync::Arc;

use libmaps::sasl::password::SecretBytes;
use libmaps::site::Site;
use libmaps::site::model::DaemonOptions;
use libmaps::sysexits::SysExit;
use tools::report::{complain, finish};

use crate::drop::rights;
use crate::listener;
use crate::login::Logins;
use crate::maps::LiveMaps;
use crate::privilege::Becoming;
use crate::resolver::Resolver;
use crate::server::{Confinement, Start};
use crate::sound::{Findings, look};
use crate::tls::Tls;

/// Checks; 0 if the server would start with all that is configured, 78 if not, 66 where there is no configuration.
#[must_use]
pub fn check(start: &Start) -> ExitCode {
    let (site, findings) = match look(start.root.as_deref(), start.file.as_deref()) {
        Ok(looked) => looked,
        Err(error) => {
            complain(&[format!("smtpd: {error}").as_bytes()]);
            return error.exit().into();
        }
    };
    let mut out = BufWriter::new(io::stdout().lock());
    let printed = print(&Arc::new(site), &findings, start.confinement, &mut out).and_then(|exit| {
        out.flush()?;
        Ok(exit)
    });
    match printed {
        Ok(exit) => exit.into(),
        Err(error) => finish("smtpd", Err(error), SysExit::Ok),
    }
}

/// Prints what was found, and what each part of the server makes of the site.
fn print(
    site: &Arc<Site>,
    findings: &Findings,
    confinement: Confinement,
    out: &mut impl Write,
) -> io::Result<SysExit> {
    for finding in &findings.0 {
        writeln!(out, "{finding}")?;
    }
    writeln!(out, "host {}", site.host_name)?;
    let (mut faults, mut absent) = (findings.errors().0.len(), 0);
    for daemon in &site.daemons {
        let text = described_daemon(daemon);
        match listener::check(site, daemon) {
            Ok(()) => writeln!(out, "listen {text}")?,
            Err(error) => {
                faults += usize::from(!daemon.modifiers.has('O'));
                absent += 1;
                writeln!(out, "listen {text} ERROR {error}")?;
            }
        }
    }
    // One with the modifier `O` need not be there, as long as another is.
    faults += usize::from(absent > 0 && absent == site.daemons.len());
    let connections = match site.options.limits.connection_rate_map.trim() {
        "" => "counted by this host alone".to_owned(),
        map => format!("counted by all hosts, by {map}"),
    };
    let parts = [
        (
            "maps",
            LiveMaps::open(site)
                .map(|maps| described(&maps))
                .map_err(|e| e.to_string()),
        ),
        ("connections", Ok(connections)),
        ("tls", tls(site)),
        ("run-as", Becoming::described(site)),
        ("drop-folder", rights::described(site, confinement)),
        ("auth", auth(site, out)?),
        (
            "resolver",
            Resolver::of(site)
                .map(|_| "ready".into())
                .map_err(|e| e.to_string()),
        ),
    ];
    for (what, result) in parts {
        match result {
            Ok(text) => writeln!(out, "{what} {text}")?,
            Err(error) => {
                faults += 1;
                writeln!(out, "{what} ERROR {error}")?;
            }
        }
    }
    let classes = &site.classes;
    for (what, class) in [
        ("local", &classes.local_hosts),
        ("relay", &classes.relay_domains),
        ("trust-auth", &classes.trusted_mechanisms),
    ] {
        let mut words: Vec<_> = class.iter().map(|w| String::from_utf8_lossy(w)).collect();
        words.sort_unstable();
        match words.as_slice() {
            [] => writeln!(out, "{what} nobody")?,
            some => writeln!(out, "{what} {}", some.join(" "))?,
        }
    }
    Ok(match faults {
        0 => SysExit::Ok,
        _ => SysExit::Config,
    })
}

fn described(maps: &LiveMaps) -> String {
    let texts = maps.texts().map(|text| {
        let text = text.display();
        format!(", {text} as it stands: newaliases has built no map of it")
    });
    std::iter::once("open".to_owned()).chain(texts).collect()
}

fn described_daemon(daemon: &DaemonOptions) -> String {
    let mut text = format!(
        "{} {} {}:{}",
        daemon.name,
        daemon.family.as_str(),
        daemon.address.as_deref().unwrap_or("*"),
        daemon.port
    );
    if !daemon.modifiers.0.is_empty() {
        text.push_str(&format!(" modifiers={}", daemon.modifiers.0));
    }
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

/// Who may log in how; warnings about it are printed first.
fn auth(site: &Site, out: &mut impl Write) -> io::Result<Result<String, String>> {
    // Nobody logs in here, so nothing is shown that depends on the secret.
    let logins = match Logins::of(site, SecretBytes::new(Vec::new())) {
        Ok(logins) => logins,
        Err(error) => return Ok(Err(error.to_string())),
    };
    for warning in logins.warnings() {
        writeln!(out, "{warning}")?;
    }
    if let Some(missing) = logins.missing() {
        writeln!(out, "warning: {missing}")?;
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
    Ok(Ok(format!(
        "in clear: {}; under TLS: {}",
        logins.mechanisms(&clear, &[], logins.passwords()).join(" "),
        logins
            .mechanisms(&under, &any, logins.passwords())
            .join(" ")
    )))
}
