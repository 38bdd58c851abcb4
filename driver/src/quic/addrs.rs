//! Addresses: which ones we tell others, and which of theirs we try first.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use if_addrs::Interface;
use mosaik_proto::limits;

/// The addresses under which sockets bound to `bound` can be reached, at most
/// [`limits::ADDRS_PER_PEER`]. Loopback addresses come first when there are too many, because they
/// are the only ones that always work on the same host; then IPv4.
pub(super) fn reachable(bound: &[SocketAddr]) -> BTreeSet<SocketAddr> {
    let interfaces = if bound.iter().any(|addr| addr.ip().is_unspecified()) {
        interface_addrs()
    } else {
        Vec::new()
    };
    let mut all = Vec::new();
    for addr in bound {
        if !addr.ip().is_unspecified() {
            all.push(*addr);
            continue;
        }
        let loopback: Option<IpAddr> = match addr {
            SocketAddr::V4(_) => Some(Ipv4Addr::LOCALHOST.into()),
            SocketAddr::V6(_) => has_loopback_v6().then_some(Ipv6Addr::LOCALHOST.into()),
        };
        let same_family = interfaces.iter().filter(|ip| ip.is_ipv4() == addr.is_ipv4());
        let ips = loopback.iter().chain(same_family);
        all.extend(ips.map(|ip| SocketAddr::new(*ip, addr.port())));
    }
    all.sort_by_key(|addr| (!addr.ip().is_loopback(), addr.is_ipv6()));
    all.into_iter().take(limits::ADDRS_PER_PEER).collect()
}

/// A host may bind `[::]` and still have IPv6 switched off on all its interfaces.
fn has_loopback_v6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok()
}

/// Addresses of interfaces that are up. Link-local IPv6 addresses mean nothing without a scope,
/// which only this host could interpret. A host that tells nothing has none.
fn interface_addrs() -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    interfaces
        .into_iter()
        .filter(Interface::is_oper_up)
        .map(|interface| interface.ip())
        .filter(|ip| match ip {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_loopback(),
            IpAddr::V6(ip) => {
                !ip.is_unspecified() && !ip.is_loopback() && !ip.is_unicast_link_local()
            }
        })
        .collect()
}

/// The addresses of a peer in the order in which to try them: this host, private networks, the
/// rest; otherwise as given. What nobody can listen on is left out, and so is what exceeds
/// [`limits::ADDRS_PER_PEER`].
pub(super) fn in_dial_order(addrs: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut order: Vec<SocketAddr> = Vec::with_capacity(addrs.len());
    for addr in addrs {
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if is_dialable(&addr) && !order.contains(&addr) {
            order.push(addr);
            if order.len() == limits::ADDRS_PER_PEER {
                break;
            }
        }
    }
    order.sort_by_key(|addr| distance(addr.ip()));
    order
}

fn is_dialable(addr: &SocketAddr) -> bool {
    let ip = addr.ip();
    let broadcast = ip == IpAddr::V4(Ipv4Addr::BROADCAST);
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}

fn distance(ip: IpAddr) -> u8 {
    let private = match ip {
        IpAddr::V4(ip) => ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_unicast_link_local(),
    };
    match ip.is_loopback() {
        true => 0,
        false if private => 1,
        false => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addrs(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|addr| addr.parse().expect("an address")).collect()
    }

    #[test]
    fn near_addresses_are_tried_first_and_impossible_ones_never() {
        let given = [
            "8.8.8.8:1",
            "0.0.0.0:1",
            "10.0.0.1:1",
            "224.0.0.1:1",
            "127.0.0.1:0",
            "255.255.255.255:1",
            "[2001:db8::1]:1",
            "[::1]:1",
            "[::ffff:127.0.0.1]:1",
            "127.0.0.1:1",
        ];
        let expected = ["[::1]:1", "127.0.0.1:1", "10.0.0.1:1", "8.8.8.8:1", "[2001:db8::1]:1"];
        assert_eq!(in_dial_order(addrs(&given)), addrs(&expected));
        let many = (1..100).map(|port| SocketAddr::new([9, 9, 9, 9].into(), port)).collect();
        assert_eq!(in_dial_order(many).len(), limits::ADDRS_PER_PEER);
    }

    #[test]
    fn loopback_is_always_among_our_addresses() {
        let told = reachable(&addrs(&["0.0.0.0:7", "[::]:8"]));
        assert!(told.contains(&addrs(&["127.0.0.1:7"])[0]));
        assert_eq!(told.contains(&addrs(&["[::1]:8"])[0]), has_loopback_v6());
        assert!(told.len() <= limits::ADDRS_PER_PEER);
        assert!(told.iter().all(|addr| !addr.ip().is_unspecified()));
        assert_eq!(
            reachable(&addrs(&["127.0.0.1:7"])),
            addrs(&["127.0.0.1:7"]).into_iter().collect()
        );
    }
}
