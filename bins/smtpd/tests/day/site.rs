//! The site of the day: its users, tables and certificate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use smtpd::tables;

use crate::hosts::{Habit, Host};
use crate::machine::{Machine, names, reply};

const TABLES: [&str; 3] = ["virtusertable", "access", "mailertable"];
pub(crate) const USERS: usize = 200;
pub(crate) const LISTS: usize = 10;
/// Members of each list.
pub(crate) const MEMBERS: usize = 8;

/// The name of a user.
pub(crate) fn user(number: usize) -> String {
    format!("u{}", number % USERS)
}

/// The members of a list.
pub(crate) fn members(list: usize) -> Vec<String> {
    (0..MEMBERS).map(|n| user(list * 17 + n * 3)).collect()
}

/// Who hears of what fails for a list.
pub(crate) fn owner(list: usize) -> String {
    user(list + 100)
}

/// The hosts around.
pub(crate) struct Hosts {
    pub(crate) smart: Host,
    pub(crate) grey: Host,
    pub(crate) drops: Host,
}

impl Hosts {
    pub(crate) fn start() -> Self {
        Hosts {
            smart: Host::start(Habit::Takes),
            grey: Host::start(Habit::Later),
            drops: Host::start(Habit::Drops),
        }
    }
}

pub(crate) fn lay_out(hosts: &Hosts) -> Machine {
    let mut aliases = String::from(
        "postmaster: u0\nrefuses: \"|cat >/dev/null; echo no room; exit 73\"\n\
         later: \"|test -e {ROOT}/open/up || exit 75; cat > `mktemp {ROOT}/open/laterXXXXXXXX`\"\n",
    );
    for list in 0..LISTS {
        let members = members(list).join(", ");
        let owner = owner(list);
        aliases.push_str(&format!(
            "list{list}: {members}, gone{list}\nowner-list{list}: {owner}\n"
        ));
    }
    let machine = Machine::new(
        &names("u", USERS),
        "",
        &format!(
            "FEATURE(`virtusertable')dnl\nFEATURE(`access_db')dnl\nFEATURE(`mailertable')dnl\n\
         define(`SMART_HOST', `relay:[127.0.0.1]:{}')dnl\ndefine(`confTO_HOSTSTATUS', `1s')dnl\n\
         VIRTUSER_DOMAIN(`shop.example')dnl\nLOCAL_DOMAIN(`shop.example')dnl\n\
         define(`confSERVER_CERT', `/etc/mail/server.crt')dnl\n\
         define(`confSERVER_KEY', `/etc/mail/server.key')dnl\n\
         define(`confMAX_QUEUE_CHILDREN', `8')dnl\n",
            hosts.smart.port()
        ),
    );
    let root = machine.path("");
    let root = root.to_str().unwrap().trim_end_matches('/');
    machine.aliases(&aliases.replace("{ROOT}", root));
    machine.write(
        "etc/mail/virtusertable",
        "sales@shop.example\tu5\n@shop.example\tlist1\n",
    );
    machine.write("etc/mail/access", "From:spam.example\tREJECT\n");
    machine.write(
        "etc/mail/mailertable",
        &format!(
            "grey.example\tesmtp:[127.0.0.1]:{}\ndrops.example\tesmtp:[127.0.0.1]:{}\n",
            hosts.grey.port(),
            hosts.drops.port()
        ),
    );
    for table in TABLES {
        tables::build_table(&machine.path("etc/mail").join(table)).unwrap();
    }
    renew_certificate(&machine);
    machine
}

/// Rebuilds every map once a second until the day is over; how often.
pub(crate) fn rebuild_maps(machine: &Machine, over: Arc<AtomicBool>) -> JoinHandle<usize> {
    let folder = machine.path("etc/mail");
    std::thread::spawn(move || {
        let mut count = 0;
        while !over.load(Ordering::Relaxed) {
            tables::build_aliases(&folder.join("aliases")).unwrap();
            for table in TABLES {
                tables::build_table(&folder.join(table)).unwrap();
            }
            count += 1;
            std::thread::sleep(Duration::from_secs(1));
        }
        count
    })
}

/// What the program behind `later` has taken.
pub(crate) fn taken_by_programs(machine: &Machine) -> Vec<String> {
    let folder = std::fs::read_dir(machine.path("open")).unwrap();
    let files = folder.map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    files
        .map(|octets| String::from_utf8_lossy(&octets).into_owned())
        .collect()
}

/// Puts a new certificate and key in place, each by rename.
pub(crate) fn renew_certificate(machine: &Machine) {
    use std::os::unix::fs::PermissionsExt;
    let made = rcgen::generate_simple_self_signed(["mx.test.example".to_owned()]).unwrap();
    machine.write("etc/mail/new.key", &made.signing_key.serialize_pem());
    let key = machine.path("etc/mail/new.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    machine.write("etc/mail/new.crt", &made.cert.pem());
    std::fs::rename(key, machine.path("etc/mail/server.key")).unwrap();
    let certificate = machine.path("etc/mail/new.crt");
    std::fs::rename(certificate, machine.path("etc/mail/server.crt")).unwrap();
}

/// The certificate that the server shows now.
pub(crate) fn certificate_seen(machine: &Machine) -> Vec<u8> {
    use std::io::Write;
    let on_disk = machine.text("etc/mail/server.crt");
    let mut roots = rustls::RootCertStore::empty();
    let certificate = <rustls::pki_types::CertificateDer<'_> as rustls::pki_types::pem::PemObject>::from_pem_slice(on_disk.as_bytes());
    roots.add(certificate.unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", machine.port())).unwrap();
    let mut reader = std::io::BufReader::new(stream.try_clone().unwrap());
    reply(&mut reader).unwrap();
    for line in ["EHLO x\r\n", "STARTTLS\r\n"] {
        stream.write_all(line.as_bytes()).unwrap();
        let said = reply(&mut reader).unwrap();
        assert!(said.starts_with('2'), "{line}: {said}");
    }
    let name = ServerName::try_from("mx.test.example").unwrap();
    let connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = StreamOwned::new(connection, stream);
    stream.write_all(b"QUIT\r\n").unwrap();
    stream.flush().unwrap();
    let _ = reply(&mut std::io::BufReader::new(&mut stream));
    stream.conn.peer_certificates().unwrap()[0].to_vec()
}
