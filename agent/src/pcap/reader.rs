//! Frames out of pcap (draft-ietf-opsawg-pcap) and pcapng (draft-ietf-opsawg-pcapng) files, one at
//! a time.

use super::{
    error::PcapError,
    source::{LARGEST, Source},
};

/// Direction of a frame, where the capture marks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameDirection {
    Arriving,
    Leaving,
}

/// One frame.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Counted from 1.
    pub number: u64,
    /// Since the epoch.
    pub time_ns: u64,
    /// LINKTYPE_ value.
    pub linktype: u32,
    /// Captured bytes.
    pub data: &'a [u8],
    pub direction: Option<FrameDirection>,
    pub interface: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pcap { nanoseconds: bool, linktype: u32 },
    Pcapng,
}

/// An interface description of pcapng.
#[derive(Clone, Copy, Debug)]
struct Interface {
    linktype: u32,
    /// Ticks in a second.
    resolution: u64,
    offset_s: i64,
}

/// More interfaces than captures have; beyond it the file is not believed.
const INTERFACES: usize = 4096;

/// A capture, read from front to back.
pub struct Reader {
    source: Source,
    file: String,
    kind: Kind,
    big_endian: bool,
    frames: u64,
    interfaces: Vec<Interface>,
    ended: bool,
}

const SECTION: u32 = 0x0a0d_0d0a;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

impl Reader {
    /// Reads the file's header.
    ///
    /// # Errors
    ///
    /// When it is none.
    pub fn new(mut source: Source, file: &str) -> Result<Self, PcapError> {
        let not_a_capture = || PcapError::NotACapture { file: file.to_owned() };
        let read = |source| PcapError::Read { file: file.to_owned(), offset: 0, frames: 0, source };
        let header = source.peek(24).map_err(read)?;
        let magic = u32_at(header, 0, false).ok_or_else(not_a_capture)?;
        if magic == SECTION {
            let order = u32_at(header, 8, false).ok_or_else(not_a_capture)?;
            let big_endian = match order {
                BYTE_ORDER => false,
                order if order.swap_bytes() == BYTE_ORDER => true,
                _ => return Err(not_a_capture()),
            };
            return Ok(Self {
                source,
                file: file.to_owned(),
                kind: Kind::Pcapng,
                big_endian,
                frames: 0,
                interfaces: Vec::new(),
                ended: false,
            });
        }
        let (nanoseconds, big_endian) = match magic {
            0xa1b2_c3d4 => (false, false),
            0xa1b2_3c4d => (true, false),
            0xd4c3_b2a1 => (false, true),
            0x4d3c_b2a1 => (true, true),
            _ => return Err(not_a_capture()),
        };
        // The upper bits tell of a frame check sequence.
        let linktype = u32_at(header, 20, big_endian).ok_or_else(not_a_capture)? & 0x0fff_ffff;
        source.advance(24);
        let kind = Kind::Pcap { nanoseconds, linktype };
        Ok(Self { source, file: file.to_owned(), kind, big_endian, frames: 0, interfaces: Vec::new(), ended: false })
    }

    /// Hands the next frame to `take`; `Ok(false)` at the end.
    ///
    /// # Errors
    ///
    /// When the file is damaged or breaks off. Nothing more can be read then.
    pub fn next(&mut self, take: impl FnOnce(Frame)) -> Result<bool, PcapError> {
        if self.ended {
            return Ok(false);
        }
        let read = match self.kind {
            Kind::Pcap { nanoseconds, linktype } => self.next_pcap(nanoseconds, linktype, take),
            Kind::Pcapng => self.next_pcapng(take),
        };
        self.ended = !matches!(read, Ok(true));
        read
    }

    fn damaged(&self, what: &'static str) -> PcapError {
        PcapError::Damaged { file: self.file.clone(), offset: self.source.offset(), frames: self.frames, what }
    }

    fn truncated(&self) -> PcapError {
        PcapError::Truncated { file: self.file.clone(), frame: self.frames + 1 }
    }

