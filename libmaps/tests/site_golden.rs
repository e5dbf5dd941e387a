//! The model against what sendmail's own m4 makes of the same files: `testdata/site/mc` and the recordings in
//! `testdata/site/cf`, made by `testdata/site/compare.py`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    missing_docs
)]

use std::fs;
use std::path::{Path, PathBuf};

use libmaps::site::model::options::Options;
use libmaps::site::model::{Class, DaemonOptions, MapSpec, Rewriting};
use libmaps::site::{self, Place, Severity, Site};

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../testdata/site")
        .join(name)
}

/// A root in which the class files that the samples name are there, and empty.
fn root() -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("etc/mail")).unwrap();
    for file in ["local-host-names", "trusted-users"] {
        fs::write(root.path().join("etc/mail").join(file), "").unwrap();
    }
    root
}

fn samples() -> Vec<(String, Site, Vec<String>)> {
    let root = root();
    let mut samples = Vec::new();
    let mut paths: Vec<_> = fs::read_dir(folder("mc"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let loaded = site::load(Some(root.path()), Some(&path)).unwrap();
        let errors: Vec<_> = loaded
            .diagnostics
            .iter()
            .filter(|d| d.severity == Severity::Error)
            .collect();
        assert!(errors.is_empty(), "{name}: {errors:#?}");
        let cf = fs::read_to_string(folder("cf").join(format!("{name}.cf"))).unwrap();
        samples.push((name, loaded.site, cf.lines().map(str::to_owned).collect()));
    }
    assert!(samples.len() > 40);
    samples
}

/// What follows a prefix on the lines that have it.
fn after<'a>(cf: &'a [String], prefix: &str) -> Vec<&'a str> {
    cf.iter()
        .filter_map(|line| line.strip_prefix(prefix))
        .collect()
}

#[test]
fn options_are_those_of_the_cf() {
    let place = Place::new(Path::new("cf"), 1);
    for (name, site, cf) in samples() {
        let mut expected = Options::default();
        for line in after(&cf, "O ") {
            let (option, value) = line.split_once('=').unwrap_or((line, ""));
            if matches!(option, "DaemonPortOptions" | "ClientPortOptions") {
                continue;
            }
            expected
                .set(option, value, &place)
                .unwrap_or_else(|e| panic!("{name}: {line}: {e:?}"));
        }
        for (found, expected) in site.options.views().iter().zip(expected.views()) {
            // The macro USE_SYSTEM is no value of the cf: there the line is a comment.
            if found.name == "TimeZoneSpec" {
                continue;
            }
            assert_eq!(found.value, expected.value, "{name}: {}", found.name);
        }
    }
}

#[test]
fn listeners_are_those_of_the_cf() {
    for (name, site, cf) in samples() {
        let lines = after(&cf, "O DaemonPortOptions=");
        assert_eq!(lines.len(), site.daemons.len(), "{name}");
        for (line, daemon) in lines.iter().zip(&site.daemons) {
            let daemon: &DaemonOptions = daemon;
            for pair in line.split(',') {
                let (key, value) = pair.trim().split_once('=').unwrap();
                let found = match &key[..1] {
                    "N" => &daemon.name,
                    "P" => &daemon.port,
                    "M" => &daemon.modifiers.0,
                    "A" => daemon.address.as_ref().unwrap(),
                    "F" => &daemon.family.as_str().to_owned(),
                    other => panic!("{other}"),
                };
                assert_eq!(found, value, "{name}: {line}");
            }
        }
    }
}

