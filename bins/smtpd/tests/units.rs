//! The unit of the service manager: it loads, and its exposure is "OK" or better.
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

#[test]
fn the_unit_loads_and_its_exposure_is_ok() {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/smtpd.service");
    let threshold = format!("--threshold={OK}");
    let args = ["security", "--offline=true", "--no-pager", &threshold];
    let Some((fine, said)) = analyze(&args, &unit) else {
        return eprintln!("skipped: there is no systemd-analyze");
    };
    if said.contains("unrecognized option") {
        return eprintln!("skipped: systemd-analyze is too old");
    }
    assert!(fine, "{said}");
    // As if it were installed.
    let dir = tempfile::tempdir().unwrap();
    let text = fs::read_to_string(&unit).unwrap();
    let text = text.replace("/usr/sbin/smtpd", env!("CARGO_BIN_EXE_smtpd"));
    let unit = dir.path().join("smtpd.service");
    fs::write(&unit, text).unwrap();
    let Some((_, said)) = analyze(&["verify", "--man=no"], &unit) else {
        return;
    };
    // It looks at what the machine has, too.
    let about_ours: Vec<&str> = said
        .lines()
        .filter(|l| l.contains("smtpd.service"))
        .collect();
    assert_eq!(about_ours, Vec::<&str>::new());
}
