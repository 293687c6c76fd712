//! Real AMQP clients: pika in a Python process of its own, lapin in this process.

use std::{
    net::{IpAddr, SocketAddr},
    process::Command,
    time::{Duration, Instant},
};

use futures_lite::{StreamExt as _, future};
use lapin::{
    Connection, ConnectionProperties,
    options::{BasicConsumeOptions, BasicPublishOptions, QueueDeclareOptions},
    types::FieldTable,
};
use serde_json::Value;
use tokio::{
    runtime::{Builder, Runtime},
    time::timeout,
};

use super::peer::AMQP;
use crate::{
    LabError, Result,
    command::{run_command, while_nothing_starts},
    hosts::{flow::Flow, net::Host},
    poll, workspace,
};

/// How long a client may take for what it was asked.
const PATIENCE: Duration = Duration::from_mins(1);

/// How a pika application leaves its connection.
#[derive(Debug, Clone, Copy)]
pub enum Leave {
    /// It closes the socket while deliveries wait in the receive queue.
    Unread,
    /// It closes the socket with `SO_LINGER` on and 0 s.
    Linger,
}

/// What a client that left its connection tells about it.
#[derive(Debug)]
pub struct Left {
    /// The process that closed the socket.
    pub pid: u32,
    /// The connection as the client's host saw it.
    pub flow: Flow,
    /// The bytes in the receive queue when the socket was closed.
    pub unread: u64,
}

/// Runs a pika application on `host` that connects to `broker` and leaves as told.
///
/// # Errors
///
/// [`LabError::Command`] when Python or pika fails, [`LabError::Client`] when its answer is not as
/// agreed.
pub fn pika(host: &Host, broker: IpAddr, how: Leave) -> Result<Left> {
    let how = match how {
        Leave::Unread => "unread",
        Leave::Linger => "linger",
    };
    let mut command = pika_command(host);
    command.args([how, &broker.to_string(), &AMQP.to_string()]);
    let answer = run_command(command, PATIENCE)?;
    parse_left(&answer, SocketAddr::new(broker, AMQP)).ok_or_else(|| LabError::Client(format!("pika_client.py {how} answered {answer:?}")))
}

/// Opens and closes connections in order with pika, `count` times.
///
/// # Errors
///
/// [`LabError::Command`] when Python or pika fails.
pub fn pika_cycles(host: &Host, broker: IpAddr, count: u32) -> Result<()> {
    let mut command = pika_command(host);
    command.args(["cycle", &broker.to_string(), &AMQP.to_string(), &count.to_string()]);
    run_command(command, PATIENCE).map(drop)
}

fn pika_command(host: &Host) -> Command {
    let mut command = host.command(workspace::python());
    command.args(["-c", include_str!("clients/pika_client.py")]);
    command
}

fn parse_left(answer: &str, broker: SocketAddr) -> Option<Left> {
    let answer: Value = serde_json::from_str(answer.trim()).ok()?;
    let local = answer.get("local")?;
    let address: IpAddr = local.get(0)?.as_str()?.parse().ok()?;
    let port = u16::try_from(local.get(1)?.as_u64()?).ok()?;
    Some(Left {
        pid: u32::try_from(answer.get("pid")?.as_u64()?).ok()?,
        flow: Flow::new(SocketAddr::new(address, port), broker),
        unread: answer.get("unread")?.as_u64()?,
    })
}

/// Opens a connection and a channel with lapin and closes them in order, as an application should.
///
/// # Errors
///
/// [`LabError::Client`] when connecting fails. What the broker does during the close is the
/// scenario's matter: it may well reset the connection before lapin has read the answer.
pub fn lapin_cycle(host: &Host, broker: IpAddr) -> Result<()> {
    host.inside(|| {
        runtime()?.block_on(async {
            let connection = connect(broker).await?;
            // A channel that is dropped closes itself, and lapin does not close a connection
            // meanwhile.
            let _channel = connection.create_channel().await?;
            // The outcome is the broker's routine reset or not: exactly what is being watched for.
            let _ = connection.close(200, "done".into()).await;
            Ok(())
        })
    })
}

/// Opens connections with lapin one after the other, as long as there is to be one more, publishes
/// a message on each, and closes it in order.
///
/// # Errors
///
/// As [`lapin_cycle`].
pub fn lapin_cycles(host: &Host, broker: IpAddr, mut one_more: impl FnMut() -> bool + Send) -> Result<()> {
    host.inside(move || {
        let runtime = runtime()?;
        while one_more() {
            runtime.block_on(async {
                let connection = connect(broker).await?;
                let channel = connection.create_channel().await?;
                channel
                    .basic_publish(
                        "".into(),
                        "nowhere".into(),
                        BasicPublishOptions::default(),
                        b"bendnote",
                        lapin::BasicProperties::default(),
                    )
                    .await?;
                // As above.
                let _ = connection.close(200, "done".into()).await;
                Ok::<_, LabError>(())
            })?;
        }
        Ok(())
    })
}

