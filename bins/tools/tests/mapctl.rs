//! mapctl as a whole program: command lines, what they print, and their exit codes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::fs;
use std::io::Write;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, program: &str, args: &[&str], input: &str) -> (i32, String) {
        let mut child = Command::new(program)
            .args(args)
            .current_dir(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let _ = stdin.write_all(input.as_bytes());
        drop(stdin);
        let output = child.wait_with_output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        let text = String::from_utf8(text).unwrap();
        (output.status.code().unwrap(), text)
    }

    fn makemap(&self, args: &[&str], source: &str) {
        let (exit, text) = self.run(env!("CARGO_BIN_EXE_makemap"), args, source);
        assert_eq!((exit, text.as_str()), (0, ""), "makemap {args:?}");
    }

    /// Runs `mapctl` on words that hold no blanks and compares exit and output.
    fn expect(&self, line: &str, exit: i32, want: &str) {
        let args: Vec<&str> = line.split_whitespace().collect();
        let got = self.run(env!("CARGO_BIN_EXE_mapctl"), &args, "");
        assert_eq!(got, (exit, want.to_string()), "mapctl {line}");
    }

    fn output(&self, line: &str) -> (i32, String) {
        let args: Vec<&str> = line.split_whitespace().collect();
        self.run(env!("CARGO_BIN_EXE_mapctl"), &args, "")
    }
}

#[test]
fn queries() {
    let folder = Folder::new();
    folder.makemap(&["-d", "btree", "m"], "Joe a\njoe b\nann x y\n");
    folder.makemap(&["-f", "hash", "f"], "Joe a\n");
    folder.makemap(&["-N", "hash", "n"], "joe a\n");
    folder.makemap(&["cdb", "c"], "joe a\n");
    folder.expect("query btree:m JOE ann", 0, "joe\ta\njoe\tb\nann\tx y\n");
    folder.expect("query m ann", 0, "ann\tx y\n");
    folder.expect("query -f btree:m Joe", 69, "mapctl: Joe: not in the map\n");
    folder.expect(
        "query hash:f joe Joe",
        69,
        "Joe\ta\nmapctl: joe: not in the map\n",
    );
    folder.expect("query hash:n joe", 0, "joe\ta\n");
    folder.expect("query cdb:c joe", 0, "joe\ta\n");
    folder.expect(
        "query --json btree:m joe zz",
        69,
        "{\"lhs\":\"joe\",\"rhs\":\"a\"}\n{\"lhs\":\"joe\",\"rhs\":\"b\"}\n{\"lhs\":\"zz\",\"rhs\":null}\n",
    );
    folder.expect(
        "query hash:m joe",
        73,
        "mapctl: m.db: Invalid argument: a btree map, not a hash map\n",
    );
    folder.expect(
        "query hash:none joe",
        66,
        "mapctl: none.db: No such file or directory\n",
    );
    folder.expect(
        "query nonsense:m joe",
        64,
        "mapctl: nonsense: no class of maps; see makemap -l\n",
    );
    assert_eq!(folder.output("query btree:m").0, 64);
}

#[test]
fn dumps() {
    let folder = Folder::new();
    folder.makemap(&["btree", "m"], "a one, two\nb \"x\"\n");
    folder.expect("dump m", 0, "a\tone, two\nb\t\"x\"\n");
    folder.expect(
        "dump --csv m",
        0,
        "lhs,rhs\na,\"one, two\"\nb,\"\"\"x\"\"\"\n",
    );
    folder.expect(
        "dump m --json",
        0,
        "{\"lhs\":\"a\",\"rhs\":\"one, two\"}\n{\"lhs\":\"b\",\"rhs\":\"\\\"x\\\"\"}\n",
    );
    assert_eq!(folder.output("dump --csv --json m").0, 64);
}

