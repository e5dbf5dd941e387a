"""Asks an installed sendmail about a site laid out in memory.

A site is a dict of path to text (Latin-1), with /etc/mail/sendmail.mc and /etc/mail/service.switch, /etc/hosts, /etc/passwd and
the tables. Everything runs in a mount and a network namespace of its own (needs root), so that neither DNS nor the host's
own /etc is seen. `missing()` says why it can't run here.
"""
import os, re, shutil, subprocess, tempfile

TABLES = ("access", "mailertable", "virtusertable", "genericstable", "domaintable")
CF = os.environ.get("SENDMAIL_CF", "/usr/share/sendmail/cf/")


def missing():
    """Why no sendmail can be asked here, or None."""
    for tool in ("sendmail", "makemap", "m4", "unshare"):
        if not shutil.which(tool) and not os.path.exists("/usr/sbin/" + tool):
            return "no %s on this machine" % tool
    if not os.path.exists(CF + "m4/cf.m4"):
        return "no sendmail-cf below %s" % CF
    if os.geteuid() != 0:
        return "not root: a mount namespace is needed"
    if subprocess.run(["unshare", "-mn", "true"], capture_output=True).returncode:
        return "unshare -mn is not allowed here"
    return None


class Oracle:
    """A site on disk, ready to be asked."""

    def __init__(self, files):
        self.root = tempfile.mkdtemp(prefix="oracle-")
        os.chmod(self.root, 0o755)
        for path, text in files.items():
            full = self.root + path
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="latin-1", newline="") as f:
                f.write(text)
        etc = self.root + "/etc"
        if not os.path.exists(etc + "/passwd"):
            shutil.copy("/etc/passwd", etc + "/passwd")
        mc = open(etc + "/mail/sendmail.mc", encoding="latin-1").read()
        mc = mc.replace("OSTYPE(`linux')dnl\n", "OSTYPE(`linux')dnl\ndefine(`confSERVICE_SWITCH_FILE', `/etc/mail/service.switch')dnl\n", 1)
        r = subprocess.run(["m4", "-D_CF_DIR_=" + CF, CF + "m4/cf.m4", "-"], input=mc.encode("latin-1"), capture_output=True)
        self.m4_errors = r.stderr.decode()
        with open(etc + "/mail/sendmail.cf", "wb") as f:
            f.write(r.stdout)
        for t in TABLES:
            p = etc + "/mail/" + t
            if os.path.exists(p):
                subprocess.run(["makemap", "hash", p], stdin=open(p, "rb"), check=False, capture_output=True)
        script = "mkdir -p %s/q && chmod 700 %s/q\n" % (self.root, self.root)
        script += "mount --bind %s/etc/mail /etc/mail\nmount --bind %s/etc/hosts /etc/hosts\nmount --bind %s/etc/passwd /etc/passwd\nip link set lo up\n" % ((self.root,) * 3)
        script += "mount --bind %s/q /var/spool/mqueue 2>/dev/null\n" % self.root
        self.script = script
        if os.path.exists(etc + "/mail/aliases"):
            self._run("sendmail -C /etc/mail/sendmail.cf -bi")

    def close(self):
        shutil.rmtree(self.root, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _run(self, command, text=b""):
        host = "hostname mx.polkatistas.org\n"
        r = subprocess.run(["unshare", "-mnu", "sh", "-c", self.script + host + command], input=text, capture_output=True, timeout=600)
        return r.returncode, r.stdout.decode("latin-1"), r.stderr.decode("latin-1")

    def test_mode(self, lines):
        """The output of `sendmail -bt` for these lines of input."""
        return self._run("sendmail -C /etc/mail/sendmail.cf -bt", "".join(l + "\n" for l in lines).encode("latin-1"))[1]

    def routes(self, addresses):
        """The mailer triple of each address, by /parse: a list of (mailer, host, user)."""
        out = self.test_mode(["/parse " + a for a in addresses])
        blocks = out.split("\n> ")[1 : len(addresses) + 1]
        answers = []
        for block in blocks:
            found = None
            for line in block.splitlines():
                found = re.match(r"mailer (\S+?)(?:, host (.*?))?, user (.*)$", line) or found
            if not found:
                answers.append(("error", "", ""))
                continue
            mailer, host, user = found.groups("")
            answers.append(("error" if mailer == "*error*" else mailer, host, user))
        return answers

    def rewrites(self, questions):
        """The result of each (as, mailer, address), by /tryflags and /try."""
        lines = []
        for way, mailer, address in questions:
            kind, side = way.split("-")
            lines.append("/tryflags " + ("H" if kind == "header" else "E") + ("S" if side == "sender" else "R"))
            lines.append("/try %s %s" % (mailer, address))
        out = self.test_mode(lines)
        return [m.group(1) for m in re.finditer(r"^Rcode = \d+, addr = (.*)$", out, flags=re.M)]

    def expand(self, address):
        """What `sendmail -bv` says of an address, as ask.py words it."""
        code, out, err = self._run("sendmail -C /etc/mail/sendmail.cf -bv -- '%s'" % address.replace("'", "'\\''"))
        deliver, unknown, errors = [], [], []
        for line in (out + err).splitlines():
            m = re.match(r"(.*?)\.\.\. deliverable: mailer (\S+?)(?:, host (.*?))?, user (.*)$", line)
            if m:
                deliver.append({"mailer": m.group(2), "host": (m.group(3) or "").rstrip("."), "user": m.group(4)})
            elif line.endswith("... User unknown"):
                unknown.append(line[: -len("... User unknown")])
            else:
                errors.append(line)
        return {"deliver": deliver, "unknown": sorted(set(unknown)), "errors": errors, "exit": code}