    fn peek(&mut self, length: usize) -> Result<&[u8], PcapError> {
        let (offset, frames) = (self.source.offset(), self.frames);
        let file = &self.file;
        self.source.peek(length).map_err(|source| PcapError::Read { file: file.clone(), offset, frames, source })
    }

    fn next_pcap(&mut self, nanoseconds: bool, linktype: u32, take: impl FnOnce(Frame)) -> Result<bool, PcapError> {
        let big_endian = self.big_endian;
        let header = self.peek(16)?;
        if header.is_empty() {
            return Ok(false);
        }
        let field = |offset| u32_at(header, offset, big_endian);
        let (Some(seconds), Some(fraction), Some(captured), Some(_)) = (field(0), field(4), field(8), field(12)) else {
            return Err(self.truncated());
        };
        let captured = captured as usize;
        if captured > LARGEST - 16 {
            return Err(self.damaged("a frame longer than any capture holds"));
        }
        let number = self.frames + 1;
        let whole = self.peek(16 + captured)?;
        let Some(data) = whole.get(16..16 + captured) else {
            return Err(self.truncated());
        };
        let unit = if nanoseconds { 1 } else { 1000 };
        let time_ns = u64::from(seconds).saturating_mul(1_000_000_000).saturating_add(u64::from(fraction).saturating_mul(unit));
        take(Frame { number, time_ns, linktype, data, direction: None, interface: None });
        self.frames = number;
        self.source.advance(16 + captured);
        Ok(true)
    }

    /// Works blocks off until one was a frame.
    fn next_pcapng(&mut self, take: impl FnOnce(Frame)) -> Result<bool, PcapError> {
        loop {
            let mut big_endian = self.big_endian;
            let header = self.peek(12)?;
            if header.is_empty() {
                return Ok(false);
            }
            if u32_at(header, 0, false) == Some(SECTION) {
                big_endian = match u32_at(header, 8, false) {
                    Some(BYTE_ORDER) => false,
                    Some(order) if order.swap_bytes() == BYTE_ORDER => true,
                    Some(_) => return Err(self.damaged("a section without a byte order")),
                    None => return Err(self.truncated()),
                };
            }
            let (Some(kind), Some(length)) = (u32_at(header, 0, big_endian), u32_at(header, 4, big_endian)) else {
                return Err(self.truncated());
            };
            let length = length as usize;
            if length < 12 || !length.is_multiple_of(4) {
                return Err(self.damaged("a block of impossible length"));
            }
            if length > LARGEST {
                return Err(self.damaged("a block longer than any capture holds"));
            }
            self.big_endian = big_endian;
            if self.peek(length)?.len() < length {
                return Err(self.truncated());
            }
            match kind {
                SECTION => self.interfaces.clear(),
                1 => self.interface(length)?,
                2 | 3 | 6 => {
                    let number = self.frames + 1;
                    let interfaces = &self.interfaces;
                    // Peeked above: this cannot read.
                    let block = self.source.peek(length).unwrap_or_default();
                    let Some(frame) = frame_of(block, kind, big_endian, interfaces, number) else {
                        return Err(self.damaged("a packet block that contradicts itself"));
                    };
                    take(frame);
                    self.frames = number;
                    self.source.advance(length);
                    return Ok(true);
                }
                _ => {}
            }
            self.source.advance(length);
        }
    }

    fn interface(&mut self, length: usize) -> Result<(), PcapError> {
        let big_endian = self.big_endian;
        let block = self.source.peek(length).unwrap_or_default();
        let linktype = u16_at(block, 8, big_endian).map(u32::from);
        let mut interface = Interface { linktype: linktype.unwrap_or_default(), resolution: 1_000_000, offset_s: 0 };
        for (code, value) in options(block.get(16..length - 4).unwrap_or_default(), big_endian) {
            match (code, value) {
                (9, [exponent]) => interface.resolution = resolution(*exponent),
                (14, value) => {
                    if let Some(bytes) = value.first_chunk::<8>() {
                        interface.offset_s = if big_endian { i64::from_be_bytes(*bytes) } else { i64::from_le_bytes(*bytes) };
                    }
                }
                _ => {}
            }
        }
        if self.interfaces.len() >= INTERFACES {
            return Err(self.damaged("more interfaces than can be believed"));
        }
        self.interfaces.push(interface);
        Ok(())
    }
}