#[test]
fn mailers_are_those_of_the_cf() {
    for (name, site, cf) in samples() {
        let lines = after(&cf, "M");
        assert_eq!(lines.len() + 2, site.mailers.defined.len(), "{name}");
        for line in lines {
            let (head, arguments) = line.split_once("A=").unwrap_or_else(|| panic!("{line}"));
            let mailer = site
                .mailers
                .get(head.split(',').next().unwrap().trim())
                .unwrap_or_else(|| panic!("{name}: {line}"));
            let field = |key: &str| {
                head.split(',')
                    .map(str::trim)
                    .find_map(|f| f.strip_prefix(key))
            };
            assert_eq!(field("P="), Some(mailer.path.as_str()), "{name}: {line}");
            assert_eq!(field("F="), Some(mailer.flags.as_str()), "{name}: {line}");
            assert_eq!(
                field("M=").map(|m| m.parse().unwrap()),
                mailer.max_octets,
                "{name}: {line}"
            );
            assert_eq!(
                field("L=").map(|m| m.parse().unwrap()),
                mailer.line_octets,
                "{name}: {line}"
            );
            assert_eq!(field("D="), mailer.directory.as_deref(), "{name}: {line}");
            assert_eq!(arguments.trim(), mailer.arguments, "{name}: {line}");
            let rewriting = match field("S=").unwrap() {
                "EnvFromL/HdrFromL" => Rewriting::Local,
                "EnvFromSMTP/HdrFromL" => Rewriting::LocalLmtp,
                _ => match field("R=").unwrap() {
                    recipients if recipients.starts_with("MasqSMTP") => Rewriting::Relay,
                    "EnvToSMTP/HdrFromSMTP" if mailer.name == "procmail" => Rewriting::SmtpBoth,
                    _ => Rewriting::Smtp,
                },
            };
            assert_eq!(rewriting, mailer.rewriting, "{name}: {line}");
        }
    }
}

#[test]
fn maps_are_those_of_the_cf() {
    for (name, site, cf) in samples() {
        let features = &site.features;
        for (map, found) in [
            ("access", features.access.as_ref().map(|access| &access.map)),
            ("mailertable", features.mailertable.as_ref()),
            ("virtuser", features.virtusertable.as_ref()),
            ("generics", features.genericstable.as_ref()),
            ("domaintable", features.domaintable.as_ref()),
            ("authinfo", features.authinfo.as_ref()),
        ] {
            let lines = after(&cf, &format!("K{map} "));
            assert_eq!(
                lines.first().map(|line| words(line)),
                found.map(MapSpec::text),
                "{name}: {map}"
            );
        }
    }
}

fn words(line: &str) -> String {
    line.split_ascii_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn names_and_relays_are_those_of_the_cf() {
    for (name, site, cf) in samples() {
        for (letter, found) in [
            ("j", Some(site.host_name.clone())),
            ("S", site.relays.smart_host.clone()),
            ("H", site.relays.mail_hub.clone()),
            ("R", site.relays.local.clone()),
            ("L", site.relays.luser.clone()),
            ("M", site.masquerade.name.clone()),
            ("n", Some(site.error_name.clone())),
        ] {
            let last = after(&cf, &format!("D{letter}"))
                .last()
                .map(|text| (*text).to_owned());
            let last = last.filter(|text| !text.is_empty());
            // Without a D line j is the machine's name.
            if letter != "j" || last.is_some() {
                assert_eq!(found, last, "{name}: {letter}");
            }
        }
    }
}

#[test]
fn classes_are_those_of_the_cf() {
    for (name, site, cf) in samples() {
        let c = &site.classes;
        let all: [(&str, &Class); 11] = [
            ("w", &c.local_hosts),
            ("t", &c.trusted_users),
            ("R", &c.relay_domains),
            ("M", &c.masquerade_domains),
            ("N", &c.masquerade_exceptions),
            ("E", &c.exposed_users),
            ("G", &c.generics_domains),
            ("VirtHost", &c.virtual_hosts),
            ("L", &c.local_users),
            ("P", &c.pseudo_domains),
            ("TrustAuthMech", &c.trusted_mechanisms),
        ];
        for (class, found) in all {
            let mut expected = Class::default();
            let mut lines = after(&cf, &format!("C{{{class}}}"));
            if class.len() == 1 {
                lines.extend(after(&cf, &format!("C{class}")));
            }
            if class == "t" {
                lines.extend(after(&cf, "T"));
            }
            for word in lines.iter().flat_map(|line| line.split_ascii_whitespace()) {
                match word {
                    "$={VirtHost}" => expected.extend(c.virtual_hosts.iter()),
                    word => expected.insert(word.as_bytes()),
                }
            }
            if class == "w" {
                // The machine's own names come on top.
                if !site.host_name.is_empty() {
                    expected.insert(site.host_name.as_bytes());
                }
                if site.options.addresses.dont_probe_interfaces != "True" {
                    expected.insert(b"[127.0.0.1]");
                }
            }
            assert_eq!(found.sorted(), expected.sorted(), "{name}: {class}");
        }
    }
}

#[test]
fn every_recording_has_its_file() {
    let names = |name: &str| -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(folder(name))
            .unwrap()
            .map(|e| {
                e.unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(names("mc"), names("cf"));
}
