//! The bytes of a BTF blob: header, type records and strings, and where each record and each name
//! begins.
//!
//! Every access is checked against the end of its section; a record's meaning is left to the parent
//! module.

use std::ops::Range;

use super::{BtfError, bytes::Bytes};

/// Kinds of type records, `BTF_KIND_*` of
/// [`include/uapi/linux/btf.h`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/btf.h).
pub(super) mod kind {
    pub const INT: u8 = 1;
    pub const PTR: u8 = 2;
    pub const ARRAY: u8 = 3;
    pub const STRUCT: u8 = 4;
    pub const UNION: u8 = 5;
    pub const ENUM: u8 = 6;
    pub const FWD: u8 = 7;
    pub const TYPEDEF: u8 = 8;
    pub const VOLATILE: u8 = 9;
    pub const CONST: u8 = 10;
    pub const RESTRICT: u8 = 11;
    pub const FUNC: u8 = 12;
    pub const FUNC_PROTO: u8 = 13;
    pub const VAR: u8 = 14;
    pub const DATASEC: u8 = 15;
    pub const FLOAT: u8 = 16;
    pub const DECL_TAG: u8 = 17;
    pub const TYPE_TAG: u8 = 18;
    pub const ENUM64: u8 = 19;
}

/// `BTF_MAGIC`.
pub(super) const MAGIC: u16 = 0xeb9f;

/// Bytes of `struct btf_header` that every version 1 blob has.
pub(super) const HEADER: u32 = 24;

/// Bytes of `struct btf_type`, which begins every record.
const RECORD_LENGTH: usize = 12;

const SHORT: BtfError = BtfError::Malformed("a section or a record goes beyond the end");

/// One type record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Record {
    /// Offset of the name in the string section; 0 for none.
    pub name_offset: u32,
    /// One of [`kind`].
    pub kind: u8,
    /// Struct or union: members carry bit-field sizes. Enum: values are signed.
    pub kind_flag: bool,
    /// How many members, enumerators or parameters follow.
    pub vlen: u16,
    /// Size in bytes or number of a type, as the kind has it.
    pub size_or_type: u32,
    /// Where what follows the record begins.
    body: usize,
}

impl Record {
    /// Whether this is a struct or a union.
    pub fn is_composite(&self) -> bool {
        matches!(self.kind, kind::STRUCT | kind::UNION)
    }

    /// Whether this only gives another type a name, a qualifier or a tag.
    pub fn is_modifier(&self) -> bool {
        matches!(self.kind, kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG)
    }

    /// Bytes that follow the record itself; `None` for an unknown kind.
    fn body_length(&self) -> Option<usize> {
        let vlen = usize::from(self.vlen);
        Some(match self.kind {
            kind::PTR
            | kind::FWD
            | kind::TYPEDEF
            | kind::VOLATILE
            | kind::CONST
            | kind::RESTRICT
            | kind::FUNC
            | kind::FLOAT
            | kind::TYPE_TAG => 0,
            kind::INT | kind::VAR | kind::DECL_TAG => 4,
            kind::ARRAY => 12,
            kind::ENUM | kind::FUNC_PROTO => vlen * 8,
            kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => vlen * 12,
            _ => return None,
        })
    }

    /// Whether it can be looked up by name. An enum without values is only declared, and says
    /// nothing.
    fn is_indexed(&self) -> bool {
        self.name_offset != 0
            && match self.kind {
                kind::STRUCT | kind::UNION | kind::TYPEDEF => true,
                kind::ENUM | kind::ENUM64 => self.vlen != 0,
                _ => false,
            }
    }
}

/// One member of a struct or union.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub name_offset: u32,
    pub type_id: u32,
    /// Bits from the start of the struct.
    pub bit_offset: u32,
    /// Bits; 0 for a member that is no bit-field.
    pub bit_field_size: u8,
}

/// What an array record says.
#[derive(Debug, Clone, Copy)]
pub(super) struct Array {
    /// Record of the elements.
    pub element: u32,
    /// Number of elements.
    pub length: u32,
}

