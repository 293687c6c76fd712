//! What is kept of packets: headers are read ([`headers`]), folded into what is remembered of their
//! direction ([`flow`], in [`flow_table`]), AMQP is followed ([`amqp`]), and RSTs are reported
//! ([`rst`]). It knows nothing of hooks.

pub mod amqp;
pub mod amqp_frame;
pub mod flow;
pub mod flow_table;
pub mod handshake;
pub mod headers;
pub mod payload_window;
pub mod rst;
