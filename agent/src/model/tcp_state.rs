//! TCP states as the kernel numbers them.

use rstblame_abi::tcp::state;

/// States of RFC 9293, section 3.3.2, and the kernel's own `NEW_SYN_RECV`, a SYN_RECEIVED that has
/// no socket yet (<https://github.com/torvalds/linux/blob/v6.12/include/net/tcp_states.h>).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    Established,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
    BoundInactive,
}

impl TcpState {
    /// Decodes the kernel's number; `None` for one this code does not know.
    pub const fn from_kernel(number: u8) -> Option<Self> {
        Some(match number {
            state::ESTABLISHED => Self::Established,
            state::SYN_SENT => Self::SynSent,
            state::SYN_RECV => Self::SynRecv,
            state::FIN_WAIT1 => Self::FinWait1,
            state::FIN_WAIT2 => Self::FinWait2,
            state::TIME_WAIT => Self::TimeWait,
            state::CLOSE => Self::Close,
            state::CLOSE_WAIT => Self::CloseWait,
            state::LAST_ACK => Self::LastAck,
            state::LISTEN => Self::Listen,
            state::CLOSING => Self::Closing,
            state::NEW_SYN_RECV => Self::NewSynRecv,
            state::BOUND_INACTIVE => Self::BoundInactive,
            _ => return None,
        })
    }

    /// The name without the kernel's `TCP_` prefix.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::FinWait1 => "FIN_WAIT1",
            Self::FinWait2 => "FIN_WAIT2",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::NewSynRecv => "NEW_SYN_RECV",
            Self::BoundInactive => "BOUND_INACTIVE",
        }
    }

    /// Whether this host's FIN is out.
    pub const fn fin_sent(self) -> bool {
        matches!(self, Self::FinWait1 | Self::FinWait2 | Self::Closing | Self::LastAck | Self::TimeWait)
    }

    /// Whether the handshake is not finished.
    pub const fn in_handshake(self) -> bool {
        matches!(self, Self::SynSent | Self::SynRecv | Self::NewSynRecv)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::TcpState;

    #[test]
    fn numbers_are_those_of_the_kernel_header() {
        let names: Vec<_> = (0..=14).map(|number| TcpState::from_kernel(number).map(TcpState::name)).collect();
        assert_eq!(
            names,
            [
                None,
                Some("ESTABLISHED"),
                Some("SYN_SENT"),
                Some("SYN_RECV"),
                Some("FIN_WAIT1"),
                Some("FIN_WAIT2"),
                Some("TIME_WAIT"),
                Some("CLOSE"),
                Some("CLOSE_WAIT"),
                Some("LAST_ACK"),
                Some("LISTEN"),
                Some("CLOSING"),
                Some("NEW_SYN_RECV"),
                Some("BOUND_INACTIVE"),
                None,
            ]
        );
    }
}
