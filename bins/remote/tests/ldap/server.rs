//! Directories of Debian's slapd, one or two that are providers of each other.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::stage::{Process, free_port, skip, until};

/// The attributes and classes of sendmail's schema, as far as maps need them.
const SCHEMA: &str = "\
attributetype ( 1.1.2.1.1 NAME 'sendmailMTACluster' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )
attributetype ( 1.1.2.1.2 NAME 'sendmailMTAHost' EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 SINGLE-VALUE )
attributetype ( 1.1.2.1.3 NAME 'sendmailMTAKey' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.1.2.1.4 NAME 'sendmailMTAMapName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.5 NAME 'sendmailMTAMapValue' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.1.2.1.6 NAME 'sendmailMTAAliasGrouping' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.1.2.1.7 NAME 'sendmailMTAAliasValue' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.1.2.1.8 NAME 'sendmailMTAClassName' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.9 NAME 'sendmailMTAClassValue' EQUALITY caseIgnoreMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )
attributetype ( 1.1.2.1.10 NAME 'sendmailMTAMapSearch' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.11 NAME 'sendmailMTAMapURL' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.12 NAME 'sendmailMTAAliasSearch' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.13 NAME 'sendmailMTAAliasURL' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.14 NAME 'sendmailMTAClassSearch' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
attributetype ( 1.1.2.1.15 NAME 'sendmailMTAClassURL' EQUALITY caseExactMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 SINGLE-VALUE )
objectclass ( 1.1.2.2.1 NAME 'sendmailMTAMapObject' STRUCTURAL MUST ( sendmailMTAMapName $ sendmailMTAKey ) MAY ( sendmailMTACluster $ sendmailMTAHost $ sendmailMTAMapValue $ sendmailMTAMapSearch $ sendmailMTAMapURL ) )
objectclass ( 1.1.2.2.2 NAME 'sendmailMTAAliasObject' STRUCTURAL MUST sendmailMTAKey MAY ( sendmailMTAAliasGrouping $ sendmailMTACluster $ sendmailMTAHost $ sendmailMTAAliasValue $ sendmailMTAAliasSearch $ sendmailMTAAliasURL ) )
objectclass ( 1.1.2.2.4 NAME 'sendmailMTAMap' STRUCTURAL MUST sendmailMTAMapName MAY ( sendmailMTACluster $ sendmailMTAHost $ description ) )
objectclass ( 1.1.2.2.5 NAME 'sendmailMTAAlias' STRUCTURAL MAY ( sendmailMTAAliasGrouping $ sendmailMTACluster $ sendmailMTAHost $ description ) )
objectclass ( 1.1.2.2.3 NAME 'sendmailMTAClass' STRUCTURAL MUST sendmailMTAClassName MAY ( sendmailMTACluster $ sendmailMTAHost $ sendmailMTAClassValue $ sendmailMTAClassSearch $ sendmailMTAClassURL ) )
";

pub(crate) const BASE: &str = "dc=example,dc=org";
/// The entry that the others are below.
const ROOT: &str =
    "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\no: x\ndc: example\n";

/// A directory in a temporary folder.
pub(crate) struct Server {
    dir: tempfile::TempDir,
    pub(crate) port: u16,
    process: Option<Process>,
}

fn is_there() -> bool {
    let there = Path::new("/usr/sbin/slapd").is_file() && Path::new("/usr/bin/ldapadd").is_file();
    if !there {
        skip("slapd is not installed (Debian: apt-get install slapd ldap-utils)");
    }
    there
}

impl Server {
    /// A directory with these further lines of configuration for its database.
    pub(crate) fn start(more: &str) -> Option<Server> {
        if !is_there() {
            return None;
        }
        let mut server = Server::new();
        server.configure(1, more);
        server.run();
        server.add(ROOT);
        Some(server)
    }

    /// A directory whose database has no transactions.
    pub(crate) fn without_transactions() -> Option<Server> {
        if !is_there() {
            return None;
        }
        let mut server = Server::new();
        server.configure(1, "");
        let path = server.dir.path().join("slapd.conf");
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("database mdb\nmaxsize 10485760\n", "database ldif\n");
        let lines = text.lines().filter(|line| !line.starts_with("index "));
        fs::write(
            &path,
            lines.map(|line| format!("{line}\n")).collect::<String>(),
        )
        .unwrap();
        server.run();
        server.add(ROOT);
        Some(server)
    }

    /// Two that are providers of each other.
    pub(crate) fn two() -> Option<[Server; 2]> {
        if !is_there() {
            return None;
        }
        let mut both = [Server::new(), Server::new()];
        let ports = [both[0].port, both[1].port];
        for (n, server) in both.iter_mut().enumerate() {
            server.consume(n + 1, ports[1 - n]);
            server.run();
        }
        both[0].add(ROOT);
        Some(both)
    }

    /// Has it take the changes of the provider at this port, from its next start on.
    pub(crate) fn consume(&self, id: usize, provider: u16) {
        let more = format!(
            "syncrepl rid=00{id} provider=ldap://127.0.0.1:{provider} type=refreshAndPersist \
             retry=\"1 +\" searchbase=\"{BASE}\" bindmethod=simple \
             binddn=\"cn=admin,{BASE}\" credentials=right\nmultiprovider on\n"
        );
        self.configure(id, &more);
    }

    /// One that has the changes of this provider, and refers to it whoever has others.
    pub(crate) fn consumer_of(provider: &Server) -> Server {
        let mut server = Server::new();
        let port = provider.port;
        let more = format!(
            "syncrepl rid=001 provider=ldap://127.0.0.1:{port} type=refreshAndPersist \
             retry=\"1 +\" searchbase=\"{BASE}\" bindmethod=simple \
             binddn=\"cn=admin,{BASE}\" credentials=right\nupdateref ldap://127.0.0.1:{port}\n"
        );
        server.configure(2, &more);
        server.run();
        server
    }

    /// Has it take nobody's changes any more, from its next start on.
    pub(crate) fn consume_nothing(&self, id: usize) {
        self.configure(id, "");
    }

    fn new() -> Self {
        Server {
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            process: None,
        }
    }

    pub(crate) fn configure(&self, id: usize, more: &str) {
        let path = |name: &str| self.dir.path().join(name);
        fs::create_dir_all(path("data")).unwrap();
        fs::write(path("sendmail.schema"), SCHEMA).unwrap();
        let configuration = format!(
            "include /etc/ldap/schema/core.schema\ninclude /etc/ldap/schema/cosine.schema\n\
             include {schema}\n\
             modulepath /usr/lib/ldap\nmoduleload back_mdb\nmoduleload syncprov\n\
             pidfile {pid}\nserverID {id}\n\
             database mdb\nmaxsize 10485760\nsuffix \"{BASE}\"\nrootdn \"cn=admin,{BASE}\"\nrootpw right\n\
             directory {data}\nindex objectClass,entryCSN,entryUUID eq\n{more}\noverlay syncprov\n\
             syncprov-checkpoint 1 1\n",
            schema = path("sendmail.schema").display(),
            pid = path("pid").display(),
            data = path("data").display(),
        );
        fs::write(path("slapd.conf"), configuration).unwrap();
    }

    pub(crate) fn run(&mut self) {
        let mut command = Command::new("/usr/sbin/slapd");
        command.arg("-f").arg(self.dir.path().join("slapd.conf"));
        command.args(["-h", &format!("ldap://127.0.0.1:{}", self.port), "-d", "0"]);
        command.stdin(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process(command.spawn().unwrap()));
        until("the directory's answer", || {
            std::net::TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    /// Starts it again if it has ended by itself.
    pub(crate) fn revive(&mut self) {
        let process = self.process.as_mut().map(|process| process.0.try_wait());
        if !matches!(process, Some(Ok(None))) {
            self.kill();
            self.run();
        }
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Where its data are.
    pub(crate) fn data(&self) -> std::path::PathBuf {
        self.dir.path().join("data")
    }

    /// Further lines for [`Server::start`]: a second naming context `o=other`, whose data are in
    /// this folder.
    pub(crate) fn other_context(data: &Path) -> String {
        format!(
            "overlay syncprov\ndatabase mdb\nmaxsize 10485760\nsuffix \"o=other\"\n\
             rootdn \"cn=admin,o=other\"\naccess to * by * write\ndirectory {}\n",
            data.display()
        )
    }

    fn tool(&self, program: &str, text: &str) {
        let mut command = Command::new(program);
        command.args(["-x", "-H", &format!("ldap://127.0.0.1:{}", self.port)]);
        command.args(["-D", &format!("cn=admin,{BASE}"), "-w", "right"]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        assert!(child.wait().unwrap().success(), "{program}: {text}");
    }

    pub(crate) fn add(&self, ldif: &str) {
        self.tool("ldapadd", ldif);
    }

    pub(crate) fn modify(&self, ldif: &str) {
        self.tool("ldapmodify", ldif);
    }

    /// Removes an entry, and not what it refers to.
    pub(crate) fn delete(&self, dn: &str) {
        let mut command = Command::new("ldapdelete");
        command.args(["-x", "-M", "-H", &format!("ldap://127.0.0.1:{}", self.port)]);
        command.args(["-D", &format!("cn=admin,{BASE}"), "-w", "right", dn]);
        assert!(command.stdin(Stdio::null()).status().unwrap().success());
    }

    /// The lines of an entry.
    pub(crate) fn read(&self, dn: &str) -> Vec<String> {
        self.look(dn, "*")
    }

    /// The lines of an attribute of an entry.
    pub(crate) fn attribute(&self, dn: &str, name: &str) -> Vec<String> {
        let mut lines = self.look(dn, name);
        lines.retain(|line| line.starts_with(&format!("{name}:")));
        lines
    }

    fn look(&self, dn: &str, name: &str) -> Vec<String> {
        let mut command = Command::new("ldapsearch");
        command.args(["-x", "-LLL", "-o", "ldif-wrap=no"]);
        command.args(["-H", &format!("ldap://127.0.0.1:{}", self.port)]);
        command.args(["-D", &format!("cn=admin,{BASE}"), "-w", "right"]);
        command.args(["-s", "base", "-b", dn, name]);
        let found = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8(found.stdout).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }

    /// A map entry of the cluster `mail`.
    pub(crate) fn add_entry(&self, map: &str, key: &str, value: &str) {
        self.add(&format!(
            "dn: sendmailMTAKey={key},{BASE}\nobjectClass: sendmailMTAMapObject\n\
             sendmailMTACluster: mail\nsendmailMTAMapName: {map}\nsendmailMTAKey: {key}\n\
             sendmailMTAMapValue: {value}\n"
        ));
    }

    /// A class of the cluster `mail`.
    pub(crate) fn add_class(&self, name: &str, words: &[&str]) {
        let values = words
            .iter()
            .map(|word| format!("sendmailMTAClassValue: {word}\n"));
        self.add(&format!(
            "dn: sendmailMTAClassName={name},{BASE}\nobjectClass: sendmailMTAClass\n\
             sendmailMTACluster: mail\nsendmailMTAClassName: {name}\n{}",
            values.collect::<String>()
        ));
    }

    /// Changes the words of a class.
    pub(crate) fn change_class(&self, name: &str, change: &str, word: &str) {
        self.modify(&format!(
            "dn: sendmailMTAClassName={name},{BASE}\nchangetype: modify\n\
             {change}: sendmailMTAClassValue\nsendmailMTAClassValue: {word}\n"
        ));
    }

    pub(crate) fn connection(&self) -> String {
        format!(
            "host 127.0.0.1:{}\ntls off\nbase {BASE}\ncluster-name mail\nuser cn=admin,{BASE}\n\
             password-file secret\npoll 1\ntimeout 10\n",
            self.port
        )
    }
}
