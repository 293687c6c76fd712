//! From the start of a packet to its payload: IPv4 and IPv6 with their options and extensions, and
//! TCP.

use core::{
    hint::cold_path,
    mem::{MaybeUninit, offset_of},
};

use aya_ebpf::{EbpfContext as _, helpers::generated::bpf_skb_load_bytes, macros::map, maps::PerCpuArray, programs::SkBuffContext};
use rstblame_abi::{
    AF_INET, AF_INET6,
    flow::{FlowKey, Packet, direction, packet_bit},
};

use super::payload_window::Window;
use crate::ground::{endpoints::narrow, filter, netns, verifier::zero};

/// The segment that `tap` or `egress` looks at.
#[map]
static SEGMENT: PerCpuArray<Segment> = PerCpuArray::with_max_entries(1, 0);

const TCP: u8 = 6;

/// The first byte of an IPv4 header of five words, without options (RFC 791, section 3.1).
const WITHOUT_OPTIONS: u8 = 0x45;

/// `ETH_P_IP` and `ETH_P_IPV6`
/// (<https://github.com/torvalds/linux/blob/v6.12/include/uapi/linux/if_ether.h>), network byte
/// order.
const IPV4: u32 = 0x0800_u16.to_be() as u32;
const IPV6: u32 = 0x86dd_u16.to_be() as u32;

/// Fixed part of a TCP header (RFC 9293, section 3.1), network byte order, and the twelve bytes
/// behind it.
///
/// Each call of the helper costs as much as some twenty instructions, so that one load takes in the
/// timestamps too. Aligned, so that members of more than one byte are one load each.
#[repr(C, align(4))]
#[derive(Clone, Copy)]
struct Tcp {
    source: [u8; 2],
    destination: [u8; 2],
    seq: [u8; 4],
    ack: [u8; 4],
    offset_flags: [u8; 2],
    window: [u8; 2],
    checksum: [u8; 2],
    urgent: [u8; 2],
    /// Options only as far as the data offset says so; zero where the packet ends earlier.
    behind: [[u8; 4]; 3],
}

/// Bytes behind the fixed part that a packet need not have.
const BEHIND: u32 = 12;

/// Fixed part of an IPv4 header (RFC 791, section 3.1) and the TCP header behind it when there are
/// no options.
#[repr(C, align(4))]
#[derive(Clone, Copy)]
struct V4 {
    version_length: u8,
    tos: u8,
    total_length: [u8; 2],
    identification: [u8; 2],
    fragment: [u8; 2],
    ttl: u8,
    protocol: u8,
    checksum: [u8; 2],
    source: [u8; 4],
    destination: [u8; 4],
    tcp: Tcp,
}

/// IPv6 header (RFC 8200, section 3) and the TCP header behind it when there are no extension
/// headers. Addresses are two words each, which is how they are copied: the compiler has bytes
/// copied one by one.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
struct V6 {
    version_class_label: [u8; 4],
    payload_length: [u8; 2],
    next_header: u8,
    hop_limit: u8,
    source: [u64; 2],
    destination: [u64; 2],
    tcp: Tcp,
}

/// A segment of a watched connection, and where its parts are.
#[repr(C)]
pub struct Segment {
    pub key: FlowKey,
    pub packet: Packet,
    /// Offset of the TCP header.
    pub tcp_at: u32,
    /// Offset of the payload.
    pub payload_at: u32,
    /// What a RST is reported as: one of [`kind`](rstblame_abi::kind); written for no other
    /// segment.
    pub kind: u32,
    /// Whose budget its record takes from ([`class`](rstblame_abi::rate_limit::class)); as `kind`.
    pub class: u32,
    /// A part of the payload; not written where it is not looked at.
    pub window: Window,
}

/// Loads a `T` at `offset` from where the socket type puts the start of the packet, in place: the
/// stack has 512 bytes.
#[inline(always)]
pub fn load_into<T: Copy>(skb: u64, offset: u32, slot: &mut T) -> bool {
    // SAFETY: the destination is as large as it is told; the helper checks the bounds of the
    // packet. Every `T` used here is integers and arrays of integers, of which every bit pattern is
    // a value.
    unsafe { bpf_skb_load_bytes(skb as *const _, offset, core::ptr::from_mut(slot).cast(), size_of::<T>() as u32) == 0 }
}

