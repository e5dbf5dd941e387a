//! newaliases and praliases: what of a configuration and of files keeps them from their work.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const NEWALIASES: &str = env!("CARGO_BIN_EXE_newaliases");
const PRALIASES: &str = env!("CARGO_BIN_EXE_praliases");

/// A folder with an alias file, and a `.cf` that names it and goes on with these lines.
struct Site(tempfile::TempDir);

impl Site {
    fn new(lines: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("aliases");
        fs::write(&path, "a: b\n").unwrap();
        let cf = format!(
            "O AliasFile={}\nO DontBlameSendmail=MapInUnsafeDirPath\n{lines}",
            path.display()
        );
        fs::write(dir.path().join("site.cf"), cf).unwrap();
        Site(dir)
    }

    fn at(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Exit code, and what was printed, without the folder's name.
    fn run(&self, program: &str, args: &[&str]) -> (i32, String) {
        let output = Command::new(program)
            .arg("-C")
            .arg(self.at("site.cf"))
            .args(args)
            .output()
            .unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let text = text.replace(&format!("{}/", self.0.path().display()), "");
        (output.status.code().unwrap(), text)
    }
}

#[test]
fn options_that_there_are_not_and_owners_who_are_nobody_are_errors() {
    let built = "aliases: 1 aliases, longest 1 bytes, 2 bytes total\n";
    let owner = "readcf: option TrustedUser: unknown user nosuch";
    // The lines, the arguments, the exit, and what is printed.
    let cases: [(&str, &[&str], i32, String); 9] = [
        ("O TrustedUser=0\nO HelpFile=/x\n", &[], 0, built.into()),
        ("O StrictTransportSecurity=true\n", &[], 0, built.into()),
        (
            "O TrustedUser=nosuch\n",
            &[],
            70,
            format!("site.cf: line 3: {owner}\n"),
        ),
        (
            "O Nonsense=1\n",
            &[],
            70,
            "site.cf: line 3: readcf: unknown option name Nonsense\n".into(),
        ),
        (
            "O A=1\n",
            &[],
            70,
            "site.cf: line 3: readcf: ambiguous option name A (matches AliasFile and AliasWait)\n"
                .into(),
        ),
        (
            "O AliaFile=x\nO TrustedUser=nosuch\n",
            &[],
            70,
            format!(
                "site.cf: line 3: readcf: unknown option name AliaFile\nsite.cf: line 4: {owner}\n"
            ),
        ),
        ("", &["-OTrustedUser=nosuch"], 70, format!("{owner}\n")),
        (
            "",
            &["-ONonsense=1"],
            70,
            "readcf: unknown option name Nonsense\n".into(),
        ),
        ("", &["-OTrustedUser=0"], 0, built.into()),
    ];
    for (lines, args, exit, text) in cases {
        let site = Site::new(lines);
        assert_eq!(site.run(NEWALIASES, args), (exit, text), "{lines}{args:?}");
        assert_eq!(site.at("aliases.db").exists(), exit == 0, "{lines}");
        // praliases reads what it needs.
        let said = site.run(PRALIASES, &[]).1;
        assert!(!said.contains("readcf"), "{said}");
    }
}

#[test]
fn with_a_root_its_users_are_the_owners() {
    let site = Site::new("O TrustedUser=carol\n");
    fs::create_dir(site.at("etc")).unwrap();
    let cf = [
        "O AliasFile=/aliases\n",
        "O DontBlameSendmail=MapInUnsafeDirPath\n",
        "O TrustedUser=carol\n",
    ]
    .concat();
    fs::write(site.at("site.cf"), cf).unwrap();
    let root = site.0.path().to_str().unwrap().to_owned();
    let unknown = "site.cf: line 3: readcf: option TrustedUser: unknown user carol\n";
    fs::write(site.at("etc/passwd"), "bob:x:1:1::/:/bin/false\n").unwrap();
    let ran = site.run(NEWALIASES, &["--root", &root]);
    assert_eq!(ran, (70, unknown.into()));
    fs::write(site.at("etc/passwd"), "carol:x:61234:1::/:/bin/false\n").unwrap();
    assert_eq!(site.run(NEWALIASES, &["--root", &root]).0, 0);
    if is_root() {
        assert_eq!(fs::metadata(site.at("aliases.db")).unwrap().uid(), 61_234);
    }
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn an_alias_file_that_its_owner_may_not_read_is_closed_to_root_too() {
    let site = Site::new("");
    for (mode, exit) in [
        (0o000, 66),
        (0o200, 66),
        (0o044, 66),
        (0o400, 0),
        (0o644, 0),
    ] {
        set_mode(&site.at("aliases"), mode);
        let ran = site.run(NEWALIASES, &[]);
        assert_eq!(ran.0, exit, "{mode:o}: {}", ran.1);
        if exit != 0 {
            let denied = "newaliases: cannot open aliases: Permission denied\n";
            assert_eq!(ran.1, denied, "{mode:o}");
            assert!(!site.at("aliases.db").exists());
        }
    }
}

#[test]
fn a_folder_in_the_place_of_a_map_counts_only_when_asked_for() {
    let site = Site::new("");
    fs::create_dir(site.at("aliases.db")).unwrap();
    for (args, exit) in [(&[][..], 0), (&["--strict"], 73)] {
        let ran = site.run(PRALIASES, args);
        let said = "praliases: aliases: open: Regular files only\n".to_owned();
        assert_eq!(ran, (exit, said));
    }
}

#[test]
fn an_alias_of_several_lines_is_put_aside_by_one_sign() {
    let site = Site::new("");
    let text = "sales: ann\n#press: bob,\n\tcarol,\n\tdave\nsupport:ann@example.com\n\
        #old-support: x@example.com,\n   dave\nlist: bob,\n# carol,\n\tdave\n";
    fs::write(site.at("aliases"), text).unwrap();
    let (exit, said) = site.run(NEWALIASES, &[]);
    let warning = "aliases: line 10: what is indented here belongs to the comment of line 9, \
        not to the unfinished alias above it\n";
    assert_eq!((exit, said.contains(warning)), (0, true), "{said}");
    let (_, stored) = site.run(PRALIASES, &[]);
    assert_eq!(
        stored,
        "@:@\nlist:bob,\nsales:ann\nsupport:ann@example.com\n"
    );
    let (exit, _) = site.run(NEWALIASES, &["--strict"]);
    assert_eq!(exit, 65);
}
