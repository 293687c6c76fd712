//! The lab checked without the agent: what a scenario calls the truth must be what the kernel did.

use std::{io::ErrorKind, net::SocketAddr, path::PathBuf, time::Duration};

use rstblame_lab::{
    Result,
    command::spawn,
    hosts::net::{lone_host, routed, two_hosts},
    peers::peer::{self, AMQP, Connection},
    poll,
};

#[test]
fn a_host_is_gone_with_what_ran_on_it() -> Result<()> {
    let host = lone_host()?;
    let mut sleeper = spawn(host.command("sleep").arg("60"))?;
    // `ip netns exec` runs before it has moved: only then is the process one of this host's.
    poll::until("sleep to be on the host", Duration::from_secs(20), || Ok(host.processes()?.contains(&sleeper.id()).then_some(())))?;
    let path: PathBuf = host.path();
    assert!(path.exists());
    drop(host);
    assert!(!path.exists());
    let status = sleeper.wait().map_err(|error| rstblame_lab::LabError::io("wait for sleep", error))?;
    assert!(!status.success(), "killed, not ended: {status}");
    Ok(())
}

#[test]
fn routed_hosts_reach_each_other_over_both_protocols() -> Result<()> {
    let net = routed()?;
    for address in [net.server.v4(), net.server.v6()] {
        let connection = Connection::open(&net.client, &net.server, address)?;
        peer::send(&mut &connection.client, b"hello")?;
        peer::wait_unread(&connection.server, 5)?;
    }
    Ok(())
}

#[test]
fn each_way_to_leave_sends_one_reset() -> Result<()> {
    let net = two_hosts()?;
    let (client, server) = (&net.client, &net.server);
    let sent = || Ok::<_, rstblame_lab::LabError>((client.resets_sent()?, server.resets_sent()?));
    assert_eq!(sent()?, (0, 0));

    let connection = Connection::open(client, server, server.v4())?;
    peer::close_with_unread(connection.client, &connection.server, b"hello")?;
    assert_eq!(peer::wait_failure(&connection.server)?, ErrorKind::ConnectionReset);
    drop((connection.server, connection.listener));
    assert_eq!(sent()?, (1, 0));

    let connection = Connection::open(client, server, server.v6())?;
    peer::abort(connection.client)?;
    assert_eq!(peer::wait_failure(&connection.server)?, ErrorKind::ConnectionReset);
    drop((connection.server, connection.listener));
    assert_eq!(sent()?, (2, 0));

    peer::refused(client, SocketAddr::new(server.v4(), AMQP))?;
    assert_eq!(sent()?, (2, 1));

    let connection = Connection::open_dual_stack(client, server, server.v4())?;
    peer::shut_down(&connection.server)?;
    peer::wait_end(&connection.client)?;
    peer::send(&mut &connection.client, b"too late")?;
    assert_eq!(peer::wait_failure(&connection.client)?, ErrorKind::BrokenPipe);
    assert_eq!(sent()?, (2, 2));
    Ok(())
}
