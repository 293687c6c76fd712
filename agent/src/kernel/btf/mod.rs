//! Reads the running kernel's BTF: where a struct keeps a member, what an enum calls its values,
//! what a tracepoint hands to its probes.
//!
//! `rustc` emits no CO-RE relocations, so the offsets the kernel programs need are looked up here
//! and handed to them as constants. Only what that needs is read; line info, functions and data
//! sections are stepped over.
//!
//! Format: <https://docs.kernel.org/bpf/btf.html>, with all kinds up to `BTF_KIND_ENUM64` (19), the
//! last one known to
//! [`include/uapi/linux/btf.h`](https://github.com/torvalds/linux/blob/v6.18/include/uapi/linux/btf.h).

mod bytes;
mod prototypes;
mod raw;
#[cfg(test)]
pub(super) mod tests;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use bytes::Bytes;
use raw::{Raw, Record, kind};

/// Where the kernel shows its own BTF (`CONFIG_DEBUG_INFO_BTF`, Linux 5.4 and later).
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// No kernel's BTF comes near this many bytes; a larger file is not BTF.
const MAX_FILE: u64 = 256 << 20;

/// How many typedefs, qualifiers, array dimensions or nested anonymous members are followed. C code
/// stays below ten; BTF that goes deeper runs in a circle.
const MAX_DEPTH: u32 = 32;

/// How many members one lookup may look at, so that crafted BTF cannot keep it busy.
const MAX_MEMBERS: u32 = 1 << 20;

/// Why BTF could not be read, or why a question to it has no answer.
#[derive(Debug, Error)]
pub enum BtfError {
    /// The file could not be read.
    #[error(
        "cannot read the kernel's type information {path}: {source}; it needs a kernel built with \
         CONFIG_DEBUG_INFO_BTF and /sys mounted"
    )]
    Read {
        /// The file asked for.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file is larger than any kernel's BTF.
    #[error("{path} is larger than any kernel's BTF; name the file {VMLINUX} or a copy of it")]
    TooLarge {
        /// The file asked for.
        path: PathBuf,
    },
    /// The bytes do not begin with the BTF magic.
    #[error("this is not BTF: the magic number is missing; name the file {VMLINUX} or a copy of it")]
    NotBtf,
    /// BTF of a machine with the other byte order.
    #[error("this BTF has the byte order of another machine; use the BTF of the kernel that runs here")]
    ForeignByteOrder,
    /// A BTF version this reader does not know.
    #[error("BTF version {0} is not known here (1 is); a newer release may read this kernel")]
    Version(u8),
    /// A kind this reader does not know: its record's length is unknown too, so nothing behind it
    /// can be read.
    #[error("BTF type {id} is of kind {kind}, which is not known here; a newer release may read this kernel")]
    UnknownKind {
        /// Number of the type in the BTF.
        id: u32,
        /// The kind as found.
        kind: u8,
    },
    /// The BTF breaks its own rules.
    #[error("this BTF is damaged: {0}; compare it with {VMLINUX}")]
    Malformed(&'static str),
    /// The kernel has no type of this name.
    #[error("this kernel has no {what} `{name}`; what depends on it is not available here")]
    MissingType {
        /// `struct`, `enum` or `tracepoint`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
    /// The struct is there, the member is not.
    #[error("this kernel's `struct {name}` has no member `{path}`; what depends on it is not available here")]
    MissingMember {
        /// The struct asked for.
        name: String,
        /// The whole path asked for.
        path: String,
    },
    /// The path goes on behind a member that is neither struct nor union (a pointer, for one).
    #[error("`{path}` of `struct {name}` goes on behind `{component}`, which is not a struct in this kernel")]
    NotAStruct {
        /// The struct asked for.
        name: String,
        /// The whole path asked for.
        path: String,
        /// The last component that could be followed.
        component: String,
    },
    /// Several types share the name and answer differently; picking one would be a guess.
    #[error("this kernel has several different {what}s named `{name}`; which one is meant cannot be told")]
    Ambiguous {
        /// `struct`, `enum` or `tracepoint`.
        what: &'static str,
        /// The name asked for.
        name: String,
    },
}

impl BtfError {
    /// Whether this kernel simply lacks what was asked for, which an optional field may shrug off.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::MissingType { .. } | Self::MissingMember { .. })
    }
}

/// Where a member lies in its struct.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Bytes from the start of the struct asked for; of a bit-field, to the byte that holds its
    /// first bit.
    pub offset: u32,
    /// Bytes: of the whole array for an array, of the declared type for a bit-field.
    pub size: u32,
    /// Set if the member is a bit-field.
    pub bit_field: Option<BitField>,
}

