//! What stands between two hosts: routers that filter, translate and forget, longer ways round, and
//! a second router on the same LANs.

use std::time::Duration;

use super::net::{Host, Routed, lone_host};
use crate::{Result, poll};

/// The interface of the router of [`Routed`] that faces the client.
pub const CLIENT_LAN: &str = "eth0";

/// The interface of the router of [`Routed`] that faces the server.
pub const SERVER_LAN: &str = "eth1";

/// The client's networks, as [`super::net::routed`] numbers them.
const CLIENT_NETWORKS: [&str; 2] = ["192.0.2.0/24", "2001:db8:1::/64"];

/// A stateful firewall as they are configured: a segment of a connection it does not know, other
/// than a SYN, that comes in by this interface is answered by a RST in the name of the other end.
///
/// # Errors
///
/// As [`Host::nft`].
pub fn reject_unknown(router: &Host, interface: &str) -> Result<()> {
    router.nft(&format!(
        "add table inet lab; \
         add chain inet lab forward {{ type filter hook forward priority 0; }}; \
         add rule inet lab forward iifname {interface} ct state new tcp flags & syn == 0 reject with tcp reset"
    ))
}

/// Takes the rules of [`reject_unknown`] and [`drop_from`] off a host.
///
/// # Errors
///
/// As [`Host::nft`].
pub fn accept_all(host: &Host) -> Result<()> {
    host.nft("delete table inet lab")
}

/// Drops in silence what comes in by an interface.
///
/// # Errors
///
/// As [`Host::nft`].
pub fn drop_from(router: &Host, interface: &str) -> Result<()> {
    router.nft(&format!(
        "add table inet lab; \
         add chain inet lab forward {{ type filter hook forward priority 0; }}; \
         add rule inet lab forward iifname {interface} meta l4proto tcp drop"
    ))
}

/// Hides the client's LAN behind the router's own address.
///
/// # Errors
///
/// As [`Host::nft`].
pub fn masquerade(router: &Host) -> Result<()> {
    router.nft(&format!(
        "add table inet nat; \
         add chain inet nat post {{ type nat hook postrouting priority 100; }}; \
         add rule inet nat post oifname {SERVER_LAN} masquerade"
    ))
}

/// Empties the connection tracking table: a restart, a failover, or a table that was too small.
///
/// # Errors
///
/// As [`Host::run`].
pub fn forget(router: &Host) -> Result<()> {
    router.run(&["conntrack", "--flush"]).map(drop)
}

/// Lets the router forget an established connection after a second without traffic. Set it before
/// the connection is made.
///
/// # Errors
///
/// As [`Host::run`].
pub fn forget_after_a_second(router: &Host) -> Result<()> {
    forget_after(router, 1)
}

/// Lets the router forget an established connection after so many seconds without traffic. Set it
/// before the connection is made.
///
/// # Errors
///
/// As [`Host::run`].
pub fn forget_after(router: &Host, seconds: u32) -> Result<()> {
    let setting = format!("net.netfilter.nf_conntrack_tcp_timeout_established={seconds}");
    router.run(&["sysctl", "--quiet", "--write", &setting]).map(drop)
}

/// Waits until the router has forgotten the connection from this port of the client.
///
/// # Errors
///
/// [`crate::LabError::Timeout`], or as [`Host::run`].
pub fn wait_forgotten_from(router: &Host, port: u16) -> Result<()> {
    let port = port.to_string();
    poll::until("the router to forget a connection", Duration::from_secs(30), || {
        let known = router.run(&["conntrack", "--dump", "--proto", "tcp", "--orig-port-src", &port])?;
        Ok(known.trim().is_empty().then_some(()))
    })
}

/// Waits until the router has forgotten all connections by itself.
///
/// # Errors
///
/// [`crate::LabError::Timeout`], or as [`Host::run`].
pub fn wait_forgotten(router: &Host) -> Result<()> {
    poll::until("the router to forget", Duration::from_secs(15), || {
        let known = ["ipv4", "ipv6"].map(|family| router.run(&["conntrack", "--dump", "--family", family, "--proto", "tcp"]));
        let [v4, v6] = known;
        Ok((v4?.trim().is_empty() && v6?.trim().is_empty()).then_some(()))
    })
}

/// A way from the server to the client that is some routers longer.
#[derive(Debug)]
pub struct Detour {
    /// Kept for as long as the way exists.
    routers: Vec<Host>,
    first: [String; 2],
}

