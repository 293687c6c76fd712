//! The header facts of one segment.

use std::net::IpAddr;

use crate::model::Flags;

/// Kinds of the first few TCP options, in order (IANA, TCP Option Kind Numbers); padding left out,
/// unused places zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OptionKinds([u8; 8]);

impl OptionKinds {
    /// Adds the next option; beyond the eighth they are left out.
    pub fn push(&mut self, kind: u8) {
        if let Some(place) = self.0.iter_mut().find(|place| **place == 0) {
            *place = kind;
        }
    }

    pub const fn is_empty(self) -> bool {
        self.0[0] == 0
    }

    /// Whether one of them authenticates the segment: MD5 (RFC 2385) or TCP-AO (RFC 5925).
    pub fn authenticated(self) -> bool {
        self.0.iter().any(|kind| matches!(kind, 19 | 29))
    }

    /// Names in order.
    pub fn names(self) -> Vec<String> {
        self.0
            .iter()
            .take_while(|kind| **kind != 0)
            .map(|kind| match kind {
                2 => "mss".to_owned(),
                3 => "wscale".to_owned(),
                4 => "sackOK".to_owned(),
                5 => "sack".to_owned(),
                8 => "timestamps".to_owned(),
                19 => "md5".to_owned(),
                29 => "ao".to_owned(),
                30 => "mptcp".to_owned(),
                34 => "fastopen".to_owned(),
                other => format!("option-{other}"),
            })
            .collect()
    }
}

/// The timestamps option (RFC 7323, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamps {
    /// TSval.
    pub value: u32,
    /// TSecr.
    pub echo: u32,
}

/// The kinds of the TCP options, and the timestamps among them, as they stand on the wire (RFC
/// 9293, section 3.2; RFC 7323, section 3.2). An option of impossible length ends them, as it does
/// for Linux (`tcp_parse_options()`).
pub fn options(mut bytes: &[u8]) -> (OptionKinds, Option<Timestamps>) {
    let mut kinds = OptionKinds::default();
    let mut timestamps = None;
    while let Some((kind, rest)) = bytes.split_first() {
        match kind {
            0 => break,
            1 => bytes = rest,
            kind => {
                let Some(length) = rest.first().map(|length| usize::from(*length)).filter(|length| *length >= 2) else {
                    break;
                };
                kinds.push(*kind);
                if *kind == 8
                    && length == 10
                    && let Some([_, v0, v1, v2, v3, e0, e1, e2, e3]) = rest.first_chunk::<9>()
                {
                    timestamps = Some(Timestamps {
                        value: u32::from_be_bytes([*v0, *v1, *v2, *v3]),
                        echo: u32::from_be_bytes([*e0, *e1, *e2, *e3]),
                    });
                }
                bytes = bytes.get(length..).unwrap_or_default();
            }
        }
    }
    (kinds, timestamps)
}

/// Header facts of one segment, in host byte order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Segment {
    /// Any clock that does not jump; the same one for all segments of a connection.
    pub time_ns: u64,
    /// TTL or hop limit as it arrived.
    pub ttl: u8,
    /// TOS or traffic class, all eight bits.
    pub tos: u8,
    /// Identification; `None` on IPv6.
    pub ip_id: Option<u16>,
    /// `None` on IPv6.
    pub dont_fragment: Option<bool>,
    /// `None` on IPv4.
    pub flow_label: Option<u32>,
    pub seq: u32,
    /// The field's content, whether or not the ACK flag is set.
    pub ack: u32,
    pub flags: Flags,
    /// Unscaled.
    pub window: u16,
    pub options: OptionKinds,
    pub timestamps: Option<Timestamps>,
    /// Bytes, by the IP length: Ethernet padding does not count.
    pub payload: u32,
    /// Source address of the frame, where the link has one.
    pub source_mac: Option<[u8; 6]>,
    /// Index of the interface it arrived on; `None` where that is not known.
    pub interface: Option<u32>,
    /// VLAN identifier (IEEE 802.1Q).
    pub vlan: Option<u16>,
    /// Source of the outermost tunnel header, where there was one.
    pub outer_source: Option<IpAddr>,
}