/// Which bits a bit-field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitField {
    /// Bits from the start of the struct asked for, counted as the machine's byte order counts
    /// them.
    pub offset: u32,
    /// Bits.
    pub size: u8,
}

/// The type of one argument of a tracepoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Param<'a> {
    /// Pointer to the struct or union of this name.
    StructPointer(&'a str),
    /// Pointer to anything else.
    Pointer,
    /// Enum of this name.
    Enum(&'a str),
    /// Integer of this many bytes, `bool` and `char` included.
    Int {
        /// Bytes.
        size: u32,
    },
    /// Anything else, a struct by value for one.
    Other,
}

/// The BTF of one kernel.
#[derive(Debug)]
pub struct Btf {
    raw: Raw,
}

impl Btf {
    /// Reads a BTF blob, such as the contents of [`VMLINUX`]. One pass over the type records;
    /// afterwards a lookup by name is a binary search.
    ///
    /// # Errors
    /// If the bytes are not BTF of this machine's byte order, are damaged, or hold a kind that is
    /// not known.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>) -> Result<Self, BtfError> {
        Ok(Self { raw: Raw::parse(bytes.into().into())? })
    }

    /// Reads BTF from a file, [`VMLINUX`] most of the time.
    ///
    /// # Errors
    /// Those of [`Btf::from_bytes`], and if the file cannot be read.
    pub fn from_file(path: &Path) -> Result<Self, BtfError> {
        let read = |source| BtfError::Read { path: path.to_owned(), source };
        let file = File::open(path).map_err(read)?;
        // A file of anybody else's may become shorter while it is mapped.
        let mapped = if path == Path::new(VMLINUX) { Bytes::of_kernel(&file).ok() } else { None };
        let bytes = match mapped {
            Some(bytes) => bytes,
            None => Bytes::read(file, MAX_FILE + 1).map_err(read)?,
        };
        if bytes.len() as u64 > MAX_FILE {
            return Err(BtfError::TooLarge { path: path.to_owned() });
        }
        Ok(Self { raw: Raw::parse(bytes)? })
    }

    /// Where `struct name` (or `union name`) keeps the member `path`: names joined by dots, such as
    /// `__sk_common.skc_daddr`. Members of anonymous structs and unions are named as in C; of an
    /// array on the way the first element is taken; a pointer cannot be followed.
    ///
    /// # Errors
    /// [`BtfError::MissingType`] and [`BtfError::MissingMember`] if this kernel has no such thing,
    /// other variants if the path cannot be followed or several structs of the name disagree.
    pub fn member_offset(&self, name: &str, path: &str) -> Result<Member, BtfError> {
        let answer = agreed("struct", name, self.composites(name), |ty| {
            match self.walk(name, ty, path) {
                Ok(member) => Ok(Some(member)),
                // Kept as an answer: a namesake that has the member makes the name ambiguous.
                Err(BtfError::MissingMember { .. }) => Ok(None),
                Err(error) => Err(error),
            }
        })?;
        answer.ok_or_else(|| missing_member(name, path))
    }

    /// Size of `struct name` (or `union name`) in bytes.
    ///
    /// # Errors
    /// If there is no such struct, or several of different sizes.
    pub fn struct_size(&self, name: &str) -> Result<u32, BtfError> {
        agreed("struct", name, self.composites(name), |ty| Ok(ty.size_or_type))
    }

    /// Names and values of `enum name`, as declared. An unsigned 64-bit value beyond `i64::MAX`
    /// wraps.
    ///
    /// # Errors
    /// If there is no such enum, or several different ones.
    pub fn enum_values(&self, name: &str) -> Result<Vec<(&str, i64)>, BtfError> {
        let enums = self.raw.named(name.as_bytes(), &[kind::ENUM, kind::ENUM64]).map(|(_, ty)| ty);
        agreed("enum", name, enums, |ty| self.raw.enumerators(ty))
    }

    /// The arguments of the tracepoint `name` in the order of its `TP_PROTO`, so that an argument's
    /// position here is its position in the context of a raw or BTF tracepoint program.
    ///
    /// The prototype is the typedef `btf_trace_<name>` of
    /// [`include/trace/bpf_probe.h`](https://github.com/torvalds/linux/blob/v6.12/include/trace/bpf_probe.h):
    /// a pointer to a function whose first parameter, a `void *`, is not part of the `TP_PROTO`.
    ///
    /// # Errors
    /// If there is no such tracepoint, or its prototype has another shape.
    pub fn tracepoint_params(&self, name: &str) -> Result<Vec<Param<'_>>, BtfError> {
        const SHAPE: BtfError = BtfError::Malformed("a btf_trace_ typedef is no pointer to a function of `void *`");
        agreed("tracepoint", name, self.prototypes_of(name).into_iter().map(|(_, ty)| ty), |ty| {
            let pointer = self.resolve(ty.size_or_type)?.ok_or(SHAPE)?;
            if pointer.kind != kind::PTR {
                return Err(SHAPE);
            }
            let function = self.resolve(pointer.size_or_type)?.ok_or(SHAPE)?;
            if function.kind != kind::FUNC_PROTO {
                return Err(SHAPE);
            }
            let types = self.raw.param_types(function)?;
            let (&first, rest) = types.split_first().ok_or(SHAPE)?;
            if self.param(first)? != Param::Pointer {
                return Err(SHAPE);
            }
            rest.iter().map(|&id| self.param(id)).collect()
        })
    }

    fn composites(&self, name: &str) -> impl Iterator<Item = Record> {
        self.raw.named(name.as_bytes(), &[kind::STRUCT, kind::UNION]).map(|(_, ty)| ty)
    }

    fn walk(&self, name: &str, start: Record, path: &str) -> Result<Member, BtfError> {
        const RANGE: BtfError = BtfError::Malformed("a member lies beyond the range of offsets");
        let mut composite = start;
        let mut base = 0_u32;
        let mut budget = MAX_MEMBERS;
        let mut components = path.split('.').peekable();
        while let Some(component) = components.next() {
            let found = self.find(composite, component, MAX_DEPTH, &mut budget)?.ok_or_else(|| missing_member(name, path))?;
            base = base.checked_add(found.bit_offset).ok_or(RANGE)?;
            if components.peek().is_none() {
                return self.member(found, base);
            }
            composite = self.element(found.type_id)?.filter(Record::is_composite).ok_or_else(|| BtfError::NotAStruct {
                name: name.to_owned(),
                path: path.to_owned(),
                component: component.to_owned(),
            })?;
        }
        Err(missing_member(name, path))
    }

    /// The member called `name` of a struct or union, looked for in its anonymous members too.
    fn find(&self, composite: Record, name: &str, depth: u32, budget: &mut u32) -> Result<Option<raw::Member>, BtfError> {
        const CIRCLE: BtfError = BtfError::Malformed("anonymous members are nested without end");
        // An anonymous member's name is the empty string, which is nothing to ask for.
        if name.is_empty() {
            return Ok(None);
        }
        for index in 0..composite.vlen {
            *budget = budget.checked_sub(1).ok_or(CIRCLE)?;
            let member = self.raw.member(composite, index)?;
            if member.name_offset != 0 {
                if self.raw.is_named(member.name_offset, name.as_bytes()) {
                    return Ok(Some(member));
                }
                continue;
            }
            let Some(inner) = self.resolve(member.type_id)?.filter(Record::is_composite) else {
                continue; // An unnamed bit-field, which is padding.
            };
            let depth = depth.checked_sub(1).ok_or(CIRCLE)?;
            if let Some(found) = self.find(inner, name, depth, budget)? {
                let bit_offset = found.bit_offset.checked_add(member.bit_offset).ok_or(CIRCLE)?;
                return Ok(Some(raw::Member { bit_offset, ..found }));
            }
        }
        Ok(None)
    }

    /// `found` as the caller sees it, `bit_offset` bits into the struct asked for.
    fn member(&self, found: raw::Member, bit_offset: u32) -> Result<Member, BtfError> {
        let bit_field = (found.bit_field_size != 0).then_some(BitField { offset: bit_offset, size: found.bit_field_size });
        if bit_field.is_none() && !bit_offset.is_multiple_of(8) {
            return Err(BtfError::Malformed("a member that is no bit-field begins inside a byte"));
        }
        Ok(Member { offset: bit_offset / 8, size: self.size(found.type_id)?, bit_field })
    }

    /// Size of a type in bytes.
    fn size(&self, id: u32) -> Result<u32, BtfError> {
        const NO_SIZE: BtfError = BtfError::Malformed("a member's type has no size");
        let mut id = id;
        let mut count = 1_u32;
        for _ in 0..MAX_DEPTH {
            let ty = self.resolve(id)?.ok_or(NO_SIZE)?;
            let size = match ty.kind {
                kind::ARRAY => {
                    let array = self.raw.array(ty)?;
                    count = count.checked_mul(array.length).ok_or(NO_SIZE)?;
                    id = array.element;
                    continue;
                }
                // BTF does not tell the size of a pointer; kernel and agent share it.
                kind::PTR => u32::try_from(size_of::<usize>()).map_err(|_| NO_SIZE)?,
                kind::INT | kind::STRUCT | kind::UNION | kind::ENUM | kind::ENUM64 | kind::FLOAT => ty.size_or_type,
                _ => return Err(NO_SIZE),
            };
            return count.checked_mul(size).ok_or(NO_SIZE);
        }
        Err(NO_SIZE)
    }

    /// A type without its typedefs and qualifiers; `None` for `void`.
    fn resolve(&self, id: u32) -> Result<Option<Record>, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.raw.ty(id)? {
                Some(ty) if ty.is_modifier() => id = ty.size_or_type,
                other => return Ok(other),
            }
        }
        Err(BtfError::Malformed("typedefs or qualifiers are chained without end"))
    }

    /// What [`Btf::resolve`] gives, and of an array the type of its elements.
    fn element(&self, id: u32) -> Result<Option<Record>, BtfError> {
        let mut id = id;
        for _ in 0..MAX_DEPTH {
            match self.resolve(id)? {
                Some(ty) if ty.kind == kind::ARRAY => id = self.raw.array(ty)?.element,
                other => return Ok(other),
            }
        }
        Err(BtfError::Malformed("arrays are nested without end"))
    }

    fn param(&self, id: u32) -> Result<Param<'_>, BtfError> {
        let Some(ty) = self.resolve(id)? else {
            return Ok(Param::Other); // `void`, which is how a variadic function ends.
        };
        Ok(match ty.kind {
            kind::INT => Param::Int { size: ty.size_or_type },
            kind::ENUM | kind::ENUM64 => Param::Enum(self.raw.name_str(ty.name_offset)?),
            kind::PTR => match self.resolve(ty.size_or_type)? {
                Some(to) if to.is_composite() || to.kind == kind::FWD => Param::StructPointer(self.raw.name_str(to.name_offset)?),
                _ => Param::Pointer,
            },
            _ => Param::Other,
        })
    }
}

fn missing_member(name: &str, path: &str) -> BtfError {
    BtfError::MissingMember { name: name.to_owned(), path: path.to_owned() }
}

/// Asks every type of a name and gives their answer if they agree.
fn agreed<T: PartialEq>(
    what: &'static str,
    name: &str,
    types: impl Iterator<Item = Record>,
    ask: impl Fn(Record) -> Result<T, BtfError>,
) -> Result<T, BtfError> {
    let mut answer: Option<T> = None;
    for ty in types {
        let this = ask(ty)?;
        if answer.as_ref().is_some_and(|earlier| *earlier != this) {
            return Err(BtfError::Ambiguous { what, name: name.to_owned() });
        }
        answer = Some(this);
    }
    answer.ok_or_else(|| BtfError::MissingType { what, name: name.to_owned() })
}
