//! The prototypes of tracepoints, and the kernel's types as aya wants them.
//!
//! To load a program for a BTF tracepoint aya looks up one number, that of the typedef of the
//! tracepoint's prototype, in an [`aya::Btf`]. To make one of all types of a kernel takes longer
//! than to verify most programs, and more memory than the agent needs ever after. So it gets one in
//! which those typedefs have the numbers that they have in the kernel, and what lies between says
//! nothing.

use aya::{Btf as AyaBtf, BtfError, Endianness};

use super::{
    Btf,
    raw::{HEADER, MAGIC, Record, kind},
};

/// A declaration of nothing: the name, the kind, and a type that a declaration has not.
const NOTHING: [u32; 3] = [0, (kind::FWD as u32) << 24, 0];

impl Btf {
    /// BTF that has the prototypes of those tracepoints that this kernel has, under their own
    /// numbers.
    ///
    /// # Errors
    ///
    /// When aya does not take it.
    pub fn prototypes(&self, tracepoints: impl IntoIterator<Item = &'static str>) -> Result<AyaBtf, BtfError> {
        AyaBtf::parse(&self.only_prototypes(tracepoints), Endianness::default())
    }

    fn only_prototypes(&self, tracepoints: impl IntoIterator<Item = &'static str>) -> Vec<u8> {
        let mut found: Vec<(u32, &str)> =
            tracepoints.into_iter().filter_map(|tracepoint| Some((self.prototypes_of(tracepoint).first()?.0, tracepoint))).collect();
        found.sort_unstable();
        let mut types: Vec<[u32; 3]> = Vec::new();
        // The empty name comes first.
        let mut strings = vec![0];
        for (number, tracepoint) in found {
            // Number 0 is `void`, which has no record.
            types.resize(number.saturating_sub(1) as usize, NOTHING);
            types.push([length(&strings), u32::from(kind::TYPEDEF) << 24, 0]);
            strings.extend(typedef_of(tracepoint).into_bytes());
            strings.push(0);
        }
        let types: Vec<u8> = types.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect();
        let [low, high] = MAGIC.to_ne_bytes();
        let words = [HEADER, 0, length(&types), length(&types), length(&strings)];
        // Version 1, no flags.
        [low, high, 1, 0].into_iter().chain(words.into_iter().flat_map(u32::to_ne_bytes)).chain(types).chain(strings).collect()
    }

    /// The typedefs that bear the name of a tracepoint's prototype, with their numbers, lowest
    /// first: one, where the kernel has that tracepoint.
    pub(super) fn prototypes_of(&self, tracepoint: &str) -> Vec<(u32, Record)> {
        self.raw.named(typedef_of(tracepoint).as_bytes(), &[kind::TYPEDEF]).collect()
    }
}

fn typedef_of(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// Bytes, of which no BTF has more than it can count.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::path::Path;

    use super::Btf;
    use crate::kernel::hooks;

    #[test]
    fn every_prototype_keeps_its_number() {
        for kernel in ["debian-6.1", "debian-6.12", "linux-6.18"] {
            let all = Btf::from_file(&Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("testdata/btf/{kernel}.btf"))).unwrap();
            let tracepoints = hooks::ALL.map(|hook| hook.tracepoint);
            let few = Btf::from_bytes(all.only_prototypes(tracepoints)).unwrap();
            for tracepoint in tracepoints {
                let number = |btf: &Btf| btf.prototypes_of(tracepoint).first().map(|(number, _)| *number);
                assert_eq!(number(&few), number(&all), "{kernel} {tracepoint}");
            }
            assert!(!few.prototypes_of(hooks::SEND_RESET.tracepoint).is_empty(), "{kernel}");
            assert!(all.prototypes(tracepoints).is_ok(), "{kernel}");
        }
    }
}
