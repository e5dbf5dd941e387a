//! The units of the service manager: they load, and their exposure is "OK" or better.
#![allow(clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::process::Command;

/// The most that `systemd-analyze security` calls "OK", in tenths.
const OK: &str = "49";

fn analyze(args: &[&str], unit: &Path) -> Option<(bool, String)> {
    let run = Command::new("systemd-analyze")
        .args(args)
        .arg(unit)
        .output();
    let output = run.ok()?;
    let said = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&said).into_owned(),
    ))
}

/// The units, below `bins`, and the programs that they start.
const UNITS: &[(&str, &str)] = &[
    ("smtpd/systemd/smtpd.service", "/usr/sbin/smtpd"),
    ("saslauthd/systemd/saslauthd.service", "/usr/sbin/saslauthd"),
];

#[test]
fn units_load_and_their_exposure_is_ok() {
    for (file, program) in UNITS {
        let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file);
        let threshold = format!("--threshold={OK}");
        let args = ["security", "--offline=true", "--no-pager", &threshold];
        let Some((fine, said)) = analyze(&args, &unit) else {
            return eprintln!("skipped: there is no systemd-analyze");
        };
        if said.contains("unrecognized option") {
            return eprintln!("skipped: systemd-analyze is too old");
        }
        assert!(fine, "{said}");
        // As if it were installed: some program stands in the place of ours.
        let dir = tempfile::tempdir().unwrap();
        let text = fs::read_to_string(&unit).unwrap();
        assert!(text.contains(program), "{file}");
        let name = unit.file_name().unwrap();
        let installed = dir.path().join(name);
        fs::write(&installed, text.replace(program, "/bin/true")).unwrap();
        let Some((_, said)) = analyze(&["verify", "--man=no"], &installed) else {
            return;
        };
        // It looks at what the machine has, too.
        let name = name.to_str().unwrap();
        let about_ours: Vec<&str> = said.lines().filter(|l| l.contains(name)).collect();
        assert_eq!(about_ours, Vec::<&str>::new());
    }
}
