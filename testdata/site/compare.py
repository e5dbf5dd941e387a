#!/usr/bin/env python3
"""Records what sendmail's own m4 makes of each mc/*.mc: the lines of sendmail.cf that set options (O), macros (D), classes
(C, F, T), maps (K), mailers (M) and filters (X), in order, into cf/NAME.cf. The test `site_golden` compares the model with them.

usage: compare.py [--check]     --check: write nothing, fail if a recording would change

Needs m4 and sendmail's cf folder (SENDMAIL_CF, by default /usr/share/sendmail/cf); without them it says so and exits 0.
"""
import os, shutil, subprocess, sys

here = os.path.dirname(os.path.abspath(__file__))
cf = os.environ.get("SENDMAIL_CF", "/usr/share/sendmail/cf").rstrip("/") + "/"
if not shutil.which("m4") or not os.path.exists(cf + "m4/cf.m4"):
    print("skipped: no m4, or no %sm4/cf.m4 (Debian: apt-get install sendmail-cf m4)" % cf)
    sys.exit(0)

def record(path):
    text = open(path, encoding="latin-1").read()
    # Files that read cf.m4 themselves name a path of their system.
    own = "m4/cf.m4" in text
    text = text.replace("/usr/share/sendmail-cf/", cf).replace("/usr/share/sendmail/cf/", cf)
    args = ["m4", "-D_CF_DIR_=" + cf] + ([] if own else [cf + "m4/cf.m4"]) + ["-"]
    run = subprocess.run(args, input=text.encode("latin-1"), capture_output=True)
    if run.returncode:
        raise SystemExit("%s: m4 failed: %s" % (path, run.stderr.decode("latin-1")))
    out, keep = [], False
    for line in run.stdout.decode("latin-1").split("\n"):
        if line[:1] in " \t":
            if keep and line.strip():
                out[-1] += " " + line.strip()
            continue
        keep = line[:1] in tuple("ODCFTKMX") and line[:1] != ""
        if keep:
            out.append(line.rstrip())
    return "\n".join(out) + "\n"

changed = 0
os.makedirs(here + "/cf", exist_ok=True)
for name in sorted(os.listdir(here + "/mc")):
    facts, path = record(here + "/mc/" + name), here + "/cf/" + name[:-3] + ".cf"
    old = open(path, encoding="latin-1").read() if os.path.exists(path) else None
    if facts != old:
        changed += 1
        if "--check" in sys.argv:
            print("differs: " + path)
        else:
            open(path, "w", encoding="latin-1").write(facts)
print("%d recordings, %d %s" % (len(os.listdir(here + "/mc")), changed, "differ" if "--check" in sys.argv else "written"))
sys.exit(1 if changed and "--check" in sys.argv else 0)
