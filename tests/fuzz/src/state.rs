//! The state file: what is read is written as what reads back the same, and learning goes on from
//! whatever was in it.

use std::time::Duration;

use rstblame::flow::{
    idle::{Destination, IdleMemory},
    wire::Silence,
};

pub fn holds(data: &[u8]) {
    let Ok(mut memory) = serde_json::from_slice::<IdleMemory>(data) else { return };
    let written = serde_json::to_vec(&memory).expect("it can be written");
    let again: IdleMemory = serde_json::from_slice(&written).expect("it can be read");
    assert_eq!(again, memory);
    // 1024 destinations, 16 silences each.
    assert!(written.len() <= 1024 * (256 + 16 * 32), "{} bytes", written.len());
    let destination = Destination::new(([192, 0, 2, 7], 40_000).into(), 5672);
    let silence = Silence { length: Duration::from_secs(350), broken_by_receiver: true };
    let known = (0..16).fold(None, |_, _| memory.learn(destination, Some(silence), Duration::ZERO));
    // Sixteen repeats of one silence are all that is remembered; only a longer one that was
    // survived speaks against it.
    if let Some(learnt) = known {
        assert_eq!((learnt.timeout, learnt.repeats, learnt.spread), (Duration::from_secs(350), 16, Duration::ZERO));
        assert!(learnt.explains(silence));
    }
}
