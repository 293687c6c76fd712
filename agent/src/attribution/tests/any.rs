//! Any reset at all: no combination of facts, however absurd, may break the rules' promises.

use std::path::Path;

use proptest::{option, prelude::*, sample::select};

use super::*;
use crate::{
    kernel::{btf::Btf, reasons::Reasons},
    model::Direction,
};

fn any_reason() -> impl Strategy<Value = Option<Reason>> {
    let names = [
        "NOT_SPECIFIED",
        "NO_SOCKET",
        "INVALID_SYN",
        "TCP_TIMEWAIT_SOCKET",
        "TCP_ABORT_ON_CLOSE",
        "TCP_ABORT_ON_LINGER",
        "TCP_ABORT_ON_MEMORY",
        "TCP_ABORT_ON_DATA",
        "TCP_STATE",
        "TCP_KEEPALIVE_TIMEOUT",
        "TCP_DISCONNECT_WITH_DATA",
        "MPTCP_RST_EBADPERF",
        "SOMETHING_NEW",
    ];
    option::of((any::<u32>(), option::of(select(names.to_vec()))))
        .prop_map(|reason| reason.map(|(code, name)| Reason { code, name: name.map(ToOwned::to_owned) }))
}

fn any_socket() -> impl Strategy<Value = Option<SocketFacts>> {
    option::of(any::<[bool; 5]>()).prop_map(|bits| {
        bits.map(|[linger_zero, keepalive, fin_received, orphan, owned]| SocketFacts {
            linger_zero,
            keepalive,
            fin_received,
            orphan,
            owned,
            ..SocketFacts::default()
        })
    })
}

fn any_tcp() -> impl Strategy<Value = Option<TcpFacts>> {
    let times = || option::of(any::<u64>().prop_map(Duration::from_nanos));
    option::of((any::<u32>(), times(), times())).prop_map(|facts| {
        facts.map(|(unread_bytes, since_received, since_heard)| TcpFacts {
            unread_bytes,
            since_received,
            since_heard,
            ..TcpFacts::default()
        })
    })
}

fn any_reset() -> impl Strategy<Value = Reset> {
    let kinds = vec![SocketKind::None, SocketKind::Listener, SocketKind::TimeWait, SocketKind::Connection, SocketKind::Unseen];
    let trigger = option::of(any::<(u32, u32, u8)>())
        .prop_map(|found| found.map(|(seq, ack, flags)| Trigger { seq, ack, flags: Flags(flags.into()) }));
    let state = any::<u8>().prop_map(|number| TcpState::from_kernel(number % 16));
    let bits = any::<[bool; 5]>();
    (bits, select(kinds), state, any_reason(), trigger, any_socket(), any_tcp()).prop_map(
        |([sent, active, closed_first, broker, actor], socket_kind, state, reason, trigger, socket, tcp)| Reset {
            direction: if sent { Direction::Sent } else { Direction::Received },
            role: if broker { Role::Broker } else { Role::Client },
            active,
            closed_first,
            socket_kind,
            state,
            reason,
            trigger,
            socket,
            tcp,
            actor: actor.then(beam),
            ..testing::reset()
        },
    )
}

#[test]
fn every_reason_of_a_kernel_gives_a_sound_verdict() {
    let btf = Btf::from_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/btf/linux-6.18.btf")).unwrap();
    let reasons = Reasons::from_btf(&btf);
    let known: Vec<u32> = (0..=u32::from(u8::MAX)).filter(|code| reasons.name(*code).is_some()).collect();
    assert!(known.len() > 20, "{known:?}");
    for code in known {
        let reason = Some(Reason { code, name: reasons.name(code).map(ToOwned::to_owned) });
        for (active, closed_first) in [(true, true), (true, false), (false, true), (false, false)] {
            let bare = Reset { active, closed_first, reason: reason.clone(), ..testing::reset() };
            let full = Reset { socket: Some(owned()), tcp: Some(TcpFacts::default()), ..bare.clone() };
            for reset in [bare, full] {
                assert_sound(&format!("{reason:?}"), &attribute(&reset));
            }
        }
    }
}

proptest! {
    #[test]
    fn every_verdict_is_sound(reset in any_reset()) {
        assert_sound("any reset", &attribute(&reset));
    }

    #[test]
    fn a_sent_rst_is_never_blamed_on_the_other_side(reset in any_reset()) {
        let verdict = attribute(&Reset { direction: Direction::Sent, ..reset });
        let elsewhere = [OriginKind::RemotePeer, OriginKind::Middlebox];
        prop_assert!(!verdict.origin.possible.iter().any(|kind| elsewhere.contains(kind)), "{:?}", verdict.origin);
    }

    #[test]
    fn a_received_rst_is_never_blamed_on_this_side(reset in any_reset()) {
        let verdict = attribute(&Reset { direction: Direction::Received, ..reset });
        let here = [OriginKind::LocalProcess, OriginKind::LocalHost];
        prop_assert!(!verdict.origin.possible.iter().any(|kind| here.contains(kind)), "{:?}", verdict.origin);
    }
}
