//! Address families (<https://github.com/torvalds/linux/blob/v6.12/include/linux/socket.h>).

pub const AF_INET: u16 = 2;
pub const AF_INET6: u16 = 10;
