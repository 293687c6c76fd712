//! What is kept of an AMQP 0-9-1 or TLS conversation: one entry for each direction, so that each is
//! written by one side alone.
//!
//! No credentials and no content: of `start-ok` and `secure-ok` only that they were sent, of
//! messages nothing.

/// How far one direction is followed (`FlowState::stage`). Each stage waits for `FlowState::want`
/// bytes at `FlowState::next`.
pub mod stage {
    /// It is not: the connection is older than the agent, speaks something else, or a part of it
    /// was not seen.
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
    /// Class and method id, on another channel than 0.
    pub const CHANNEL_METHOD: u8 = 11;
    /// `reply-code` of `channel.close`, and the length of its text.
    pub const CHANNEL_CLOSE: u8 = 12;
    /// `reply-text` of it.
    pub const CHANNEL_TEXT: u8 = 13;
    /// `class-id` and `method-id` of it.
    pub const CHANNEL_FAILED: u8 = 14;
}

/// `Spoken::protocol`.
pub mod protocol {
    /// The first bytes do not tell: those of an AMQP 0-9-1 server, before its first method.
    pub const UNKNOWN: u8 = 0;
    pub const AMQP_091: u8 = 1;
    pub const AMQP_10: u8 = 2;
    pub const TLS: u8 = 3;
    /// None of these, or not enough bytes yet to tell which.
    pub const OTHER: u8 = 4;
    /// `AMQP`, and a version that is neither 0-9-1 nor 1.0.
    pub const AMQP_OTHER: u8 = 5;
    /// A request or a response of HTTP/1, or the preface of HTTP/2.
    pub const HTTP: u8 = 6;
    /// The text header of the PROXY protocol.
    pub const PROXY_1: u8 = 7;
    /// Its binary header.
    pub const PROXY_2: u8 = 8;
    pub const MQTT: u8 = 9;
    pub const STOMP: u8 = 10;
}

/// What the first eight bytes of a direction are ([`protocol`]), where they are neither a frame nor
/// a TLS record. Both followers, that of the kernel and that of user space, ask here; the bytes
/// themselves go no further.
pub const fn first_bytes(bytes: [u8; 8]) -> u8 {
    match bytes {
        // AMQP 0-9-1, section 4.2.2.
        [b'A', b'M', b'Q', b'P', 0, 0, 9, 1] => protocol::AMQP_091,
        // AMQP, TLS and SASL of AMQP 1.0 (OASIS AMQP 1.0, sections 2.2, 5.2.1 and 5.3.1).
        [b'A', b'M', b'Q', b'P', 0 | 2 | 3, 1, 0, 0] => protocol::AMQP_10,
        [b'A', b'M', b'Q', b'P', ..] => protocol::AMQP_OTHER,
        // Methods (RFC 9110, section 9; RFC 5789), the status line (RFC 9112, section 4), and the
        // preface (RFC 9113, section 3.4).
        [b'G', b'E', b'T', b' ', ..]
        | [b'P', b'U', b'T', b' ', ..]
        | [b'H', b'E', b'A', b'D', b' ', ..]
        | [b'P', b'O', b'S', b'T', b' ', ..]
        | [b'P', b'A', b'T', b'C', b'H', b' ', ..]
        | [b'T', b'R', b'A', b'C', b'E', b' ', ..]
        | [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..]
        | [b'O', b'P', b'T', b'I', b'O', b'N', b'S', b' ']
        | [b'C', b'O', b'N', b'N', b'E', b'C', b'T', b' ']
        | [b'P', b'R', b'I', b' ', b'*', b' ', b'H', b'T']
        | [b'H', b'T', b'T', b'P', b'/', ..] => protocol::HTTP,
        // HAProxy, The PROXY protocol, sections 2.1 and 2.2.
        [b'P', b'R', b'O', b'X', b'Y', b' ', ..] => protocol::PROXY_1,
        [b'\r', b'\n', b'\r', b'\n', 0, b'\r', b'\n', b'Q'] => protocol::PROXY_2,
        // CONNECT: its remaining length in one to four octets, and the name of the protocol (MQTT
        // 3.1.1, sections 2.2.3 and 3.1.2; `MQIsdp` is that of 3.1).
        [0x10, 0..=0x7f, 0, 4, b'M', b'Q', b'T', b'T']
        | [0x10, 0..=0x7f, 0, 6, b'M', b'Q', b'I', b's']
        | [0x10, 0x80..=0xff, 0..=0x7f, 0, 4, b'M', b'Q', b'T']
        | [0x10, 0x80..=0xff, 0..=0x7f, 0, 6, b'M', b'Q', b'I']
        | [0x10, 0x80..=0xff, 0x80..=0xff, 0..=0x7f, 0, 4 | 6, b'M', b'Q']
        | [0x10, 0x80..=0xff, 0x80..=0xff, 0x80..=0xff, 0..=0x7f, 0, 4 | 6, b'M'] => protocol::MQTT,
        // STOMP 1.2, section CONNECT or STOMP Frame. `CONNECT` and a blank is HTTP.
        [b'C', b'O', b'N', b'N', b'E', b'C', b'T', b'\r' | b'\n'] | [b'S', b'T', b'O', b'M', b'P', b'\r' | b'\n', ..] => protocol::STOMP,
        _ => protocol::OTHER,
    }
}