#[test]
fn a_damaged_map_is_not_an_empty_one() {
    let folder = Folder::new();
    folder.makemap(&["hash", "m"], "a 1\n");
    let whole = fs::read(folder.path().join("m.db")).unwrap();
    fs::write(folder.path().join("m.db"), &whole[..whole.len() / 2]).unwrap();
    for command in ["query hash:m a", "dump hash:m", "info hash:m"] {
        let (exit, text) = folder.output(command);
        assert_eq!(exit, 74, "{command}");
        assert!(text.contains("m.db: damaged"), "{text}");
    }
}

#[test]
fn differences() {
    let folder = Folder::new();
    folder.makemap(&["hash", "one"], "a 1\nb 2\nc 3\n");
    folder.makemap(&["btree", "two"], "a 1\nb 9\nd 4\n");
    folder.expect("diff one two", 1, "- b\t2\n+ b\t9\n- c\t3\n+ d\t4\n");
    folder.expect("diff one one", 0, "");
    folder.expect(
        "diff --json one two",
        1,
        "{\"change\":\"changed\",\"lhs\":\"b\",\"new\":\"9\",\"old\":\"2\"}\n\
         {\"change\":\"removed\",\"lhs\":\"c\",\"old\":\"3\"}\n\
         {\"change\":\"added\",\"lhs\":\"d\",\"new\":\"4\"}\n",
    );
}

#[test]
fn conversions() {
    let folder = Folder::new();
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/berkeley");
    fs::copy(
        samples.join("makemap-hash-dup.db"),
        folder.path().join("old.db"),
    )
    .unwrap();
    let (_, before) = folder.output("dump hash:old");
    folder.expect(
        "convert hash:old cdb:new",
        0,
        "new.cdb: 5 entries, compared with old.db\n",
    );
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(String::from).collect();
        lines.sort();
        lines
    };
    assert_eq!(sorted(&folder.output("dump cdb:new").1), sorted(&before));
    folder.expect(
        "convert hash:old cdb:new",
        73,
        "mapctl: new.cdb: exists; --force replaces it\n",
    );
    folder.expect(
        "convert hash:old hash:old",
        0,
        "old.db: 5 entries, compared with old.db\nold.bdb: the Berkeley DB file as it was\n",
    );
    assert_eq!(sorted(&folder.output("dump hash:old").1), sorted(&before));
    let kept = fs::read(folder.path().join("old.bdb")).unwrap();
    assert_eq!(kept, fs::read(samples.join("makemap-hash-dup.db")).unwrap());
    assert_eq!(folder.output("convert hash:old new").0, 64);
}

#[test]
fn a_source_is_never_taken_for_its_map() {
    let folder = Folder::new();
    let file = |name: &str| folder.path().join(name);
    let source = "a 1\nb 2\n";
    folder.makemap(&["cdb", "access"], source);
    fs::write(file("access"), source).unwrap();
    let missing = "mapctl: access.db: No such file or directory\n";
    for command in [
        "query hash:access a",
        "dump hash:access",
        "info hash:access",
    ] {
        folder.expect(command, 66, missing);
    }
    // Not even one without an entry, nor by force.
    fs::write(file("empty"), "").unwrap();
    folder.expect(
        "convert cdb:access hash:empty",
        0,
        "empty.db: 2 entries, compared with access.cdb\n",
    );
    folder.expect(
        "convert --force cdb:access hash:access",
        0,
        "access.db: 2 entries, compared with access.cdb\n",
    );
    assert_eq!(fs::read_to_string(file("access")).unwrap(), source);
    assert_eq!(fs::read(file("empty")).unwrap(), b"");
    folder.expect("query hash:access a", 0, "a\t1\n");
    // A map that has no suffix goes by its name, and a path alone is the file itself.
    fs::rename(file("access.db"), file("sasldb2")).unwrap();
    folder.expect("query hash:sasldb2 a", 0, "a\t1\n");
    folder.expect(
        "convert cdb:access hash:sasldb2",
        73,
        "mapctl: sasldb2: exists; --force replaces it\n",
    );
    folder.expect(
        "query ./access a",
        73,
        "mapctl: ./access: Invalid argument: not a map of any known format\n",
    );
}

