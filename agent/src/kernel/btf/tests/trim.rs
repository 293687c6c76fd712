//! Cuts a kernel's BTF down to what the tests ask of it; this is how the files in `testdata/btf`
//! came to be.
//!
//! Structs keep their size, but only the members on the wanted paths. What a pointer points at
//! becomes a forward declaration.

use std::collections::{BTreeMap, BTreeSet};
use std::{env, fs};

use super::blob::Blob;
use super::kernels::{ENUMS, MEMBERS, TRACEPOINTS, WHOLE_MEMBERS};
use crate::kernel::btf::raw::{Record, kind};
use crate::kernel::btf::{Btf, VMLINUX};

/// `RSTBLAME_BTF` names the BTF to read (the running kernel's if unset), `RSTBLAME_BTF_OUT` the
/// file to write.
#[test]
#[ignore = "writes a fixture; see testdata/README.md"]
fn trim_a_kernel() {
    let source = env::var("RSTBLAME_BTF").unwrap_or(VMLINUX.to_owned());
    let target = env::var("RSTBLAME_BTF_OUT").expect("RSTBLAME_BTF_OUT names the file to write");
    let btf = Btf::from_file(source.as_ref()).unwrap();
    let trimmed = trim(&btf);
    fs::write(target, trimmed).unwrap();
}

/// The types that the tests ask of, with nothing else in them.
pub fn trim(btf: &Btf) -> Vec<u8> {
    let mut trimmer = Trimmer { btf, kept: BTreeMap::new(), done: BTreeMap::new(), declared: BTreeMap::new(), blob: Blob::default() };
    let members = MEMBERS.iter().map(|row| (row.0, row.1));
    let mut roots = BTreeSet::new();
    for (name, path) in members.chain(WHOLE_MEMBERS.iter().copied()) {
        for id in trimmer.ids(name, &[kind::STRUCT]) {
            let path: Vec<&str> = path.split('.').collect();
            trimmer.mark(id, &path);
            roots.insert(id);
        }
    }
    for name in ENUMS {
        roots.extend(trimmer.ids(name, &[kind::ENUM, kind::ENUM64]));
    }
    for name in TRACEPOINTS {
        roots.extend(trimmer.ids(&format!("btf_trace_{name}"), &[kind::TYPEDEF]));
    }
    for id in roots {
        trimmer.copy(id);
    }
    trimmer.blob.build()
}

struct Trimmer<'a> {
    btf: &'a Btf,
    /// Indices of the members to keep, by number of the struct.
    kept: BTreeMap<u32, BTreeSet<u16>>,
    /// New numbers by old ones.
    done: BTreeMap<u32, u32>,
    /// Forward declarations by name.
    declared: BTreeMap<&'a str, u32>,
    blob: Blob,
}

impl<'a> Trimmer<'a> {
    fn ids(&self, name: &str, kinds: &[u8]) -> Vec<u32> {
        (1_u32..)
            .map_while(|id| Some((id, self.btf.raw.ty(id).ok()??)))
            .filter(|(_, ty)| kinds.contains(&ty.kind) && self.btf.raw.is_named(ty.name_offset, name.as_bytes()))
            .map(|(id, _)| id)
            .collect()
    }

    /// Marks the members of `path` to be kept; tells whether there is such a path.
    fn mark(&mut self, id: u32, path: &[&str]) -> bool {
        let Some((first, rest)) = path.split_first() else {
            return true;
        };
        let Some(ty) = self.btf.raw.ty(id).unwrap() else {
            return false;
        };
        if ty.is_modifier() {
            return self.mark(ty.size_or_type, path);
        }
        if ty.kind == kind::ARRAY {
            return self.mark(self.btf.raw.array(ty).unwrap().element, path);
        }
        if !ty.is_composite() {
            return false;
        }
        for index in 0..ty.vlen {
            let member = self.btf.raw.member(ty, index).unwrap();
            let is_found = if member.name_offset == 0 {
                self.mark(member.type_id, path)
            } else {
                self.text(member.name_offset) == *first && self.mark(member.type_id, rest)
            };
            if is_found {
                self.kept.entry(id).or_default().insert(index);
                return true;
            }
        }
        false
    }

    fn copy(&mut self, id: u32) -> u32 {
        let Some(ty) = self.btf.raw.ty(id).unwrap() else {
            return 0;
        };
        if let Some(&done) = self.done.get(&id) {
            return done;
        }
        let name = self.text(ty.name_offset);
        let copied = match ty.kind {
            kind::INT => self.blob.int(name, ty.size_or_type),
            kind::PTR => {
                let target = self.copy_target(ty.size_or_type);
                self.blob.refer("", kind::PTR, target)
            }
            kind::ARRAY => {
                let array = self.btf.raw.array(ty).unwrap();
                let element = self.copy(array.element);
                self.blob.array(element, array.length)
            }
            kind::STRUCT | kind::UNION => self.copy_composite(id, ty, name),
            kind::ENUM => {
                let values = self.btf.raw.enumerators(ty).unwrap();
                let values: Vec<(&str, i32)> = values.iter().map(|&(name, value)| (name, i32::try_from(value).unwrap())).collect();
                self.blob.enumeration(name, ty.kind_flag, &values)
            }
            kind::FUNC_PROTO => {
                let params = self.btf.raw.param_types(ty).unwrap();
                let params: Vec<u32> = params.into_iter().map(|param| self.copy(param)).collect();
                self.blob.function(&params)
            }
            _ if ty.is_modifier() => {
                let to = self.copy(ty.size_or_type);
                self.blob.refer(name, ty.kind, to)
            }
            other => unreachable!("nothing wanted is of kind {other}"),
        };
        self.done.insert(id, copied);
        copied
    }

    fn copy_composite(&mut self, id: u32, ty: Record, name: &str) -> u32 {
        let kept = self.kept.get(&id).cloned().unwrap_or_default();
        let mut members = Vec::new();
        for index in kept {
            let member = self.btf.raw.member(ty, index).unwrap();
            let type_id = self.copy(member.type_id);
            let name = self.text(member.name_offset);
            members.push((name, type_id, member.bit_offset, member.bit_field_size));
        }
        self.blob.composite(ty.kind, name, ty.size_or_type, &members)
    }

    /// What a pointer points at: structs are only declared.
    fn copy_target(&mut self, id: u32) -> u32 {
        match self.btf.resolve(id).unwrap() {
            Some(to) if to.is_composite() || to.kind == kind::FWD => {
                let name = self.text(to.name_offset);
                let blob = &mut self.blob;
                *self.declared.entry(name).or_insert_with(|| blob.refer(name, kind::FWD, 0))
            }
            Some(to) if to.kind == kind::FUNC_PROTO => self.copy(id),
            _ => 0,
        }
    }

    fn text(&self, offset: u32) -> &'a str {
        let btf: &'a Btf = self.btf;
        btf.raw.name_str(offset).unwrap()
    }
}
