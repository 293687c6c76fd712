//! What each proxy is started with: the program, its arguments, and its configuration.

use std::{
    fmt::Display,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use super::{Kind, Place};
use crate::{hosts::side::Side, peers::peer::AMQP, workspace};

/// How `HAProxy` is told to stay in the foreground and to read a configuration.
pub const HAPROXY: [&str; 2] = ["-db", "-f"];

/// What stands for the proxy's own directory in its arguments.
pub const OWN: &str = "DIRECTORY";

/// A file in an Envoy's directory: the number by which a later one finds it.
pub const BASE_ID: &str = "base-id";

/// What Envoy is told besides.
pub const ENVOY: [&str; 7] = ["--concurrency", "1", "--drain-time-s", "1", "--parent-shutdown-time-s", "2", "-c"];

/// Where Traefik tells of itself.
pub const API: u16 = 8080;

/// How long a proxy waits for a side whose silence is not to count.
const FOREVER: Duration = Duration::from_hours(1);

/// How long an old proxy, or an old worker, keeps its connections after a reload, in seconds.
const DRAIN: u32 = 1;

/// The text of a configuration, given the proxy's own directory.
type Text = Box<dyn FnOnce(&dyn Display) -> String>;

/// What a proxy is started with. The text may name files of the proxy's own directory.
pub struct Configuration {
    pub program: PathBuf,
    pub arguments: Vec<String>,
    pub text: Text,
}

impl Configuration {
    pub fn of(kind: Kind, place: &Place) -> Self {
        match kind {
            Kind::Haproxy | Kind::HaproxyAborting | Kind::HaproxyNaming | Kind::HaproxyNamingInBinary => haproxy(kind, place),
            Kind::Nginx => nginx(place),
            Kind::Envoy => envoy(place),
            Kind::Traefik => traefik(place),
        }
    }
}

fn haproxy(kind: Kind, place: &Place) -> Configuration {
    let (front, server) = ends(place);
    let patience = |side| if place.only.is_none_or(|only| only == side) { place.patience } else { FOREVER }.as_secs();
    let (client, behind) = (patience(Side::Client), patience(Side::Server));
    let option = if kind == Kind::HaproxyAborting { "option nolinger" } else { "" };
    let source = place.from.map_or_else(String::new, |from| format!("source {}", SocketAddr::new(from, 0)));
    let transparent = if place.transparent { "transparent" } else { "" };
    let naming = match kind {
        Kind::HaproxyNaming => "send-proxy",
        Kind::HaproxyNamingInBinary => "send-proxy-v2",
        _ => "",
    };
    let text = format!(
        "global\n  maxconn 64\n  hard-stop-after {DRAIN}s\n\
         defaults\n  mode tcp\n  timeout connect 5s\n  timeout client {client}s\n  timeout server {behind}s\n  {option}\n\
         listen amqp\n  bind {front} {transparent}\n  server broker {server} {source} {naming}\n"
    );
    Configuration { program: "haproxy".into(), arguments: words(&HAPROXY), text: Box::new(move |_| text) }
}

fn nginx(place: &Place) -> Configuration {
    let (front, server) = ends(place);
    let seconds = place.patience.as_secs();
    let bind = place.from.map_or_else(String::new, |from| format!("proxy_bind {from};"));
    let modules = workspace::nginx_modules().display().to_string();
    let text = move |directory: &dyn Display| {
        format!(
            "load_module {modules}/ngx_stream_module.so;
             daemon off; pid {directory}/pid; error_log stderr; user root;
             worker_processes 1; worker_shutdown_timeout {DRAIN}s;
             events {{ worker_connections 64; }}
             stream {{ server {{ listen {front}; proxy_pass {server}; {bind} proxy_timeout {seconds}s; }} }}\n"
        )
    };
    Configuration { program: "nginx".into(), arguments: words(&["-e", "stderr", "-c"]), text: Box::new(text) }
}

/// A listener of Envoy with a TCP proxy, and the one server behind it.
fn envoy(place: &Place) -> Configuration {
    let (front, server) = ends(place);
    let address = |end: SocketAddr| format!("{{socket_address: {{address: '{}', port_value: {}}}}}", end.ip(), end.port());
    let source = |from: IpAddr| format!("upstream_bind_config: {{source_address: {{address: '{from}', port_value: 0}}}}");
    let text = format!(
        "static_resources:
  listeners:
  - name: amqp
    address: {listener}
    filter_chains:
    - filters:
      - name: envoy.filters.network.tcp_proxy
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: amqp
          cluster: amqp
          idle_timeout: {seconds}s
  clusters:
  - name: amqp
    type: STATIC
    {source}
    load_assignment: {{cluster_name: amqp, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {server}}}}}]}}]}}
",
        listener = address(front),
        server = address(server),
        source = place.from.map_or_else(String::new, source),
        seconds = place.patience.as_secs(),
    );
    let mut arguments = words(&["--use-dynamic-base-id", "--base-id-path"]);
    arguments.push(format!("{OWN}/{BASE_ID}"));
    arguments.extend(words(&ENVOY));
    Configuration { program: workspace::envoy(), arguments, text: Box::new(move |_| text) }
}

fn traefik(place: &Place) -> Configuration {
    let (front, server) = ends(place);
    let arguments = vec![
        format!("--entryPoints.amqp.address={front}"),
        // Where it says whether the route is there: it listens before that.
        "--api.insecure=true".to_owned(),
        format!("--entryPoints.traefik.address={}", SocketAddr::new(place.front, API)),
        format!("--entryPoints.amqp.transport.lifeCycle.graceTimeOut={DRAIN}s"),
        "--global.checkNewVersion=false".to_owned(),
        "--global.sendAnonymousUsage=false".to_owned(),
        "--log.level=ERROR".to_owned(),
        "--providers.file.filename".to_owned(),
    ];
    let text = format!(
        "tcp:
  routers:
    amqp: {{entryPoints: [amqp], rule: 'HostSNI(`*`)', service: amqp}}
  services:
    amqp: {{loadBalancer: {{servers: [{{address: '{server}'}}]}}}}
"
    );
    Configuration { program: workspace::traefik(), arguments, text: Box::new(move |_| text) }
}

/// Where clients find it, and the server.
const fn ends(place: &Place) -> (SocketAddr, SocketAddr) {
    (SocketAddr::new(place.front, AMQP), SocketAddr::new(place.server, AMQP))
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}