#[test]
fn the_sites_maps_go_by_their_names() {
    let folder = Folder::new();
    let mail = folder.path().join("root/etc/mail");
    fs::create_dir_all(&mail).unwrap();
    fs::write(
        mail.join("sendmail.mc"),
        "OSTYPE(`linux')\nFEATURE(`access_db', `btree -o /etc/mail/rules')\nMAILER(`smtp')\n",
    )
    .unwrap();
    folder.makemap(&["btree", "root/etc/mail/rules"], "Connect:10 RELAY\n");
    folder.expect(
        "query --root root access Connect:10",
        0,
        "connect:10\tRELAY\n",
    );
    folder.expect(
        "query --root root mailertable x",
        78,
        "mapctl: mailertable: the site's configuration has no such map\n",
    );
    assert_eq!(folder.output("query --root nowhere access x").0, 66);
}

#[test]
fn of_several_alias_files_the_first_that_has_a_key_answers() {
    let folder = Folder::new();
    let mail = folder.path().join("root/etc/mail");
    fs::create_dir_all(&mail).unwrap();
    fs::write(
        mail.join("sendmail.mc"),
        "OSTYPE(`linux')\n\
         define(`ALIAS_FILE', `/etc/mail/aliases,cdb:/etc/mail/lists,/etc/mail/later')\n\
         MAILER(`local')\nMAILER(`smtp')\n",
    )
    .unwrap();
    folder.makemap(&["-N", "hash", "root/etc/mail/aliases"], "root joe\n");
    folder.makemap(&["cdb", "root/etc/mail/lists"], "root ann\nteam joe, ann\n");
    // The third is not built yet.
    folder.expect(
        "query --root root aliases team Root none",
        69,
        "team\tjoe, ann\nroot\tjoe\nmapctl: none: not in the map\n",
    );
    let asked = folder.run(
        env!("CARGO_BIN_EXE_mapctl"),
        &["ask", "--root", "root"],
        "{\"ask\":\"query\",\"map\":\"aliases\",\"keys\":[\"team\",\"root\",\"none\"]}\n",
    );
    let found = "{\"found\":{\"none\":[],\"root\":[\"joe\"],\"team\":[\"joe, ann\"]}}\n";
    assert_eq!(asked, (0, found.to_owned()));
    let which = "mapctl: aliases: the site has 3 such maps; say which: \
                 implicit:root/etc/mail/aliases or cdb:root/etc/mail/lists or \
                 implicit:root/etc/mail/later\n";
    for command in ["dump --root root aliases", "info --root root aliases"] {
        folder.expect(command, 64, which);
    }
    folder.expect(
        "diff --root root aliases cdb:root/etc/mail/lists",
        64,
        which,
    );
    folder.expect("dump implicit:root/etc/mail/aliases", 0, "root\tjoe\n");
    // One that can't be read is no reason to look further.
    fs::write(mail.join("aliases.db"), "text").unwrap();
    assert_eq!(folder.output("query --root root aliases team").0, 73);
    for name in ["aliases.db", "lists.cdb"] {
        fs::remove_file(mail.join(name)).unwrap();
    }
    assert_eq!(folder.output("query --root root aliases team").0, 66);
}

