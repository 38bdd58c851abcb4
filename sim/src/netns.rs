//! Hosts made of network namespaces, joined by a bridge in one more. Needs root and `ip`.

use std::{
    ffi::OsStr,
    hash::{BuildHasher, RandomState},
    net::Ipv4Addr,
    process::Command,
};

/// A few hosts on one wire. They share everything but the network; dropping this removes them.
#[derive(Debug)]
pub struct Hosts {
    prefix: String,
    names: Vec<String>,
}

impl Hosts {
    /// So many hosts.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn new(count: u8) -> Result<Self, String> {
        // The names carry our process id, so that leftovers of a killed program can be told apart.
        let random = RandomState::new().hash_one(count);
        let prefix = format!("mosaik-{}-{:06x}", std::process::id(), random & 0xff_ffff);
        let mut hosts = Self { prefix, names: Vec::new() };
        let wire = hosts.add("wire")?;
        ip(["-n", &wire, "link", "add", "wire", "type", "bridge"])?;
        ip(["-n", &wire, "link", "set", "wire", "up"])?;
        for index in 0..count {
            let (host, port) = (hosts.add(&index.to_string())?, format!("port{index}"));
            let peer = ["type", "veth", "peer", "name", &port, "netns", &wire];
            ip([["-n", &host, "link", "add", "eth0"].as_slice(), &peer].concat())?;
            ip(["-n", &wire, "link", "set", &port, "master", "wire", "up"])?;
            let addr = format!("{}/24", hosts.addr(index));
            ip(["-n", &host, "addr", "add", &addr, "dev", "eth0"])?;
            ip(["-n", &host, "link", "set", "eth0", "up"])?;
            ip(["-n", &host, "link", "set", "lo", "up"])?;
        }
        Ok(hosts)
    }

    /// The address of a host.
    #[must_use]
    pub const fn addr(&self, index: u8) -> Ipv4Addr {
        Ipv4Addr::new(10, 77, 0, index + 1)
    }

    /// Runs a program on a host; the process is the program itself.
    #[must_use]
    pub fn command(&self, index: u8, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &format!("{}-{index}", self.prefix)]).arg(program);
        command
    }

    /// From now on, whatever a host sends to another disappears.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn swallow(&self, from: u8, to: u8) -> Result<(), String> {
        self.route("add", from, to)
    }

    /// Undoes [`swallow`](Self::swallow).
    ///
    /// # Errors
    /// What `ip` says.
    pub fn pass(&self, from: u8, to: u8) -> Result<(), String> {
        self.route("del", from, to)
    }

    fn route(&self, verb: &str, from: u8, to: u8) -> Result<(), String> {
        let (host, to) = (&self.names[usize::from(from) + 1], self.addr(to).to_string());
        ip(["-n", host, "route", verb, "blackhole", &to])
    }

    fn add(&mut self, what: &str) -> Result<String, String> {
        let name = format!("{}-{what}", self.prefix);
        ip(["netns", "add", &name])?;
        self.names.push(name.clone());
        Ok(name)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            if let Err(error) = ip(["netns", "del", name]) {
                eprintln!("{name} remains: {error}");
            }
        }
    }
}

fn ip<'a>(args: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    let mut command = Command::new("ip");
    let output = command.args(args).output().map_err(|error| format!("ip: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim_end()))
        }
    }
}
