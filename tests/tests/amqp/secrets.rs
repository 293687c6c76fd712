//! No password and no message leaves the kernel, and none is kept in it.

use rstblame_lab::{
    LabError, Result,
    agents::maps,
    brokers::broker::CLERK,
    peers::pika::{Login, Pika},
    truths::stand::{Said, Scene, View},
};

use crate::truths::{open, received, sent, with};

/// What a message says.
pub const BODY: &str = "the consignment is in locker 4711";

/// What is in the maps besides, so that a search that finds nothing has looked at something: the
/// connection's vhost.
const KEPT: &str = "orders";

/// A password and a message go by on a connection that is reset then, and while it is open and
/// afterwards the maps are searched.
pub fn nothing_is_kept(scene: &Scene<'_>) -> Result<()> {
    let mut pika = Pika::start(scene.stand.client())?;
    let flow = pika.connect(&Login { user: CLERK, ..Login::at(scene.v4()) })?;
    for size in [1, 40, 400] {
        pika.publish("nowhere", &BODY.repeat(size))?;
    }
    search(scene)?;
    pika.act("linger")?;
    let client = with(sent("linger_abort", "warning"), open("client"));
    let broker = with(received("peer_aborted", "warning"), open("broker"));
    scene.told(flow, Said::These(vec![client]), Said::These(vec![broker]));
    search(scene)
}

fn search(scene: &Scene<'_>) -> Result<()> {
    for view in [View::Client, View::Broker] {
        let mut kept = false;
        for dump in maps::of(scene.agent(view).pid())? {
            let text = String::from_utf8_lossy(&dump.bytes);
            kept |= text.contains(KEPT);
            for secret in [CLERK.1, BODY] {
                if text.contains(secret) {
                    return Err(LabError::Client(format!("{view:?}: map {} holds {secret:?}", dump.name)));
                }
            }
        }
        if !kept {
            return Err(LabError::Client(format!("{view:?}: no map holds {KEPT:?}: not everything was searched")));
        }
    }
    Ok(())
}
