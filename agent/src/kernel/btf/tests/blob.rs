//! Puts BTF blobs together by hand.

use std::collections::BTreeMap;

use crate::kernel::btf::raw::{HEADER, MAGIC, kind};

/// One member: name, type, bits from the start of the struct, bits of a bit-field or 0.
pub type Member<'a> = (&'a str, u32, u32, u8);

/// A BTF blob in the making. Every method that adds a type gives its number.
#[derive(Default)]
pub struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    known: BTreeMap<String, u32>,
    count: u32,
}

impl Blob {
    pub fn int(&mut self, name: &str, size: u32) -> u32 {
        self.record(name, kind::INT, false, 0, size, &[size * 8])
    }

    /// A type that only refers to another: pointer, typedef, qualifier.
    pub fn refer(&mut self, name: &str, kind: u8, to: u32) -> u32 {
        self.record(name, kind, false, 0, to, &[])
    }

    pub fn array(&mut self, element: u32, length: u32) -> u32 {
        self.record("", kind::ARRAY, false, 0, 0, &[element, element, length])
    }

    /// A struct or union; it carries bit-field sizes if a member is one.
    pub fn composite(&mut self, kind: u8, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        let bit_fields = members.iter().any(|member| member.3 != 0);
        let mut words = Vec::new();
        for &(name, ty, bit_offset, bits) in members {
            words.extend([self.string(name), ty, u32::from(bits) << 24 | bit_offset]);
        }
        self.record(name, kind, bit_fields, members.len(), size, &words)
    }

    pub fn structure(&mut self, name: &str, size: u32, members: &[Member<'_>]) -> u32 {
        self.composite(kind::STRUCT, name, size, members)
    }

    pub fn enumeration(&mut self, name: &str, signed: bool, values: &[(&str, i32)]) -> u32 {
        let mut words = Vec::new();
        for &(name, value) in values {
            words.extend([self.string(name), value.cast_unsigned()]);
        }
        self.record(name, kind::ENUM, signed, values.len(), 4, &words)
    }

    pub fn enumeration64(&mut self, name: &str, values: &[(&str, i64)]) -> u32 {
        let mut words = Vec::new();
        for &(name, value) in values {
            let low = u32::try_from(value & 0xffff_ffff).unwrap();
            let high = u32::try_from(value >> 32 & 0xffff_ffff).unwrap();
            words.extend([self.string(name), low, high]);
        }
        self.record(name, kind::ENUM64, true, values.len(), 8, &words)
    }

    pub fn function(&mut self, params: &[u32]) -> u32 {
        let words: Vec<u32> = params.iter().flat_map(|&param| [0, param]).collect();
        self.record("", kind::FUNC_PROTO, false, params.len(), 0, &words)
    }

    /// What the kernel declares for a tracepoint whose `TP_PROTO` has these types.
    pub fn tracepoint(&mut self, name: &str, params: &[u32]) -> u32 {
        let context = self.refer("", kind::PTR, 0);
        let function = self.function(&[&[context], params].concat());
        let pointer = self.refer("", kind::PTR, function);
        self.refer(&format!("btf_trace_{name}"), kind::TYPEDEF, pointer)
    }

    /// Any record: the words of `body` follow it.
    pub fn record(&mut self, name: &str, kind: u8, flag: bool, vlen: usize, size_or_type: u32, body: &[u32]) -> u32 {
        let info = u32::from(flag) << 31 | u32::from(kind) << 24 | u32::try_from(vlen).unwrap();
        let name = self.string(name);
        for word in [name, info, size_or_type].iter().chain(body) {
            self.types.extend(word.to_ne_bytes());
        }
        self.count += 1;
        self.count
    }

    /// The number the next type will have.
    pub fn next(&self) -> u32 {
        self.count + 1
    }

    pub fn build(mut self) -> Vec<u8> {
        self.string("");
        let types = u32::try_from(self.types.len()).unwrap();
        let strings = u32::try_from(self.strings.len()).unwrap();
        let mut bytes = MAGIC.to_ne_bytes().to_vec();
        bytes.extend([1, 0]);
        for word in [HEADER, 0, types, types, strings] {
            bytes.extend(word.to_ne_bytes());
        }
        [bytes, self.types, self.strings].concat()
    }

    fn string(&mut self, text: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
            self.known.insert(String::new(), 0);
        }
        if let Some(&offset) = self.known.get(text) {
            return offset;
        }
        let offset = u32::try_from(self.strings.len()).unwrap();
        self.strings.extend(text.as_bytes());
        self.strings.push(0);
        self.known.insert(text.to_owned(), offset);
        offset
    }
}