/// Publishes messages of so many bytes with lapin and consumes them again, on a connection of its
/// own each, as fast as all of them can; how long that took.
///
/// # Errors
///
/// [`LabError::Client`] when lapin fails, or the messages stop coming.
pub fn lapin_through(host: &Host, broker: IpAddr, messages: u32, body: usize) -> Result<Duration> {
    const QUEUE: &str = "lab-lapin-through";
    host.inside(|| {
        runtime()?.block_on(async {
            let (publisher, consumer) = (connect(broker).await?, connect(broker).await?);
            let (publishing, consuming) = (publisher.create_channel().await?, consumer.create_channel().await?);
            // Exclusive to one connection: gone with it, and still anybody's to publish to.
            let queue = QueueDeclareOptions { exclusive: true, ..QueueDeclareOptions::default() };
            consuming.queue_declare(QUEUE.into(), queue, FieldTable::default()).await?;
            let no_ack = BasicConsumeOptions { no_ack: true, ..BasicConsumeOptions::default() };
            let mut deliveries = consuming.basic_consume(QUEUE.into(), "".into(), no_ack, FieldTable::default()).await?;
            let body = vec![b'x'; body];
            let began = Instant::now();
            let publish = async {
                for _ in 0..messages {
                    let (options, properties) = (BasicPublishOptions::default(), lapin::BasicProperties::default());
                    publishing.basic_publish("".into(), QUEUE.into(), options, &body, properties).await?;
                }
                Ok::<_, LabError>(())
            };
            let consume = async {
                for _ in 0..messages {
                    let delivery = timeout(PATIENCE, deliveries.next()).await;
                    delivery.ok().flatten().ok_or_else(|| LabError::Client("the messages stopped coming".to_owned()))??;
                }
                Ok(())
            };
            future::try_zip(publish, consume).await?;
            let took = began.elapsed();
            for connection in [publisher, consumer] {
                // As above.
                let _ = connection.close(200, "done".into()).await;
            }
            Ok(took)
        })
    })
}

/// A lapin consumer whose application stops running its event loop, gets deliveries, and then goes
/// away without reading them.
///
/// # Errors
///
/// [`LabError::Client`] when lapin fails, [`LabError::Timeout`] when no delivery reaches the
/// socket.
pub fn lapin_unread(host: &Host, broker: IpAddr) -> Result<Left> {
    const QUEUE: &str = "lab-lapin-unread";
    host.inside(|| {
        // Everything the consumer reads, it reads while its runtime is being blocked on.
        let stuck = runtime()?;
        let before = established(host)?;
        let (_connection, _consumer) = stuck.block_on(async {
            let connection = connect(broker).await?;
            let channel = connection.create_channel().await?;
            let options = QueueDeclareOptions { auto_delete: true, ..QueueDeclareOptions::default() };
            let none = FieldTable::default;
            channel.queue_declare(QUEUE.into(), options, none()).await?;
            let consumer = channel.basic_consume(QUEUE.into(), "lab".into(), BasicConsumeOptions::default(), none()).await?;
            Ok::<_, LabError>((connection, consumer))
        })?;
        let local = established(host)?
            .into_iter()
            .map(|(local, _)| local)
            .find(|local| before.iter().all(|(other, _)| other != local))
            .ok_or_else(|| LabError::Client("lapin has no socket".to_owned()))?;

        runtime()?.block_on(async {
            let connection = connect(broker).await?;
            let channel = connection.create_channel().await?;
            channel
                .basic_publish("".into(), QUEUE.into(), BasicPublishOptions::default(), &[b'x'; 1000], lapin::BasicProperties::default())
                .await?;
            let _ = connection.close(200, "done".into()).await;
            Ok::<_, LabError>(())
        })?;
        let unread = poll::until("a delivery to reach lapin's socket", PATIENCE, || {
            let queued = established(host)?;
            Ok(queued.into_iter().find_map(|(other, unread)| (other == local && unread > 0).then_some(unread)))
        })?;
        let sent = host.resets_sent()?;
        while_nothing_starts(|| {
            drop(stuck);
            // lapin's own thread closes the socket once it notices.
            poll::until("lapin to close its socket", PATIENCE, || Ok((host.resets_sent()? > sent).then_some(())))
        })?;
        Ok(Left { pid: std::process::id(), flow: Flow::new(local, SocketAddr::new(broker, AMQP)), unread })
    })
}

/// The established client connections to the AMQP port on a host: local address and bytes in the
/// receive queue.
fn established(host: &Host) -> Result<Vec<(SocketAddr, u64)>> {
    let filter = format!("dport = :{AMQP}");
    let text = host.run(&["ss", "--no-header", "--numeric", "--tcp", "state", "established", &filter])?;
    Ok(text
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_ascii_whitespace();
            let unread = columns.next()?.parse().ok()?;
            let local = columns.nth(1)?.parse().ok()?;
            Some((local, unread))
        })
        .collect())
}

async fn connect(broker: IpAddr) -> Result<Connection> {
    let uri = format!("amqp://guest:guest@{}/%2f", SocketAddr::new(broker, AMQP));
    Ok(Connection::connect(&uri, ConnectionProperties::default()).await?)
}

fn runtime() -> Result<Runtime> {
    Builder::new_current_thread().enable_all().build().map_err(|error| LabError::io("start a runtime for lapin", error))
}
