//! Lets the agent hand values to maps and globals as they are.

use crate::{
    Config, Connection, Layout, LiveConnection, LocalEnd, Receiver, RecordFormat, ResetRecord, Sender,
    conversation::{ChannelError, Spoken},
    flow::{FlowKey, Handshake},
    flow_table::{Set, Slot, Table},
    port_filter::Watch,
    rate_limit::{Flood, FloodKey},
};

// SAFETY: repr(C), integers and arrays of integers only, no padding (sizes are asserted where
// each is declared).
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for ChannelError {}
// SAFETY: as above.
unsafe impl aya::Pod for Connection {}
// SAFETY: as above.
unsafe impl aya::Pod for Flood {}
// SAFETY: as above.
unsafe impl aya::Pod for FloodKey {}
// SAFETY: as above.
unsafe impl aya::Pod for FlowKey {}
// SAFETY: as above.
unsafe impl aya::Pod for Handshake {}
// SAFETY: as above.
unsafe impl aya::Pod for Layout {}
// SAFETY: as above.
unsafe impl aya::Pod for LiveConnection {}
// SAFETY: as above.
unsafe impl aya::Pod for LocalEnd {}
// SAFETY: as above.
unsafe impl aya::Pod for RecordFormat {}
// SAFETY: as above.
unsafe impl aya::Pod for Receiver {}
// SAFETY: as above.
unsafe impl aya::Pod for ResetRecord {}
// SAFETY: as above.
unsafe impl aya::Pod for Sender {}
// SAFETY: as above.
unsafe impl aya::Pod for Set {}
// SAFETY: as above.
unsafe impl aya::Pod for Slot {}
// SAFETY: as above.
unsafe impl aya::Pod for Spoken {}
// SAFETY: as above.
unsafe impl aya::Pod for Table {}
// SAFETY: as above.
unsafe impl aya::Pod for Watch {}
