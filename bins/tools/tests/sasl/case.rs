//! Cases in the format of `sasl.jsonl`: files, then steps that run programs,
//! look at files or change them.
//!
//! Text is octets as Latin-1; `{DIR}` is the case's fresh folder, `{HOST}` the
//! host's name in lower case.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::terminal;

const NOBODY: u32 = 65534;
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// A recorded case.
pub(crate) struct Case(Value);

impl Case {
    pub(crate) fn parse(line: &str) -> Self {
        Case(serde_json::from_str(line).unwrap())
    }

    pub(crate) fn id(&self) -> &str {
        self.0["id"].as_str().unwrap()
    }

    pub(crate) fn tool(&self) -> &str {
        self.0["tool"].as_str().unwrap()
    }
}

/// What came of a case.
pub(crate) enum Verdict {
    Skipped(&'static str),
    Ran(Vec<String>),
}

/// The built programs under their own names, in a folder that everybody can read.
pub(crate) struct Programs {
    folder: tempfile::TempDir,
}

/// Where a case runs.
struct Place<'a> {
    programs: &'a Path,
    dir: PathBuf,
    umask: String,
    as_nobody: bool,
}

impl Programs {
    pub(crate) fn lay_out(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        for (name, built) in programs {
            let to = folder.path().join(name);
            if fs::hard_link(built, &to).is_err() {
                fs::copy(built, &to).unwrap();
            }
        }
        Programs { folder }
    }

    /// Runs a case and tells what is not as it should be.
    pub(crate) fn run(&self, case: &Case) -> Verdict {
        let root = fs::metadata("/proc/self").unwrap().uid() == 0;
        let steps = case.0["steps"].as_array().unwrap();
        if steps.iter().any(|s| s.get("bind").is_some()) {
            return Verdict::Skipped("mounts over a system file");
        }
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let place = Place {
            programs: self.folder.path(),
            dir: folder.path().canonicalize().unwrap(),
            umask: case.0["umask"].as_str().unwrap_or("022").to_owned(),
            as_nobody: root && case.0["unpriv"].as_bool() == Some(true),
        };
        place.lay_out_files(&case.0["files"]);
        let mut problems = Vec::new();
        for (n, step) in steps.iter().enumerate() {
            for (what, want, got) in place.compare(step, &place.act(step)) {
                let id = case.id();
                problems.push(format!("{id} step {n} {what}: expected {want} got {got}"));
            }
        }
        unlock(&place.dir);
        Verdict::Ran(problems)
    }
}

