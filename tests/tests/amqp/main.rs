//! What becomes of AMQP connections to a real broker, from the broker's host and from the client's,
//! each with its truth beside it.

mod alarm;
mod channel_errors;
mod client_ends;
mod cycles;
mod heartbeats;
mod ordinary;
mod protocols;
mod proxies;
mod refusals;
mod secrets;
mod shutdown;
mod tls;
mod truths;

use rstblame_lab::{
    Result,
    brokers::broker::CLERK,
    hosts::net::{routed, two_hosts},
    scenarios,
    truths::stand::{Ground, Stand},
};

/// One broker: what it lives through, then how it ends.
#[test]
fn on_one_wire() -> Result<()> {
    let mut stand = Stand::new("on one wire", Ground::Direct(two_hosts()?), &[])?;
    stand.play(&scenarios![
        heartbeats::client_is_paused,
        ordinary::pika_closes,
        ordinary::health_check_closes,
        ordinary::health_check_aborts,
        ordinary::haproxy_checks,
        ordinary::close_comes_in_pieces,
        protocols::tls_to_the_plain_port,
        protocols::http,
        protocols::proxy_1,
        protocols::proxy_2,
        protocols::mqtt,
        protocols::stomp,
        protocols::amqp_1_0,
        protocols::plain_amqp_to_the_port_of_tls,
        protocols::noise,
        channel_errors::client_goes_on,
        channel_errors::client_closes,
        channel_errors::client_aborts,
        refusals::wrong_password,
        refusals::unknown_vhost,
        refusals::no_permission,
        refusals::client_leaves_the_handshake,
        refusals::closed_by_an_operator,
        client_ends::killed,
        client_ends::killed_with_nothing_unread,
        client_ends::starved,
        client_ends::crashed,
        client_ends::exited,
        client_ends::closes_with_unread_data,
        client_ends::lingers,
        tls::closes,
        tls::killed,
        secrets::nothing_is_kept,
    ]);
    // These change the broker for everybody.
    stand.play(&scenarios![alarm::publisher_gives_up]);
    stand.play(&scenarios![shutdown::stop_app]);
    stand.play(&scenarios![shutdown::refused]);
    stand.control(&["start_app"])?;
    stand.play(&scenarios![heartbeats::broker_is_paused]);
    shutdown::killed(&mut stand)?;
    stand.finish(&[CLERK.1, secrets::BODY])
}

/// A broker behind a router, and proxies on the router.
#[test]
fn behind_a_router() -> Result<()> {
    let mut stand = Stand::new("behind a router", Ground::Routed(routed()?), &proxies::ARGUMENTS)?;
    stand.play(&scenarios![
        proxies::firewall_forgets,
        proxies::known_haproxy_loses_patience,
        proxies::unknown_haproxy_loses_patience,
        proxies::haproxy_closes,
        proxies::nginx_closes,
    ]);
    shutdown::terminated(&mut stand)?;
    stand.finish(&[])
}
