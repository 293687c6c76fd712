//! AMQP over TLS, of which nothing but the types of records is to be seen.

use rstblame_lab::{
    Result, Value, json,
    peers::pika::{Login, Pika, Unread},
    truths::stand::{Said, Scene},
};
use rustix::process::Signal;

use crate::truths::{received, sent, with};

/// How often a connection is closed in order.
const ROUNDS: usize = 3;

fn routine() -> Value {
    json!({"severity": "info", "cause": {"id": "routine_close"}, "tls": {"stage": "application_data"}, "amqp": null})
}

/// As the client's host sees it: the broker may take its time to close, and what it then sends is
/// answered by the client's TIME_WAIT.
fn routine_or_late() -> Value {
    with(routine(), json!({"cause": {"id": ["routine_close", "stale_connection"]}}))
}

pub fn closes(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    for _ in 0..ROUNDS {
        let flow = pika.connect(&Login::over_tls(scene.v4()))?;
        pika.act("close")?;
        scene.told(flow, Said::Any(routine_or_late()), Said::Any(routine()));
    }
    Ok(())
}

/// No `close_notify`, and a delivery unread.
pub fn killed(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let Unread { flow, publisher, .. } = pika.leave_unread(&Login::over_tls(scene.v4()))?;
    scene.told(publisher, Said::Any(routine_or_late()), Said::Any(routine()));
    pika.signal(Signal::KILL)?;
    pika.wait()?;
    let tls = json!({"tls": {"stage": "application_data"}, "amqp": null});
    let client = with(sent("process_killed", "error"), json!({"process": {"pid": pika.pid, "exit": {"signal": "SIGKILL"}}}));
    let broker = received("peer_aborted", "warning");
    scene.told(flow, Said::These(vec![with(client, tls.clone())]), Said::These(vec![with(broker, tls)]));
    Ok(())
}
