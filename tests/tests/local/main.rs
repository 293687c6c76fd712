//! Resets that a host makes by itself, seen from both ends of the connection, each with its truth
//! beside it.

mod host;
mod process;

use rstblame_lab::{Result, truths::round};

/// Each scenario as a test of its own, and all of them in turn as one.
macro_rules! scenarios {
    ($($module:ident::$name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() -> Result<()> {
                round::play(&[(stringify!($name), $module::$name)])
            }
        )*

        #[test]
        #[ignore = "for machines on which an agent takes long to start: cargo xtask test vm"]
        fn in_turn() -> Result<()> {
            round::play(&[$((stringify!($name), $module::$name)),*])
        }
    };
}

scenarios! {
    process::client_closes_with_unread_data,
    process::server_closes_with_unread_data,
    process::client_aborts_with_linger_zero,
    process::health_check_connects_and_aborts,
    process::ipv6_connection,
    process::ipv4_client_of_a_dual_stack_listener,
    process::ipv6_socket_connected_to_a_mapped_address,
    host::refused_port,
    host::refused_port_over_ipv6,
    host::socket_destroyed_by_the_operator,
    host::data_to_a_connection_the_host_no_longer_has,
    host::data_to_a_connection_of_a_broker_that_is_gone,
    host::keepalive_timeout,
    host::data_after_the_receive_side_was_shut_down,
}