#[derive(Debug)]
pub(super) struct Raw {
    bytes: Bytes,
    strings: Range<usize>,
    /// Where the record of type `index + 1` begins.
    types: Vec<u32>,
    /// Hash of the name and number of each type that can be looked up, sorted. Names stay where
    /// they are: tens of thousands of small strings would cost more than all lookups together.
    names: Vec<(u32, u32)>,
}

impl Raw {
    pub fn parse(bytes: Bytes) -> Result<Self, BtfError> {
        let magic = bytes.first_chunk::<2>().copied().map(u16::from_ne_bytes);
        match magic {
            Some(MAGIC) => {}
            Some(other) if other.swap_bytes() == MAGIC => return Err(BtfError::ForeignByteOrder),
            _ => return Err(BtfError::NotBtf),
        }
        let version = *bytes.get(2).ok_or(SHORT)?;
        if version != 1 {
            return Err(BtfError::Version(version));
        }
        let mut raw = Self { bytes, strings: 0..0, types: Vec::new(), names: Vec::new() };
        // A later kernel may append to the header, so the sections begin where it says it ends.
        let header = raw.word(4)?;
        if header < HEADER {
            return Err(BtfError::Malformed("the header is too short"));
        }
        let types = raw.section(header, 8)?;
        raw.strings = raw.section(header, 16)?;
        if raw.bytes.get(raw.strings.clone()).and_then(<[u8]>::last) != Some(&0) {
            return Err(BtfError::Malformed("the strings do not end in a NUL"));
        }
        raw.index(types)?;
        Ok(raw)
    }

    /// The section whose offset and length stand at `at` of the header.
    fn section(&self, header: u32, at: usize) -> Result<Range<usize>, BtfError> {
        let start = (header as usize).checked_add(self.word(at)? as usize).ok_or(SHORT)?;
        let end = start.checked_add(self.word(at + 4)? as usize).ok_or(SHORT)?;
        if end > self.bytes.len() {
            return Err(SHORT);
        }
        Ok(start..end)
    }

    /// Finds where each record begins.
    fn index(&mut self, section: Range<usize>) -> Result<(), BtfError> {
        // A kernel's records take some 25 bytes each on average, so this holds them all.
        let mut types = Vec::with_capacity(section.len() / (2 * RECORD_LENGTH));
        let mut names = Vec::new();
        let mut at = section.start;
        while at < section.end {
            let id = u32::try_from(types.len() + 1).map_err(|_| SHORT)?;
            let ty = self.record(at)?;
            let Some(length) = ty.body_length() else {
                return Err(BtfError::UnknownKind { id, kind: ty.kind });
            };
            types.push(u32::try_from(at).map_err(|_| SHORT)?);
            if ty.is_indexed() {
                names.push((hash(self.name(ty.name_offset)?), id));
            }
            at = ty.body.checked_add(length).ok_or(SHORT)?;
        }
        if at != section.end {
            return Err(SHORT);
        }
        names.sort_unstable();
        self.types = types;
        self.names = names;
        Ok(())
    }

    /// The types of one of these kinds that bear this name, with their numbers, lowest first.
    pub fn named(&self, name: &[u8], kinds: &[u8]) -> impl Iterator<Item = (u32, Record)> {
        let hash = hash(name);
        let first = self.names.partition_point(|entry| entry.0 < hash);
        let entries = self.names.get(first..).unwrap_or_default();
        entries
            .iter()
            .take_while(move |entry| entry.0 == hash)
            .filter_map(|entry| Some((entry.1, self.ty(entry.1).ok()??)))
            .filter(move |(_, ty)| kinds.contains(&ty.kind) && self.is_named(ty.name_offset, name))
    }

    /// The type of this number; `None` for number 0, which is `void`.
    pub fn ty(&self, id: u32) -> Result<Option<Record>, BtfError> {
        let Some(index) = id.checked_sub(1) else {
            return Ok(None);
        };
        let at = self.types.get(index as usize);
        let at = at.ok_or(BtfError::Malformed("a type number is beyond the last type"))?;
        self.record(*at as usize).map(Some)
    }

