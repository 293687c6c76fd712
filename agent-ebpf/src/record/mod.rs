//! Records on their way to the agent: reserved, zeroed, filled in and submitted in one place
//! ([`submit`]), and what fills them in: a socket, the task on the CPU, the packet that is
//! answered. It knows nothing of hooks.

pub mod live;
pub mod rate_limit;
pub mod sender;
pub mod skb;
pub mod socket;
pub mod submit;
pub mod task;
pub mod tracepoint;
