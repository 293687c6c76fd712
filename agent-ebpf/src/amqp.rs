//! What is kept of an AMQP 0-9-1 or TLS conversation: one entry for each direction, so that each is written by one side alone.
//!
//! No credentials and no content: of `start-ok` and `secure-ok` only that they were sent, of messages nothing.

/// How far one direction is followed (`FlowState::stage`). Each stage waits for `FlowState::want` bytes at `FlowState::next`.
pub mod stage {
    /// It is not: the connection is older than the agent, speaks something else, or a part of it was not seen.
    pub const NONE: u8 = 0;
    /// The first byte, which tells what is spoken.
    pub const FIRST: u8 = 1;
    /// A protocol header (AMQP 0-9-1, section 4.2.2).
    pub const PROTOCOL: u8 = 2;
    /// The end octet of the frame before, and the header of a frame (AMQP 0-9-1, section 4.2.3).
    pub const FRAME: u8 = 3;
    /// Class and method id, on channel 0.
    pub const METHOD: u8 = 4;
    /// The fixed beginning of the arguments of a method.
    pub const ARGUMENTS: u8 = 5;
    /// `virtual-host` of `connection.open`.
    pub const VHOST: u8 = 6;
    /// `reply-text` of `connection.close`.
    pub const TEXT: u8 = 7;
    /// `class-id` and `method-id` of `connection.close`.
    pub const FAILED: u8 = 8;
    /// The length of the string that follows `virtual-host`.
    pub const RESERVED: u8 = 10;
    /// The header of a TLS record (RFC 8446, section 5.1).
    pub const RECORD: u8 = 9;
}

/// `Spoken::protocol`.
pub mod protocol {
    /// The first bytes do not tell: those of an AMQP 0-9-1 server, before its first method.
    pub const UNKNOWN: u8 = 0;
    pub const AMQP_091: u8 = 1;
    pub const AMQP_10: u8 = 2;
    pub const TLS: u8 = 3;
    pub const OTHER: u8 = 4;
}

/// Bits of `Spoken::methods` and `FlowState::pending`: methods of class `connection`, to the end of their frames.
pub mod method {
    pub const START: u16 = 1 << 0;
    pub const START_OK: u16 = 1 << 1;
    pub const SECURE: u16 = 1 << 2;
    pub const SECURE_OK: u16 = 1 << 3;
    pub const TUNE: u16 = 1 << 4;
    pub const TUNE_OK: u16 = 1 << 5;
    pub const OPEN: u16 = 1 << 6;
    pub const OPEN_OK: u16 = 1 << 7;
    pub const CLOSE: u16 = 1 << 8;
    pub const CLOSE_OK: u16 = 1 << 9;
    pub const BLOCKED: u16 = 1 << 10;
    pub const UNBLOCKED: u16 = 1 << 11;
    /// No method: a heartbeat frame.
    pub const HEARTBEAT: u16 = 1 << 12;
}

/// Bits of `Spoken::flags`.
pub mod spoken {
    /// A part was not seen, or makes no sense: what came after it is not known.
    pub const LOST: u8 = 1 << 0;
    /// The latest of `blocked` and `unblocked` was `blocked`.
    pub const BLOCKED: u8 = 1 << 1;
}

/// Bits of `Spoken::records`: TLS record types (RFC 8446, section 5.1).
pub mod record {
    pub const HANDSHAKE: u8 = 1 << 0;
    pub const APPLICATION_DATA: u8 = 1 << 1;
    pub const ALERT: u8 = 1 << 2;
}

/// Bytes of `virtual-host` that are kept.
pub const VHOST_MAX: u32 = 63;

/// Bytes of `reply-text` that are kept.
pub const TEXT_MAX: u32 = 127;

/// What one direction of a connection has said. Times are jiffies, low 32 bits.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// When its first byte was seen: `CLOCK_BOOTTIME`, ns.
    pub began_ns: u64,
    /// The first `connection.close`.
    pub close_at: u32,
    /// The latest `connection.blocked` or `connection.unblocked`.
    pub blocked_at: u32,
    /// The latest heartbeat frame.
    pub heartbeat_at: u32,
    /// [`method`].
    pub methods: u16,
    /// Of `tune` or `tune-ok`, seconds.
    pub heartbeat: u16,
    /// `reply-code` of the first `connection.close`.
    pub close_code: u16,
    /// `class-id` of it.
    pub close_class: u16,
    /// `method-id` of it.
    pub close_method: u16,
    /// [`protocol`].
    pub protocol: u8,
    /// [`spoken`].
    pub flags: u8,
    /// [`record`].
    pub records: u8,
    /// Bytes of `vhost`.
    pub vhost_length: u8,
    /// Bytes of `text`.
    pub text_length: u8,
    /// Explicit padding, zero.
    pub reserved: [u8; 5],
    pub vhost: [u8; 64],
    pub text: [u8; 128],
}

const _: () = assert!(size_of::<Spoken>() == 232);
