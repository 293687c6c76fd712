//! Who talks on a connection: plain sockets, processes that do what they are told, and real
//! clients.

pub mod act;
pub mod actor;
pub mod client;
pub mod pair;
pub mod peer;
pub mod pika;
pub mod speech;
