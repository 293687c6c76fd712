//! What is remembered of a connection and of a reset between events. No I/O here.

pub mod ending;
pub mod endings;
pub mod flood;
pub mod idle;
pub mod known;
pub mod machines;
pub mod patterns;
pub mod recent;
pub mod reset;
pub mod settle;
pub mod tcp_state;
mod tuple;
pub mod wire;
pub mod wires;

pub use ending::{Act, FirstAct, Leg, error_name};
pub use reset::{
    CapturePosition, Connection, Earlier, LocalKnown, Pair, ProcessEnd, Reason, Reset, Role, SocketFacts, SocketKind, Task, TcpFacts,
    Trigger,
};
pub use tcp_state::TcpState;
pub use tuple::Tuple;