    fn record(&self, at: usize) -> Result<Record, BtfError> {
        let [name_offset, info, size_or_type] = self.words(at)?;
        let [.., vlen_high, vlen_low] = info.to_be_bytes();
        Ok(Record {
            name_offset,
            kind: (info >> 24) as u8 & 0x1f,
            kind_flag: info >> 31 == 1,
            vlen: u16::from_be_bytes([vlen_high, vlen_low]),
            size_or_type,
            body: at + RECORD_LENGTH,
        })
    }

    /// A name without its NUL.
    pub fn name(&self, offset: u32) -> Result<&[u8], BtfError> {
        match self.tail(offset).and_then(|tail| tail.split(|&byte| byte == 0).next()) {
            Some(name) => Ok(name),
            None => Err(BtfError::Malformed("a name lies outside the strings")),
        }
    }

    /// Whether the name at this offset is `name`, without looking for its end.
    pub fn is_named(&self, offset: u32, name: &[u8]) -> bool {
        let rest = self.tail(offset).and_then(|tail| tail.strip_prefix(name));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    fn tail(&self, offset: u32) -> Option<&[u8]> {
        self.bytes.get(self.strings.clone())?.get(offset as usize..)
    }

    /// A name as text.
    pub fn name_str(&self, offset: u32) -> Result<&str, BtfError> {
        str::from_utf8(self.name(offset)?).map_err(|_| BtfError::Malformed("a name is not text"))
    }

    /// The member of a struct or union at this index.
    pub fn member(&self, composite: Record, index: u16) -> Result<Member, BtfError> {
        let [name_offset, type_id, offset] = self.words(composite.body + usize::from(index) * 12)?;
        let [bit_field_size, offset_bytes @ ..] = offset.to_be_bytes();
        let [high, middle, low] = offset_bytes;
        let (bit_offset, bit_field_size) =
            if composite.kind_flag { (u32::from_be_bytes([0, high, middle, low]), bit_field_size) } else { (offset, 0) };
        Ok(Member { name_offset, type_id, bit_offset, bit_field_size })
    }

    pub fn array(&self, array: Record) -> Result<Array, BtfError> {
        let [element, _index_type, length] = self.words(array.body)?;
        Ok(Array { element, length })
    }

    /// Names and values of an enum of either width.
    pub fn enumerators(&self, ty: Record) -> Result<Vec<(&str, i64)>, BtfError> {
        (0..usize::from(ty.vlen))
            .map(|index| {
                let (name, value) = if ty.kind == kind::ENUM64 {
                    let [name, low, high] = self.words(ty.body + index * 12)?;
                    (name, (u64::from(high) << 32 | u64::from(low)).cast_signed())
                } else {
                    let [name, value] = self.words(ty.body + index * 8)?;
                    let signed = ty.kind_flag.then(|| i64::from(value.cast_signed()));
                    (name, signed.unwrap_or_else(|| i64::from(value)))
                };
                Ok((self.name_str(name)?, value))
            })
            .collect()
    }

    /// The types of a function prototype's parameters.
    pub fn param_types(&self, function: Record) -> Result<Vec<u32>, BtfError> {
        (0..usize::from(function.vlen))
            .map(|index| {
                let [_name, type_id] = self.words(function.body + index * 8)?;
                Ok(type_id)
            })
            .collect()
    }

    fn word(&self, at: usize) -> Result<u32, BtfError> {
        let tail = self.bytes.get(at..).ok_or(SHORT)?;
        tail.first_chunk().copied().map(u32::from_ne_bytes).ok_or(SHORT)
    }

    fn words<const N: usize>(&self, at: usize) -> Result<[u32; N], BtfError> {
        // Once for each of a hundred thousand records: an error that is made to be dropped would be
        // a good part of it all.
        let Some(bytes) = self.bytes.get(at..).and_then(|tail| tail.get(..N * size_of::<u32>())) else {
            return Err(SHORT);
        };
        let mut words = [0; N];
        for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
            *word = u32::from_ne_bytes(*bytes);
        }
        Ok(words)
    }
}

/// FNV-1a, for it is short and names are too. Names are compared in full afterwards, so a collision
/// costs a comparison.
fn hash(name: &[u8]) -> u32 {
    name.iter().fold(0x811c_9dc5, |hash: u32, &byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}