#[test]
fn the_demo_ends_by_itself_and_leaves_nothing() {
    let folder = Folder::new();
    let output = Command::new(env!("CARGO_BIN_EXE_mapctl"))
        .arg("demo")
        .env("TMPDIR", folder.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for want in [
        "connect:192.168\tRELAY",
        "from:spam.example\tDISCARD",
        "Hidden files left in the folder: 0",
    ] {
        assert!(text.contains(want), "{want:?} is not in\n{text}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_demo_that_is_cut_short_leaves_nothing_either() {
    let folder = Folder::new();
    let start = |folder: &Folder| {
        Command::new(env!("CARGO_BIN_EXE_mapctl"))
            .arg("demo")
            .env("TMPDIR", folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    };
    let nothing_left = |folder: &Folder| fs::read_dir(folder.path()).unwrap().count() == 0;
    // Its reader goes away.
    let mut child = start(&folder);
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
    assert!(nothing_left(&folder));
    // A signal comes, and ends it as it ends any other program.
    let mut child = start(&folder);
    let mut line = [0; 20];
    let mut output = child.stdout.take().unwrap();
    std::io::Read::read_exact(&mut output, &mut line).unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    std::io::copy(&mut output, &mut std::io::sink()).unwrap();
    assert_eq!(child.wait().unwrap().signal(), Some(2));
    assert!(nothing_left(&folder));
}

#[test]
fn completions_are_printed_for_every_shell() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (exit, text) = folder.output(&format!("completions {shell}"));
        assert!(exit == 0 && text.contains("mapctl"), "{shell}");
    }
}

#[test]
fn the_queue_is_left_to_the_mailq_of_this_suite() {
    use std::os::unix::fs::PermissionsExt;
    let folder = Folder::new();
    let mapctl = folder.path().join("mapctl");
    fs::copy(env!("CARGO_BIN_EXE_mapctl"), &mapctl).unwrap();
    let beside = |script: &str| {
        let path = folder.path().join("mailq");
        let _ = fs::remove_file(&path);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    };
    let hold = || folder.run(mapctl.to_str().unwrap(), &["queue", "hold", "x", "y"], "");
    let ours = format!(
        "#!/bin/sh\ncase $1 in --version) echo mailq {};; *) echo \"$@\"; exit 77;; esac\n",
        env!("CARGO_PKG_VERSION")
    );
    beside(&ours);
    assert_eq!(hold(), (77, "hold x y\n".into()));
    // As Debian's, which shows the queue and says that all is well.
    beside("#!/bin/sh\necho the queue\n");
    if !Path::new("/usr/sbin/mailq").exists() {
        let want = "mapctl: no mailq of this suite beside mapctl or in /usr/sbin/mailq\n";
        assert_eq!(hold(), (69, want.into()));
    }
}

#[test]
fn maps_that_are_not_there_are_told_by_the_file_that_is_missing() {
    let folder = Folder::new();
    let said = |program: &str, args: &[&str]| folder.run(program, args, "a b\n");
    let makemap = env!("CARGO_BIN_EXE_makemap");
    let (exit, text) = said(makemap, &["pgsql", "tt"]);
    assert_eq!(exit, 73);
    assert_eq!(
        text,
        "makemap: error opening type pgsql map tt: tt.pgsql: No such file or directory (the connection file, see mapremote(5))\n"
    );
    let (_, text) = said(env!("CARGO_BIN_EXE_editmap"), &["-q", "redis", "tt", "k"]);
    assert!(text.contains("tt.redis: No such file"), "{text}");
    if cfg!(not(feature = "sled")) {
        let (exit, text) = said(makemap, &["sled", "x"]);
        assert_eq!(exit, 73);
        assert!(
            text.ends_with(": these programs were built without sled\n"),
            "{text}"
        );
    }
}

#[test]
fn a_forward_file_is_named_and_not_followed() {
    let folder = Folder::new();
    for (file, text) in [
        ("etc/mail/sendmail.mc", "MAILER(`local')dnl\n"),
        ("etc/passwd", "bob:x:8:8::/home/bob:/bin/sh\n"),
        ("home/bob/.forward", "ann\n"),
    ] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let tree = "bob  -> mailer local, user bob\nbob... has /home/bob/.forward, not followed\n";
    folder.expect("expand --root . bob", 0, tree);
    let (_, json) = folder.output("--json expand --root . bob");
    let want = r#""not_followed":[{"file":"/home/bob/.forward","user":"bob"}]"#;
    assert!(json.contains(want), "{json}");
}
