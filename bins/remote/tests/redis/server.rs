//! Redis servers of Debian's package, alone or as a cluster; or those of another program that
//! speaks the protocol, such as Valkey, by REMOTE_REDIS_SERVER and REMOTE_REDIS_CLI.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::stage::{Host, Process, free_port, skip, until};

/// A server in a temporary folder.
pub(crate) struct Server {
    pub(crate) port: u16,
    dir: tempfile::TempDir,
    more: Vec<String>,
    process: Option<Process>,
}

/// The server and its client, for which the environment may name others.
fn server() -> OsString {
    env::var_os("REMOTE_REDIS_SERVER").unwrap_or_else(|| "redis-server".into())
}

fn client() -> Command {
    Command::new(env::var_os("REMOTE_REDIS_CLI").unwrap_or_else(|| "redis-cli".into()))
}

/// Whether the package is installed; says so if not. A server that was asked for must be there.
fn is_there() -> bool {
    if env::var_os("REMOTE_REDIS_SERVER").is_some() {
        return true;
    }
    let there = ["/usr/bin/redis-server", "/usr/local/bin/redis-server"]
        .iter()
        .any(|path| Path::new(path).is_file());
    if !there {
        skip("Redis is not installed (Debian: apt-get install redis-server)");
    }
    there
}

impl Server {
    pub(crate) fn start(more: &[&str]) -> Option<Server> {
        if !is_there() {
            return None;
        }
        let mut server = Server {
            port: free_port(),
            dir: tempfile::tempdir().unwrap(),
            more: more.iter().map(|s| (*s).to_owned()).collect(),
            process: None,
        };
        server.run();
        Some(server)
    }

    pub(crate) fn run(&mut self) {
        let mut command = Command::new(server());
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--dir", self.dir.path().to_str().unwrap()]);
        command.args(["--save", "", "--appendonly", "yes", "--appendfsync", "no"]);
        command
            .args(&self.more)
            .stdout(Stdio::null())
            .stdin(Stdio::null());
        self.process = Some(Process(command.spawn().unwrap()));
        until("the server's answer", || {
            let said = self.cli("PING");
            said.contains("PONG") || said.contains("NOAUTH")
        });
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Runs a command; words are separated by single blanks.
    pub(crate) fn cli(&self, line: &str) -> String {
        let mut command = client();
        command
            .args(["-p", &self.port.to_string()])
            .args(line.split(' '));
        let out = command.stdin(Stdio::null()).output().unwrap();
        String::from_utf8_lossy(&out.stdout).trim().to_owned()
    }

    pub(crate) fn connection(&self) -> String {
        format!(
            "host 127.0.0.1\nport {}\ntls off\ntimeout 5\npoll 2\n",
            self.port
        )
    }

    pub(crate) fn host(&self, name: &str) -> Host {
        let host = Host::new();
        host.write(&format!("{name}.redis"), &self.connection());
        host
    }
}

/// Six nodes, three of them replicas.
pub(crate) struct Cluster {
    pub(crate) nodes: Vec<Server>,
}

impl Cluster {
    pub(crate) fn start() -> Option<Cluster> {
        let more = ["--cluster-enabled", "yes", "--cluster-node-timeout", "1500"];
        let nodes: Option<Vec<Server>> = (0..6).map(|_| Server::start_node(&more)).collect();
        let cluster = Cluster { nodes: nodes? };
        let mut create = client();
        create.args(["--cluster", "create"]);
        create.args(
            cluster
                .nodes
                .iter()
                .map(|n| format!("127.0.0.1:{}", n.port)),
        );
        create.args(["--cluster-replicas", "1", "--cluster-yes"]);
        let made = create.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&made.stdout).into_owned();
        assert!(made.status.success(), "{said}");
        until("the cluster", || cluster.is_well());
        Some(cluster)
    }

    /// One node, which clients are told to find at this port.
    pub(crate) fn of_one(port: impl FnOnce(u16) -> u16) -> Option<Cluster> {
        let node = Server::start_node(&["--cluster-enabled", "yes"])?;
        let port = port(node.port);
        for command in [
            "CONFIG SET cluster-announce-ip 127.0.0.1".to_owned(),
            format!("CONFIG SET cluster-announce-port {port}"),
            "CLUSTER ADDSLOTSRANGE 0 16383".to_owned(),
        ] {
            assert_eq!(node.cli(&command), "OK", "{command}");
        }
        let cluster = Cluster { nodes: vec![node] };
        until("the cluster", || cluster.is_well());
        Some(cluster)
    }

    /// All slots served, and every replica in step with its master.
    pub(crate) fn is_well(&self) -> bool {
        self.nodes
            .iter()
            .filter(|n| n.process.is_some())
            .all(|node| {
                let replica = node.cli("INFO replication");
                node.cli("CLUSTER INFO").contains("cluster_state:ok")
                    && (replica.contains("role:master")
                        || replica.contains("master_link_status:up"))
            })
    }

    /// The node that a key lies on.
    pub(crate) fn node_of(&self, key: &str) -> usize {
        let is_here = |node: &Server| {
            node.cli("INFO replication").contains("role:master")
                && node.cli(&format!("EXISTS {key}")) == "1"
        };
        self.nodes.iter().position(is_here).unwrap()
    }

    pub(crate) fn connection(&self) -> String {
        let hosts: Vec<String> = self
            .nodes
            .iter()
            .map(|n| format!("127.0.0.1:{}", n.port))
            .collect();
        format!(
            "host {}\ncluster yes\ntls off\ntimeout 5\npoll 2\n",
            hosts.join(" ")
        )
    }
}

impl Server {
    /// A node's bus has the port plus 10,000, which must be one too.
    fn start_node(more: &[&str]) -> Option<Server> {
        if !is_there() {
            return None;
        }
        let mut server = Server {
            port: 0,
            dir: tempfile::tempdir().unwrap(),
            more: more.iter().map(|s| (*s).to_owned()).collect(),
            process: None,
        };
        while !(1024..55_000).contains(&server.port) {
            server.port = free_port();
        }
        server.run();
        Some(server)
    }
}
