//! What is remembered of a connection and of a reset between events. No I/O here.

pub mod configured;
pub mod ending;
pub mod firing;
pub mod flood;
pub mod idle;
pub mod machines;
pub mod patterns;
pub mod recent;
pub mod reset;
mod sender;
pub mod wire;

pub use crate::model::TcpState;
pub use crate::model::Tuple;
pub use crate::model::{ProcessEnd, Role, Task};
pub use ending::{Act, FirstAct, Leg, error_name};
pub use reset::{
    Bypass, CapturePosition, Connection, Earlier, LocalKnown, Pair, Reason, Reset, SocketFacts, SocketKind, TcpFacts, Trigger,
};
pub use sender::LocalSender;