/// Loads a header that ends with a [`Tcp`], at least as far as the fixed part of that goes.
///
/// The helper writes zeros where it fails: nothing of the slot has to be written before.
#[inline(always)]
fn load_headers<T: Copy>(skb: u64, offset: u32, slot: &mut MaybeUninit<T>) -> bool {
    let size = size_of::<T>() as u32;
    // SAFETY: the slot is as large as it is told; the helper checks the bounds of the packet.
    unsafe { bpf_skb_load_bytes(skb as *const _, offset, slot.as_mut_ptr().cast(), size) == 0 || load_shorter(skb, offset, slot) }
}

/// Loads a header that ends with a [`Tcp`] with nothing behind it.
#[inline(never)]
fn load_shorter<T: Copy>(skb: u64, offset: u32, slot: &mut MaybeUninit<T>) -> bool {
    let size = size_of::<T>() as u32 - BEHIND;
    // SAFETY: the slot is larger than it is told; the helper checks the bounds of the packet.
    unsafe { bpf_skb_load_bytes(skb as *const _, offset, slot.as_mut_ptr().cast(), size) == 0 }
}

/// Loads something small.
#[inline(always)]
pub fn load<T: Copy + Default>(skb: u64, offset: u32) -> Option<T> {
    let mut slot = T::default();
    let done = load_into(skb, offset, &mut slot);
    // SAFETY: a valid, aligned local; volatile for the reason given in `probe_read::read`.
    let value = unsafe { core::ptr::read_volatile(&raw const slot) };
    if done { Some(value) } else { None }
}

/// Reads IPv4; null for what is not a segment of a watched connection.
#[inline(always)]
pub fn ipv4(ctx: &SkBuffContext, skb: u64, direction: u16) -> *mut Segment {
    let mut ip = MaybeUninit::<V4>::uninit();
    if !load_headers(skb, 0, &mut ip) {
        return core::ptr::null_mut();
    }
    // SAFETY: the helper has written all of it; integers only.
    let ip = unsafe { ip.assume_init_mut() };
    let mut tcp_at = 20;
    if ip.version_length != WITHOUT_OPTIONS {
        cold_path();
        tcp_at = u32::from(ip.version_length & 0xf) * 4;
        if !reload(skb, tcp_at, &mut ip.tcp) {
            return core::ptr::null_mut();
        }
    }
    // The ports before all else, since most packets go no further. What stands in their place in
    // other protocols is seldom a watched one. Later fragments have no TCP header.
    if !ip.tcp.is_watched() || ip.protocol != TCP || u16::from_be_bytes(ip.fragment) & 0x1fff != 0 {
        return core::ptr::null_mut();
    }
    let place = place();
    // SAFETY: null, or as in `place`.
    if let Some(place) = unsafe { place.as_mut() } {
        fill_ipv4(place, ip, tcp_at, ctx, direction);
    }
    place.cast()
}

/// Fills in what the headers of IPv4 and TCP say.
#[inline(always)]
fn fill_ipv4(place: &mut MaybeUninit<Segment>, ip: &V4, tcp_at: u32, ctx: &SkBuffContext, direction: u16) {
    // Packets merged on their way up may be longer than the field can say; then it is zero (BIG
    // TCP).
    let total = match u16::from_be_bytes(ip.total_length) {
        0 => ctx.len(),
        total => u32::from(total),
    };
    let segment = fill_tcp(place, &ip.tcp, (tcp_at, total), ctx, direction);
    segment.key.family = AF_INET;
    let (local, peer) = ends(direction, ip.source, ip.destination);
    narrow(&mut segment.key.local, local);
    narrow(&mut segment.key.peer, peer);
    segment.packet.ttl = ip.ttl;
    segment.packet.tos = ip.tos;
    segment.packet.ip_id = u16::from_be_bytes(ip.identification);
    if u16::from_be_bytes(ip.fragment) & 0x4000 != 0 {
        segment.packet.bits |= packet_bit::DONT_FRAGMENT;
    }
}

