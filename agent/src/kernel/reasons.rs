//! Names of `enum sk_rst_reason`, from the running kernel: the numbers differ between kernels.

use std::collections::HashMap;

use super::{btf::Btf, tracefs::Format};

/// Number to name, without the kernel's `SK_RST_REASON_` prefix.
#[derive(Clone, Debug, Default)]
pub struct Reasons(HashMap<u32, String>);

impl Reasons {
    /// From BTF; empty on a kernel without the enumeration (before Linux 6.10).
    pub fn from_btf(btf: &Btf) -> Self {
        let values = btf.enum_values("sk_rst_reason").unwrap_or_default();
        Self::collect(values.into_iter().map(|(name, number)| (number, name)))
    }

    /// From the symbols in the tracepoint's print format.
    pub fn from_format(format: &Format) -> Self {
        Self::collect(format.symbols("reason"))
    }

    fn collect<'a>(values: impl IntoIterator<Item = (i64, &'a str)>) -> Self {
        let name = |name: &str| name.strip_prefix("SK_RST_REASON_").unwrap_or(name).to_owned();
        Self(values.into_iter().filter_map(|(number, text)| Some((u32::try_from(number).ok()?, name(text)))).collect())
    }

    /// The name of one reason, if this kernel has it.
    pub fn name(&self, code: u32) -> Option<&str> {
        self.0.get(&code).map(String::as_str)
    }

    /// Whether this kernel has a reason of that name.
    pub fn names(&self, name: &str) -> bool {
        self.0.values().any(|known| known == name)
    }

    /// Whether no name is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use super::{Btf, Format, Reasons};

    #[test]
    fn btf_and_tracefs_agree_on_the_same_kernel() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        let btf = Reasons::from_btf(&Btf::from_file(&testdata.join("btf/linux-6.18.btf")).unwrap());
        let text = std::fs::read_to_string(testdata.join("tracefs/linux-6.18-tcp_send_reset.format")).unwrap();
        let format = Reasons::from_format(&Format::parse(&text).unwrap());
        assert_eq!(btf.name(11), Some("TCP_ABORT_ON_CLOSE"));
        for code in 0..=24 {
            assert_eq!(btf.name(code), format.name(code), "reason {code}");
        }
    }

    #[test]
    fn a_kernel_without_the_enumeration_names_nothing() {
        let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
        assert!(Reasons::from_btf(&Btf::from_file(&testdata.join("btf/debian-6.1.btf")).unwrap()).is_empty());
    }
}
