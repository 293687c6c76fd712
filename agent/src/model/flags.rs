//! Flags of TCP.

use rstblame_abi::tcp::flag;

/// The twelve bits beside the data offset: eight flags, AE (RFC 9768; formerly NS) and three
/// reserved ones (RFC 9293, section 3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u16);

impl Flags {
    pub const FIN: u16 = flag::FIN;
    pub const SYN: u16 = flag::SYN;
    pub const RST: u16 = flag::RST;
    pub const PSH: u16 = flag::PSH;
    pub const ACK: u16 = flag::ACK;
    pub const URG: u16 = 1 << 5;
    pub const ECE: u16 = 1 << 6;
    pub const CWR: u16 = 1 << 7;
    pub const AE: u16 = 1 << 8;
    /// Bits without a meaning, which senders leave at zero.
    pub const RESERVED: u16 = 0b1110 << 8;

    /// Whether all of `bits` are set.
    pub const fn has(self, bits: u16) -> bool {
        self.0 & bits == bits
    }

    pub const fn fin(self) -> bool {
        self.has(Self::FIN)
    }

    pub const fn syn(self) -> bool {
        self.has(Self::SYN)
    }

    pub const fn rst(self) -> bool {
        self.has(Self::RST)
    }

    pub const fn ack(self) -> bool {
        self.has(Self::ACK)
    }

    /// A SYN that asks for a connection, as opposed to one that answers.
    pub const fn opens(self) -> bool {
        self.syn() && !self.ack()
    }

    /// tcpdump's letters.
    pub fn letters(self) -> String {
        [
            (Self::SYN, 'S'),
            (Self::FIN, 'F'),
            (Self::RST, 'R'),
            (Self::PSH, 'P'),
            (Self::URG, 'U'),
            (Self::CWR, 'W'),
            (Self::ECE, 'E'),
            (Self::AE, 'e'),
            (Self::ACK, '.'),
        ]
        .into_iter()
        .filter(|(bit, _)| self.has(*bit))
        .map(|(_, letter)| letter)
        .collect()
    }
}