impl Segment {
    /// The sequence number that follows this segment: SYN and FIN count one each.
    pub const fn end_seq(&self) -> u32 {
        self.seq.wrapping_add(self.payload).wrapping_add(self.flags.syn() as u32).wrapping_add(self.flags.fin() as u32)
    }
}

/// Text that a device of a known vendor puts into the payload of its RSTs. Only text with a
/// vendor's mark is kept: any other payload may be user data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VendorText {
    pub vendor: &'static str,
    /// At most [`VendorText::MAX`] printable ASCII characters.
    pub text: String,
}

impl VendorText {
    /// Longest text kept.
    pub const MAX: usize = 80;

    /// (how it starts, whose it is). F5: K13223, "Configuring the BIG-IP system to log TCP RST
    /// packets".
    const MARKS: [(&'static [u8], &'static str); 1] = [(b"BIG-IP:", "F5 BIG-IP")];

    /// Recognises the text in the payload of a RST.
    pub fn recognise(payload: &[u8]) -> Option<Self> {
        let (_, vendor) = Self::MARKS.iter().find(|(mark, _)| payload.starts_with(mark))?;
        let text = payload.iter().take(Self::MAX).take_while(|byte| (0x20..0x7f).contains(*byte)).map(|byte| char::from(*byte)).collect();
        Some(Self { vendor, text })
    }
}

#[cfg(test)]
mod tests {
    use super::{OptionKinds, Segment, VendorText, options};
    use crate::model::{Flags, seq_after, seq_at_or_after};

    #[test]
    fn sequence_numbers_wrap() {
        assert!(seq_after(1, u32::MAX));
        assert!(!seq_after(u32::MAX, 1));
        assert!(!seq_after(7, 7));
        assert!(seq_at_or_after(7, 7));
        assert!(seq_after(1 << 31, 1));
        assert!(!seq_after(1, 1 << 31));
    }

    #[test]
    fn syn_and_fin_take_a_number() {
        let segment = Segment { seq: u32::MAX, payload: 3, flags: Flags(Flags::FIN | Flags::ACK), ..Segment::default() };
        assert_eq!(segment.end_seq(), 3);
    }

    #[test]
    fn only_text_with_a_vendors_mark_is_kept() {
        assert!(VendorText::recognise(b"user=guest password=guest").is_none());
        assert!(VendorText::recognise(b"").is_none());
        let text = VendorText::recognise(b"BIG-IP: [0x2409a71:704] Flow expired (sweeper)\0rest").map(|text| text.text);
        assert_eq!(text.as_deref(), Some("BIG-IP: [0x2409a71:704] Flow expired (sweeper)"));
    }

    #[test]
    fn options_end_where_one_makes_no_sense() {
        let read = |bytes: &[u8]| {
            let (kinds, timestamps) = options(bytes);
            (kinds.names(), timestamps.map(|stamps| (stamps.value, stamps.echo)))
        };
        assert_eq!(read(&[1, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9]), (vec!["timestamps".to_owned()], Some((7, 9))));
        // A length of one: what follows is nothing.
        assert_eq!(read(&[2, 1, 8, 10, 0, 0, 0, 7, 0, 0, 0, 9]), (vec![], None));
        assert_eq!(read(&[2, 4, 5, 180, 0, 8, 10]), (vec!["mss".to_owned()], None));
    }

    #[test]
    fn letters_and_names() {
        assert_eq!(Flags(Flags::RST | Flags::ACK).letters(), "R.");
        let mut kinds = OptionKinds::default();
        assert!(kinds.is_empty());
        for kind in [2, 8, 99, 1, 1, 1, 1, 1, 1, 1] {
            kinds.push(kind);
        }
        assert_eq!(kinds.names().first().map(String::as_str), Some("mss"));
        assert_eq!(kinds.names().len(), 8);
    }
}