impl Detour {
    /// Builds a way over `hops` more routers beside the direct one. Nobody goes it before
    /// [`Detour::take`].
    ///
    /// # Errors
    ///
    /// As [`lone_host`] and [`Host::run`].
    pub fn build(net: &Routed, hops: u8) -> Result<Self> {
        let routers = (0..hops).map(|_| lone_host()).collect::<Result<Vec<_>>>()?;
        let line: Vec<&Host> = std::iter::once(&net.server).chain(&routers).chain(std::iter::once(&net.router)).collect();
        for (number, pair) in (0_u8..).zip(line.windows(2)) {
            let [from, to] = pair else { continue };
            // Network `number`, with the near end at .1 and the far end at .2.
            let script = format!(
                "ip link add on{number} type veth peer name back netns {to}
                 ip link set on{number} up
                 ip address add 203.0.113.{base}/30 dev on{number}
                 ip address add 2001:db8:d:{number}::1/64 dev on{number} nodad",
                to = to.name(),
                base = number * 4 + 1,
            );
            from.run(&["sh", "-ec", &script])?;
            // Nothing comes back this way, which is no reason to refuse what comes (`rp_filter`).
            let script = format!(
                "ip link set back up
                 ip address add 203.0.113.{base}/30 dev back
                 ip address add 2001:db8:d:{number}::2/64 dev back nodad
                 sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
                 sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.back.rp_filter=0",
                base = number * 4 + 2,
            );
            to.run(&["sh", "-ec", &script])?;
            if number > 0 {
                from.run(&["sh", "-ec", &routes(&next_hop(number))])?;
            }
        }
        Ok(Self { routers, first: next_hop(0) })
    }

    /// Sends what the server sends to the client this way from now on. What the client sends still
    /// goes the direct way.
    ///
    /// # Errors
    ///
    /// As [`Host::run`].
    pub fn take(&self, net: &Routed) -> Result<()> {
        net.server.run(&["sh", "-ec", &routes(&self.first)]).map(drop)
    }

    /// How many routers longer it is.
    pub fn hops(&self) -> usize {
        self.routers.len()
    }
}

/// The far end of network `number` of a detour.
fn next_hop(number: u8) -> [String; 2] {
    [format!("203.0.113.{}", number * 4 + 2), format!("2001:db8:d:{number}::2")]
}

/// The commands that send what is for the client's networks over a next hop.
fn routes(next: &[String; 2]) -> String {
    let [v4, v6] = next;
    let [network_v4, network_v6] = CLIENT_NETWORKS;
    format!("ip route replace {network_v4} via {v4}\nip -6 route replace {network_v6} via {v6}")
}

/// A second router on both LANs, at the addresses that end in 3. Nobody uses it before
/// [`use_second_router`].
///
/// # Errors
///
/// As [`lone_host`] and [`Host::run`].
pub fn second_router(net: &Routed) -> Result<Host> {
    let second = lone_host()?;
    for (number, interface, prefix) in [(1, CLIENT_LAN, "192.0.2"), (2, SERVER_LAN, "198.51.100")] {
        // The first router's interface becomes a port of a switch, and its addresses move to the
        // switch.
        let script = format!(
            "ip link add lan{number} type bridge
             ip link set lan{number} up
             ip address flush dev {interface} scope global
             ip link set {interface} master lan{number}
             ip address add {prefix}.1/24 dev lan{number}
             ip address add 2001:db8:{number}::1/64 dev lan{number} nodad
             ip link add port{number} master lan{number} type veth peer name {interface} netns {second}
             ip link set port{number} up
             sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.lan{number}.rp_filter=0",
            second = second.name(),
        );
        net.router.run(&["sh", "-ec", &script])?;
        let script = format!(
            "ip link set {interface} up
             ip address add {prefix}.3/24 dev {interface}
             ip address add 2001:db8:{number}::3/64 dev {interface} nodad
             sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
             sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.{interface}.rp_filter=0",
        );
        second.run(&["sh", "-ec", &script])?;
    }
    // Neither router tells the hosts of a shorter way (RFC 792, Redirect): both ways are equally
    // long.
    for router in [&net.router, &second] {
        let quiet = "for f in /proc/sys/net/ipv4/conf/*/send_redirects; do echo 0 > $f; done";
        router.run(&["sh", "-ec", quiet])?;
    }
    Ok(second)
}

/// Sends what a host sends over the second router from now on.
///
/// # Errors
///
/// As [`Host::run`].
pub fn use_second_router(host: &Host) -> Result<()> {
    let script = "v4=$(ip route show default | cut -d' ' -f3); v6=$(ip -6 route show default | cut -d' ' -f3)
         ip route replace default via ${v4%.1}.3
         ip -6 route replace default via ${v6%::1}::3";
    host.run(&["sh", "-ec", script]).map(drop)
}
