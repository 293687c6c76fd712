//! One file for each place in the kernel that calls a program: what is filtered, and which record
//! is filled in. The programs that listen to packets are [`ingress`] and [`egress`].

pub mod destroy_sock;
pub mod egress;
pub mod heartbeat;
pub mod ingress;
pub mod oom;
pub mod receive_reset;
pub mod send_reset;
pub mod signal;
pub mod sock_state;
