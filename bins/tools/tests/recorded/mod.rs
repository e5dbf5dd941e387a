//! Cases in the format of `tools.jsonl`: files, then steps with what each must print.
//!
//! Text is octets as Latin-1; `{DIR}` stands for the case's fresh folder.

use std::fs;
use std::io::Write;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

const NOBODY: u32 = 65534;
const PATIENCE: Duration = Duration::from_secs(60);
const SYSTEM_PATH: &str = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin";

/// A recorded case.
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) tool: String,
    object: Value,
}

impl Case {
    pub(crate) fn parse(line: &str) -> Self {
        let object: Value = serde_json::from_str(line).unwrap();
        Case {
            id: object["id"].as_str().unwrap().into(),
            tool: object["tool"].as_str().unwrap().into(),
            object,
        }
    }

    /// Whether a step runs this program.
    pub(crate) fn runs(&self, program: &str) -> bool {
        let steps = self.object["steps"].as_array().unwrap();
        steps.iter().any(|step| step["argv"][0] == program)
    }

    pub(crate) fn is_quirk(&self) -> bool {
        self.object.get("quirk").is_some()
    }
}

/// What came of a case.
pub(crate) enum Verdict {
    Skipped,
    Ran(Vec<String>),
}

/// The built programs under their own names, in a folder that everybody can read.
pub(crate) struct Programs {
    folder: tempfile::TempDir,
}

struct Outcome {
    exit: i64,
    stdout: String,
    stderr: String,
}

impl Programs {
    pub(crate) fn lay_out(programs: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
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
        let Some(outcomes) = self.outcomes(case) else {
            return Verdict::Skipped;
        };
        let steps = case.object["steps"].as_array().unwrap();
        let mut problems = Vec::new();
        for (n, (step, got)) in steps.iter().zip(&outcomes).enumerate() {
            let mut differ = |what: &str, want: &str, got: &str| {
                let id = &case.id;
                problems.push(format!(
                    "{id} step {n} {what}: expected {want:?} got {got:?}"
                ));
            };
            let exit = step["exit"].as_i64().unwrap();
            if exit != got.exit {
                differ("exit", &exit.to_string(), &got.exit.to_string());
            }
            for (what, got) in [("stdout", &got.stdout), ("stderr", &got.stderr)] {
                let want = step[what].as_str().unwrap();
                let loose = step[format!("{what}_loose")].as_bool() == Some(true);
                let same = match loose {
                    true => want.is_empty() == got.is_empty(),
                    false => want == got,
                };
                if !same {
                    differ(what, want, got);
                }
            }
        }
        Verdict::Ran(problems)
    }

    /// The case with what the programs do now in place of what was recorded.
    pub(crate) fn record(&self, case: &Case) -> String {
        let mut object = case.object.clone();
        let outcomes = self.outcomes(case).expect("record as root");
        let steps = object["steps"].as_array_mut().unwrap();
        for (step, got) in steps.iter_mut().zip(outcomes) {
            let step = step.as_object_mut().unwrap();
            step.remove("stderr_loose");
            step.insert("exit".into(), json!(got.exit));
            step.insert("stdout".into(), json!(got.stdout));
            step.insert("stderr".into(), json!(got.stderr));
        }
        object.as_object_mut().unwrap().remove("quirk");
        object.to_string()
    }

    fn outcomes(&self, case: &Case) -> Option<Vec<Outcome>> {
        let root = fs::metadata("/proc/self").is_ok_and(|m| {
            use std::os::unix::fs::MetadataExt;
            m.uid() == 0
        });
        let needs = case.object["needs"].as_str();
        if needs == Some("root") && !root {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().canonicalize().unwrap();
        if let Some(files) = case.object["files"].as_object() {
            for (name, content) in files {
                let path = dir.join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, octets(content.as_str().unwrap(), &dir)).unwrap();
            }
        }
        let as_nobody = needs == Some("user") && root;
        if as_nobody {
            give_away(&dir);
        }
        let steps = case.object["steps"].as_array().unwrap();
        let outcomes = steps
            .iter()
            .map(|s| self.step(s, &dir, as_nobody))
            .collect();
        unlock(&dir);
        Some(outcomes)
    }

    fn step(&self, step: &Value, dir: &Path, as_nobody: bool) -> Outcome {
        let argv: Vec<std::ffi::OsString> = step["argv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|a| std::ffi::OsString::from_vec(octets(a.as_str().unwrap(), dir)))
            .collect();
        let ours = self.folder.path().join(&argv[0]);
        let program = if ours.exists() {
            ours
        } else {
            PathBuf::from(&argv[0])
        };
        let path = format!("{}:{SYSTEM_PATH}", self.folder.path().display());
        // The umask is set by a shell: there is no safe call for it.
        let mut command = Command::new("sh");
        command
            .args(["-c", "umask 022; exec \"$@\"", "sh"])
            .arg(program)
            .args(&argv[1..])
            .current_dir(dir)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .env("HOME", dir)
            .env("TZ", "UTC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        if as_nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        let text = octets(step["stdin"].as_str().unwrap_or_default(), dir);
        let feeder = std::thread::spawn(move || {
            // A program may end without reading all of it.
            let _ = input.write_all(&text);
        });
        let started = Instant::now();
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        assert!(started.elapsed() < PATIENCE, "a step took too long");
        let exit = output.status.code().map(i64::from);
        let exit = exit.unwrap_or_else(|| -i64::from(output.status.signal().unwrap_or(0)));
        let mut stdout = normal(&output.stdout, dir);
        if step["sort_stdout"].as_bool() == Some(true) {
            stdout = sorted(&stdout);
        }
        Outcome {
            exit,
            stdout,
            stderr: normal(&output.stderr, dir),
        }
    }
}

fn octets(text: &str, dir: &Path) -> Vec<u8> {
    let text = text.replace("{DIR}", dir.to_str().unwrap());
    text.chars()
        .map(|c| u8::try_from(u32::from(c)).unwrap())
        .collect()
}

/// Output as Latin-1 text, with the folder's name taken out, and without the warnings that tell
/// of where the tests run rather than of the program.
fn normal(output: &[u8], dir: &Path) -> String {
    let text: String = output.iter().map(|b| char::from(*b)).collect();
    let dir = dir.to_str().unwrap();
    let lines = text.split('\n').filter(|line| {
        let above = [
            "WARNING: World writable directory ",
            "WARNING: Group writable directory ",
        ]
        .iter()
        .find_map(|w| line.strip_prefix(w));
        !above.is_some_and(|a| {
            a.starts_with('/') && a != dir && (a == "/" || dir.starts_with(&format!("{a}/")))
        })
    });
    lines.collect::<Vec<_>>().join("\n").replace(dir, "{DIR}")
}

fn sorted(text: &str) -> String {
    let ended = text.ends_with('\n');
    let mut lines: Vec<&str> = text.split('\n').collect();
    if ended {
        lines.pop();
    }
    lines.sort_unstable();
    let mut text = lines.join("\n");
    if ended {
        text.push('\n');
    }
    text
}

fn give_away(path: &Path) {
    chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give_away(&entry.unwrap().path());
        }
    }
}

/// Makes everything removable again.
fn unlock(path: &Path) {
    if path.is_symlink() || !path.is_dir() {
        return;
    }
    let _ = fs::set_permissions(path, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        unlock(&entry.path());
    }
}
