//! What a connection is known by on a host that has several network namespaces.

use super::Tuple;

/// Both ends of a connection, and its network namespace (0: not known).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConnectionKey {
    pub tuple: Tuple,
    pub netns: u32,
}