/// Bits of `Spoken::methods` and `FlowState::pending`: methods of class `connection`, to the end of
/// their frames.
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
    /// Not of class `connection`: `channel.close` that names an error. What it said is a
    /// [`ChannelError`](super::ChannelError).
    pub const CHANNEL_CLOSE: u16 = 1 << 13;
    /// No method of class `connection`: a frame on another channel than 0. Its connection is open,
    /// also where `open-ok` went by unseen.
    pub const CHANNEL: u16 = 1 << 14;
}

/// `FlowState::channels`.
pub mod channels {
    /// Frames on channels may not come yet: a broker begins with `start`.
    pub const NONE: u8 = 0;
    /// They may come.
    pub const ALLOWED: u8 = 1;
    /// One has come, and counts with [`method::CHANNEL`](super::method::CHANNEL): the next ones say
    /// nothing new.
    pub const SEEN: u8 = 2;
}

/// Bits of `Spoken::flags`.
pub mod spoken {
    /// A part was not seen, or makes no sense: what came after it is not known.
    pub const LOST: u8 = 1 << 0;
    /// The latest of `blocked` and `unblocked` was `blocked`.
    pub const BLOCKED: u8 = 1 << 1;
    /// That part were the first bytes of all.
    pub const FIRST_LOST: u8 = 1 << 2;
}

/// Bits of `Spoken::records`: TLS record types (RFC 8446, section 5.1).
pub mod record {
    pub const HANDSHAKE: u8 = 1 << 0;
    pub const APPLICATION_DATA: u8 = 1 << 1;
    pub const ALERT: u8 = 1 << 2;
}

/// `reply-code`s of a close that names no error: 200 is reply-success (AMQP 0-9-1, section 1.3),
/// and some clients leave it at 0.
pub const fn is_success(code: u16) -> bool {
    matches!(code, 0 | 200)
}

/// Whether a method frame on a channel may be `channel.close` by the size of its payload: ids (4),
/// `reply-code` (2), `reply-text` (a short string), `class-id` (2), `method-id` (2).
pub const fn may_be_close(size: u32) -> bool {
    matches!(size, 11..=266)
}

/// Class and method id of `channel.close` (AMQP 0-9-1, section 1.5.2.5).
pub const CHANNEL_CLOSE: (u16, u16) = (20, 40);

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

impl Spoken {
    /// Of a direction that has said nothing.
    pub const NOTHING: Self = Self {
        began_ns: 0,
        close_at: 0,
        blocked_at: 0,
        heartbeat_at: 0,
        methods: 0,
        heartbeat: 0,
        close_code: 0,
        close_class: 0,
        close_method: 0,
        protocol: 0,
        flags: 0,
        records: 0,
        vhost_length: 0,
        text_length: 0,
        reserved: [0; 5],
        vhost: [0; 64],
        text: [0; 128],
    };
}

/// The latest `channel.close` of one direction that named an error; it counts with
/// [`method::CHANNEL_CLOSE`]. Apart from [`Spoken`], since few connections have one.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChannelError {
    /// Jiffies, low 32 bits.
    pub at: u32,
    pub channel: u16,
    /// `reply-code`.
    pub code: u16,
    /// `class-id`.
    pub class: u16,
    /// `method-id`.
    pub method: u16,
    /// Bytes of `text`.
    pub text_length: u8,
    /// Explicit padding, zero.
    pub reserved: [u8; 3],
    /// `reply-text`.
    pub text: [u8; 128],
}

impl ChannelError {
    /// No error.
    pub const NONE: Self = Self { at: 0, channel: 0, code: 0, class: 0, method: 0, text_length: 0, reserved: [0; 3], text: [0; 128] };
}

const _: () = assert!(size_of::<Spoken>() == 232);
const _: () = assert!(size_of::<ChannelError>() == 144 && core::mem::offset_of!(ChannelError, text) % 8 == 0);
