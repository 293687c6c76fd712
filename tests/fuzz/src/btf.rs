//! BTF: what stands behind the sections that the header names changes no answer.

use rstblame::kernel::{btf::Btf, hooks, layout, reasons::Reasons};

pub fn holds(data: &[u8]) {
    let followed = [data, b"\x9f\xeb\x01\x00 and more"].concat();
    match (Btf::from_bytes(data), Btf::from_bytes(followed)) {
        (Ok(one), Ok(other)) => {
            assert_eq!(answers(&one), answers(&other));
            offsets_lie_inside(&one);
        }
        // Sections that go beyond the end may end within what was added.
        (Err(_), _) => {}
        (Ok(_), Err(error)) => panic!("what follows the sections made it damaged: {error}"),
    }
}

/// All that the agent asks of a kernel.
fn answers(btf: &Btf) -> String {
    let resolved = layout::resolve(btf);
    let parameters: Vec<_> =
        hooks::ALL.iter().map(|hook| btf.tracepoint_params(hook.tracepoint).map_err(|error| error.to_string())).collect();
    let reasons: Vec<_> = (0..32).map(|code| Reasons::from_btf(btf).name(code).map(str::to_owned)).collect();
    format!("{resolved:?} {parameters:?} {reasons:?} {:?}", btf.struct_size("sock").ok())
}

/// A path of one component is found at its own offset in a path of two.
fn offsets_lie_inside(btf: &Btf) {
    if let (Ok(outer), Ok(inner)) = (btf.member_offset("net", "ns"), btf.member_offset("net", "ns.inum")) {
        assert!(inner.offset >= outer.offset, "a member lies before the struct that holds it");
    }
}