/// Reads IPv6; null for what is not a segment of a watched connection.
#[inline(always)]
pub fn ipv6(ctx: &SkBuffContext, skb: u64, direction: u16) -> *mut Segment {
    let mut ip = MaybeUninit::<V6>::uninit();
    if !load_headers(skb, 0, &mut ip) {
        return core::ptr::null_mut();
    }
    // SAFETY: as in `ipv4`.
    let ip = unsafe { ip.assume_init_mut() };
    let mut tcp_at: u32 = 40;
    if ip.next_header != TCP {
        cold_path();
        tcp_at = behind_extensions(skb, ip.next_header);
        if tcp_at == 0 || !reload(skb, tcp_at, &mut ip.tcp) {
            return core::ptr::null_mut();
        }
    }
    if !ip.tcp.is_watched() {
        return core::ptr::null_mut();
    }
    let place = place();
    // SAFETY: null, or as in `place`.
    if let Some(place) = unsafe { place.as_mut() } {
        fill_ipv6(place, ip, tcp_at, ctx, direction);
    }
    place.cast()
}

/// Where TCP begins behind extension headers; 0 for something else than TCP.
#[inline(never)]
fn behind_extensions(skb: u64, mut next: u8) -> u32 {
    // Hop-by-hop options, routing and destination options (RFC 8200, section 4); more than three in
    // a row are nobody's. Fragments are left out: the first may be told from its header, the others
    // have none.
    let mut at: u32 = 40;
    for _ in 0..3 {
        if next != 0 && next != 43 && next != 60 {
            break;
        }
        let Some([following, length]) = load::<[u8; 2]>(skb, at) else {
            return 0;
        };
        next = following;
        at += (u32::from(length) + 1) * 8;
    }
    if next == TCP { at } else { 0 }
}

/// Fills in what the headers of IPv6 and TCP say.
#[inline(always)]
fn fill_ipv6(place: &mut MaybeUninit<Segment>, ip: &V6, tcp_at: u32, ctx: &SkBuffContext, direction: u16) {
    let total = match u16::from_be_bytes(ip.payload_length) {
        0 => ctx.len(),
        payload => u32::from(payload) + 40,
    };
    let segment = fill_tcp(place, &ip.tcp, (tcp_at, total), ctx, direction);
    let word = u32::from_be_bytes(ip.version_class_label);
    segment.key.family = AF_INET6;
    let (local, peer) = ends(direction, ip.source, ip.destination);
    put(&raw mut segment.key.local, local);
    put(&raw mut segment.key.peer, peer);
    segment.packet.ttl = ip.hop_limit;
    segment.packet.tos = (word >> 20) as u8;
    segment.packet.flow_label = word & 0xf_ffff;
    segment.packet.bits |= packet_bit::IPV6;
}

/// Loads a TCP header that is not where it mostly is.
#[inline(never)]
fn reload(skb: u64, tcp_at: u32, tcp: &mut Tcp) -> bool {
    // SAFETY: a place for a header that may be written anew, as it is by the helper in any case.
    load_headers(skb, tcp_at, unsafe { &mut *core::ptr::from_mut(tcp).cast::<MaybeUninit<Tcp>>() })
}

impl Tcp {
    /// Whether either port is watched.
    #[inline(always)]
    fn is_watched(&self) -> bool {
        filter::ports_watched(u16::from_be_bytes(self.destination), u16::from_be_bytes(self.source))
    }
}