/// `if_tsresol`: a power of ten, or of two if the highest bit is set.
fn resolution(exponent: u8) -> u64 {
    let power = u32::from(exponent & 0x7f);
    let base: u64 = if exponent & 0x80 == 0 { 10 } else { 2 };
    base.checked_pow(power).unwrap_or(1_000_000_000)
}

/// An enhanced (6), simple (3) or obsolete (2) packet block.
fn frame_of<'a>(block: &'a [u8], kind: u32, big_endian: bool, interfaces: &[Interface], number: u64) -> Option<Frame<'a>> {
    let field = |offset| u32_at(block, offset, big_endian);
    let body = block.len().checked_sub(4)?;
    if kind == 3 {
        let wire_length = field(8)?;
        let captured = (wire_length as usize).min(body.checked_sub(12)?);
        let linktype = interfaces.first()?.linktype;
        return Some(Frame { number, time_ns: 0, linktype, data: block.get(12..12 + captured)?, direction: None, interface: Some(0) });
    }
    let index = if kind == 6 { field(8)? } else { u32::from(u16_at(block, 8, big_endian)?) };
    let interface = interfaces.get(usize::try_from(index).ok()?)?;
    let ticks = (u64::from(field(12)?) << 32) | u64::from(field(16)?);
    let captured = usize::try_from(field(20)?).ok()?;
    let end = captured.checked_add(28)?;
    if end > body {
        return None;
    }
    let options_at = end.checked_next_multiple_of(4)?;
    let direction = options(block.get(options_at..body).unwrap_or_default(), big_endian)
        .find(|(code, value)| *code == 2 && value.len() == 4)
        .and_then(|(_, value)| u32_at(value, 0, big_endian))
        .and_then(|flags| match flags & 3 {
            1 => Some(FrameDirection::Arriving),
            2 => Some(FrameDirection::Leaving),
            _ => None,
        });
    Some(Frame {
        number,
        time_ns: nanoseconds(ticks, interface),
        linktype: interface.linktype,
        data: block.get(28..end)?,
        direction,
        interface: Some(index),
    })
}

fn nanoseconds(ticks: u64, interface: &Interface) -> u64 {
    let resolution = interface.resolution.max(1);
    let (seconds, rest) = (ticks / resolution, ticks % resolution);
    let fraction = u128::from(rest) * 1_000_000_000 / u128::from(resolution);
    seconds.saturating_add_signed(interface.offset_s).saturating_mul(1_000_000_000).saturating_add(u64::try_from(fraction).unwrap_or(0))
}

/// (code, value) of each option.
fn options(mut bytes: &[u8], big_endian: bool) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let (code, length) = (u16_at(bytes, 0, big_endian)?, usize::from(u16_at(bytes, 2, big_endian)?));
        if code == 0 {
            return None;
        }
        let value = bytes.get(4..4 + length)?;
        bytes = bytes.get((4 + length).next_multiple_of(4)..).unwrap_or_default();
        Some((code, value))
    })
}

fn u16_at(bytes: &[u8], offset: usize, big_endian: bool) -> Option<u16> {
    let raw = *bytes.get(offset..)?.first_chunk()?;
    Some(if big_endian { u16::from_be_bytes(raw) } else { u16::from_le_bytes(raw) })
}

fn u32_at(bytes: &[u8], offset: usize, big_endian: bool) -> Option<u32> {
    let raw = *bytes.get(offset..)?.first_chunk()?;
    Some(if big_endian { u32::from_be_bytes(raw) } else { u32::from_le_bytes(raw) })
}