impl Place<'_> {
    fn lay_out_files(&self, files: &Value) {
        for (name, spec) in files.as_object().into_iter().flatten() {
            let path = self.dir.join(name);
            if spec["dir"].as_bool() == Some(true) {
                fs::create_dir_all(&path).unwrap();
            } else {
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                let content = spec.as_str().or(spec["content"].as_str());
                fs::write(&path, self.octets(content.unwrap_or_default())).unwrap();
            }
            if self.as_nobody {
                chown(&path, Some(NOBODY), Some(NOBODY)).unwrap();
            }
            if let Some(mode) = spec["mode"].as_str() {
                chmod(&path, mode);
            }
        }
        if self.as_nobody {
            chown(&self.dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
    }

    /// Does a step; what was observed.
    fn act(&self, step: &Value) -> Value {
        let at = |key: &str| self.dir.join(self.text(step[key].as_str().unwrap()));
        let has = |key: &str| step.get(key).is_some();
        if has("argv") {
            return match step["pty"].as_bool() {
                Some(true) => self.on_terminal(step),
                _ => self.in_pipe(step),
            };
        }
        if has("stat") {
            return self.stat(&at("stat"));
        }
        if has("ls") {
            let entries = fs::read_dir(at("ls")).unwrap();
            let mut names: Vec<String> = entries
                .map(|e| e.unwrap().file_name().into_string().unwrap())
                .collect();
            names.sort();
            return json!({ "names": names });
        }
        if has("records") {
            return json!({ "rows": self.rows(&at("records")) });
        }
        let content = || self.octets(step["content"].as_str().unwrap());
        if has("write") {
            fs::write(at("write"), content()).unwrap();
        } else if has("chmod") {
            chmod(&at("chmod"), step["mode"].as_str().unwrap());
        } else if has("remove") {
            fs::remove_file(at("remove")).unwrap();
        } else if has("symlink") {
            symlink(step["target"].as_str().unwrap(), at("symlink")).unwrap();
        } else if has("truncate") {
            let file = OpenOptions::new().write(true).open(at("truncate")).unwrap();
            file.set_len(step["size"].as_u64().unwrap()).unwrap();
        } else if has("append") {
            let mut file = OpenOptions::new().append(true).open(at("append")).unwrap();
            file.write_all(&content()).unwrap();
        } else if has("overwrite") {
            let mut file: File = OpenOptions::new()
                .write(true)
                .open(at("overwrite"))
                .unwrap();
            file.seek(SeekFrom::Start(step["offset"].as_u64().unwrap()))
                .unwrap();
            file.write_all(&content()).unwrap();
        } else if let Some(seconds) = step["sleep"].as_f64() {
            std::thread::sleep(Duration::from_secs_f64(seconds));
        } else {
            panic!("unknown step {step}");
        }
        json!({})
    }

    /// The program of a step, not started; a shell sets the umask, for which there is no safe call.
    fn command(&self, step: &Value) -> Command {
        let argv = step["argv"].as_array().unwrap().iter();
        let mut argv = argv.map(|a| OsString::from_vec(self.octets(a.as_str().unwrap())));
        let name = argv.next().unwrap();
        let close = match step["stdin_closed"].as_bool() {
            Some(true) => "<&-",
            _ => "",
        };
        let mut command = Command::new("sh");
        command
            .arg("-c")
            .arg(format!("umask {}; exec \"$@\" {close}", self.umask))
            .arg("sh")
            .arg(self.programs.join(name))
            .args(argv)
            .current_dir(&self.dir)
            .env_clear()
            .env("PATH", SYSTEM_PATH)
            .env("LC_ALL", "C")
            .env("HOME", &self.dir)
            .env("SASL_CONF_PATH", self.dir.join(".no-such-conf"));
        for (name, value) in step["env"].as_object().into_iter().flatten() {
            match value.as_str() {
                Some(value) => command.env(name, self.text(value)),
                None => command.env_remove(name),
            };
        }
        if self.as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command
    }

    fn in_pipe(&self, step: &Value) -> Value {
        let mut command = self.command(step);
        let pieces: Vec<Vec<u8>> = match (step["stdin"].as_str(), step["stdin_chunks"].as_array()) {
            (Some(text), _) => vec![self.octets(text)],
            (None, Some(all)) => all
                .iter()
                .map(|p| self.octets(p.as_str().unwrap()))
                .collect(),
            (None, None) => vec![],
        };
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.stdin(match pieces.is_empty() {
            true => Stdio::null(),
            false => Stdio::piped(),
        });
        let mut child = command.spawn().unwrap();
        let input = child.stdin.take();
        let feeder = std::thread::spawn(move || {
            let Some(mut input) = input else { return };
            for (n, piece) in pieces.iter().enumerate() {
                if n > 0 {
                    std::thread::sleep(Duration::from_millis(300));
                }
                // A program may end without reading all of it.
                let _ = input.write_all(piece);
            }
        });
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let mut stdout = self.shown(&output.stdout);
        if step["sort_stdout"].as_bool() == Some(true) {
            stdout = sorted(&stdout);
        }
        json!({
            "exit": exit_code(output.status),
            "stdout": stdout,
            "stderr": self.shown(&output.stderr),
        })
    }

    fn on_terminal(&self, step: &Value) -> Value {
        let inputs: Vec<terminal::Input> = step["input"]
            .as_array()
            .unwrap()
            .iter()
            .map(|i| terminal::Input {
                wait: self.octets(i["wait"].as_str().unwrap()),
                send: match i["send"].as_array() {
                    Some(all) => all
                        .iter()
                        .map(|p| self.octets(p.as_str().unwrap()))
                        .collect(),
                    None => vec![self.octets(i["send"].as_str().unwrap())],
                },
                echoes: i["echo"].as_bool() == Some(true),
            })
            .collect();
        let seen = terminal::converse(self.command(step), &inputs);
        json!({
            "exit": exit_code(seen.status),
            "transcript": self.shown(&seen.transcript),
            "echo_after": seen.echo_after,
        })
    }

    fn rows(&self, path: &Path) -> Value {
        let listed = Command::new(self.programs.join("sasldblistusers2"))
            .arg("--json")
            .arg(path)
            .output()
            .unwrap();
        let text = String::from_utf8(listed.stdout).unwrap();
        let rows = text
            .lines()
            .map(|l| serde_json::from_str::<Value>(l).unwrap());
        names_of(&Value::Array(rows.collect()))
    }

    fn stat(&self, path: &Path) -> Value {
        let Ok(m) = fs::symlink_metadata(path) else {
            return json!({ "exists": false });
        };
        let kind = match m.file_type() {
            t if t.is_file() => "file",
            t if t.is_dir() => "dir",
            t if t.is_symlink() => "link",
            _ => "other",
        };
        let me = match self.as_nobody {
            true => NOBODY,
            false => fs::metadata("/proc/self").unwrap().uid(),
        };
        json!({
            "exists": true,
            "type": kind,
            "mode": format!("{:04o}", m.mode() & 0o7777),
            "mine": m.uid() == me,
            "empty": m.len() == 0,
        })
    }

    /// What was expected and is not so: field, wanted, got.
    fn compare(&self, step: &Value, got: &Value) -> Vec<(String, String, String)> {
        let mut problems = Vec::new();
        for (what, got) in got.as_object().unwrap() {
            let Some(want) = step.get(what) else { continue };
            let want = match want.as_str() {
                Some(text) if what == "stdout" && step["sort_stdout"].as_bool() == Some(true) => {
                    json!(sorted(
                        &self.text(text).replace(self.dir.to_str().unwrap(), "{DIR}")
                    ))
                }
                Some(text) => json!(self.text(text).replace(self.dir.to_str().unwrap(), "{DIR}")),
                None if what == "rows" => names_of(&self.expanded(want)),
                None => want.clone(),
            };
            let same = match step[format!("{what}_loose")].as_bool() {
                Some(true) => (want == json!("")) == (*got == json!("")),
                _ => want == *got,
            };
            if !same {
                problems.push((what.clone(), want.to_string(), got.to_string()));
            }
        }
        problems
    }

    fn expanded(&self, rows: &Value) -> Value {
        let text = rows.to_string().replace("{HOST}", &host());
        serde_json::from_str(&text).unwrap()
    }

    fn text(&self, text: &str) -> String {
        text.replace("{DIR}", self.dir.to_str().unwrap())
            .replace("{HOST}", &host())
    }

    fn octets(&self, text: &str) -> Vec<u8> {
        let text = self.text(text);
        text.chars()
            .map(|c| u8::try_from(u32::from(c)).unwrap())
            .collect()
    }

    fn shown(&self, output: &[u8]) -> String {
        let text: String = output.iter().map(|b| char::from(*b)).collect();
        text.replace(self.dir.to_str().unwrap(), "{DIR}")
    }
}

/// User, realm and property of each row, sorted: values are hashed and never shown.
fn names_of(rows: &Value) -> Value {
    let rows = rows.as_array().unwrap().iter();
    let mut names: Vec<Vec<String>> = rows
        .map(|row| {
            let row = row.as_array().unwrap();
            let name = |v: &Value| v.as_str().unwrap().to_owned();
            row[..3].iter().map(name).collect()
        })
        .collect();
    names.sort();
    json!(names)
}

fn host() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    name.trim().to_lowercase()
}

fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or(0))
}

fn chmod(path: &Path, octal: &str) {
    let mode = u32::from_str_radix(octal, 8).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
    lines.sort_unstable();
    lines.concat()
}

/// Makes everything removable again.
fn unlock(path: &Path) {
    if path.is_symlink() || !path.is_dir() {
        return;
    }
    let _ = fs::set_permissions(path, Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        unlock(&entry.path());
    }
}