/// Fills in what the TCP header at `tcp_at` of a packet of `total` bytes says, and what is known of
/// the packet beside its headers.
#[inline(always)]
fn fill_tcp<'a>(
    place: &'a mut MaybeUninit<Segment>,
    tcp: &Tcp,
    (tcp_at, total): (u32, u32),
    ctx: &SkBuffContext,
    direction: u16,
) -> &'a mut Segment {
    let segment = zeroed(place);
    // SAFETY: `ctx` holds the pointer the kernel gave; the verifier checks the member.
    segment.packet.ifindex = unsafe { (*ctx.skb.skb).ifindex };
    segment.key.netns = match filter::only_netns() {
        0 => asked_netns(ctx.as_ptr() as u64),
        only => only,
    };
    let offset_flags = u16::from_be_bytes(tcp.offset_flags);
    (segment.key.local_port, segment.key.peer_port) = ends(direction, u16::from_be_bytes(tcp.source), u16::from_be_bytes(tcp.destination));
    segment.key.direction = direction;
    segment.tcp_at = tcp_at;
    segment.payload_at = tcp_at + u32::from(offset_flags >> 12) * 4;
    segment.packet.flags = offset_flags & 0xfff;
    segment.packet.seq = u32::from_be_bytes(tcp.seq);
    segment.packet.ack = u32::from_be_bytes(tcp.ack);
    segment.packet.window = u16::from_be_bytes(tcp.window);
    segment.packet.payload = total.saturating_sub(segment.payload_at);
    // The timestamps where most stacks put them: NOP, NOP, kind 8, length 10 (RFC 7323, appendix
    // A).
    let [nops, value, echo] = tcp.behind;
    if nops == [1, 1, 8, 10] && segment.payload_at >= tcp_at + 32 {
        segment.packet.ts_value = u32::from_be_bytes(value);
        segment.packet.ts_echo = u32::from_be_bytes(echo);
        segment.packet.bits |= packet_bit::TIMESTAMPS;
    }
    segment
}

/// The network namespace of a packet, by its device; 0 when it cannot be read.
#[inline(never)]
fn asked_netns(skb: u64) -> u32 {
    netns::of_packet(skb).unwrap_or(0)
}

/// Which end is this host's, and which the other.
#[inline(always)]
fn ends<T>(direction: u16, source: T, destination: T) -> (T, T) {
    if direction == direction::OUT { (source, destination) } else { (destination, source) }
}

/// Puts an address into its place in a segment's key, as two words.
#[inline(always)]
fn put(place: *mut [u8; 16], [first, second]: [u64; 2]) {
    const {
        assert!((offset_of!(Segment, key) + offset_of!(FlowKey, local)).is_multiple_of(align_of::<u64>()));
        assert!((offset_of!(Segment, key) + offset_of!(FlowKey, peer)).is_multiple_of(align_of::<u64>()));
    }
    #[expect(clippy::cast_ptr_alignment, reason = "asserted above")]
    let words = place.cast::<u64>();
    // SAFETY: a place of sixteen bytes in a segment, aligned as asserted.
    unsafe {
        words.write(first);
        words.add(1).write(second);
    }
}

/// Writes zeros over what not every packet fills in; the window is wiped by itself, and the offsets
/// are always written.
#[inline(always)]
fn zeroed(place: &mut MaybeUninit<Segment>) -> &mut Segment {
    // SAFETY: a segment that a map holds: zeros to begin with, or an earlier one; integers only, of
    // which any bits are a value.
    let segment = unsafe { place.assume_init_mut() };
    // SAFETY: valid and aligned, as they come from a reference.
    unsafe {
        zero(&raw mut segment.key);
        zero(&raw mut segment.packet);
    }
    segment
}

/// Where the segment that this CPU looks at is put down; null never, but that the verifier does not
/// know.
///
/// Not on the stack: the verifier follows each number there as far as it is known, and each set of
/// bits would be a state of its own ([`mark`](crate::ground::verifier::mark)). Of what a map holds
/// it knows nothing.
#[inline(always)]
fn place() -> *mut MaybeUninit<Segment> {
    // This CPU's own: socket filters run with softirqs off, one after the other.
    SEGMENT.get_ptr_mut(0).unwrap_or(core::ptr::null_mut()).cast()
}

/// The segment that the program saw that called this one; null never, but that the verifier does
/// not know.
#[inline(always)]
pub fn handed_over() -> *mut Segment {
    // This CPU's own, as above.
    SEGMENT.get_ptr_mut(0).unwrap_or(core::ptr::null_mut())
}

/// Reads either; null for what is not a segment of a watched connection.
#[inline(always)]
pub fn either(ctx: &SkBuffContext, skb: u64, direction: u16) -> *mut Segment {
    // SAFETY: `ctx` holds the pointer the kernel gave; the verifier checks the member.
    match unsafe { (*ctx.skb.skb).protocol } {
        IPV4 => ipv4(ctx, skb, direction),
        IPV6 => ipv6(ctx, skb, direction),
        _ => core::ptr::null_mut(),
    }
}
