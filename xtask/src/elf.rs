//! As much of an ELF file as tells whether it is static.
//!
//! The layout is that of `elf(5)`, <https://man7.org/linux/man-pages/man5/elf.5.html>.

/// Why a file cannot be told static or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ElfError {
    /// Not a 64-bit ELF file in the byte order of this machine.
    #[error("not a 64-bit ELF file of this machine's byte order")]
    Format,
    /// It ends before what its header announces.
    #[error("a truncated ELF file")]
    Truncated,
}

const PT_INTERP: u32 = 3;

/// The dynamic loader the file asks for; `None` for a static file.
///
/// # Errors
///
/// [`ElfError`] when the file is not what the linker writes for this machine.
pub fn interpreter(file: &[u8]) -> Result<Option<String>, ElfError> {
    let data = if cfg!(target_endian = "big") { 2 } else { 1 };
    // e_ident: the magic, ELFCLASS64, the byte order.
    if file.get(..6) != Some(&[0x7f, b'E', b'L', b'F', 2, data]) {
        return Err(ElfError::Format);
    }
    let table = long(file, 32)?;
    let (size, count) = (usize::from(short(file, 54)?), usize::from(short(file, 56)?));
    for index in 0..count {
        let header = index.checked_mul(size).and_then(|offset| offset.checked_add(table)).ok_or(ElfError::Truncated)?;
        let header = file.get(header..).ok_or(ElfError::Truncated)?;
        if u32::from_ne_bytes(bytes(header, 0)?) == PT_INTERP {
            let (offset, length) = (long(header, 8)?, long(header, 32)?);
            let end = offset.checked_add(length).ok_or(ElfError::Truncated)?;
            let name = file.get(offset..end).ok_or(ElfError::Truncated)?;
            return Ok(Some(String::from_utf8_lossy(name).trim_end_matches('\0').to_owned()));
        }
    }
    Ok(None)
}

fn bytes<const N: usize>(data: &[u8], offset: usize) -> Result<[u8; N], ElfError> {
    data.get(offset..).and_then(|rest| rest.first_chunk()).copied().ok_or(ElfError::Truncated)
}

fn short(data: &[u8], offset: usize) -> Result<u16, ElfError> {
    Ok(u16::from_ne_bytes(bytes(data, offset)?))
}

fn long(data: &[u8], offset: usize) -> Result<usize, ElfError> {
    usize::try_from(u64::from_ne_bytes(bytes(data, offset)?)).map_err(|_too_large| ElfError::Truncated)
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

    use std::{env, fs};

    use super::*;

    /// This very test binary is dynamic on glibc, so the check is known to be able to fail.
    #[test]
    #[cfg(not(target_feature = "crt-static"))]
    fn dynamic_binary_names_its_loader() {
        let file = fs::read(env::current_exe().unwrap()).unwrap();
        let loader = interpreter(&file).unwrap().unwrap();
        assert!(loader.starts_with('/') && loader.contains("ld-"), "{loader}");
    }

    #[test]
    fn program_headers_without_a_loader_are_static() {
        let mut file = fs::read(env::current_exe().unwrap()).unwrap();
        let table = long(&file, 32).unwrap();
        let size = usize::from(short(&file, 54).unwrap());
        for index in 0..usize::from(short(&file, 56).unwrap()) {
            let kind = file.get_mut(table + index * size..).unwrap().first_chunk_mut::<4>().unwrap();
            if u32::from_ne_bytes(*kind) == PT_INTERP {
                *kind = 0_u32.to_ne_bytes();
            }
        }
        assert_eq!(interpreter(&file), Ok(None));
    }

    #[test]
    fn other_and_truncated_files_are_errors() {
        assert_eq!(interpreter(b"#!/bin/sh\n"), Err(ElfError::Format));
        assert_eq!(interpreter(&[]), Err(ElfError::Format));
        let file = fs::read(env::current_exe().unwrap()).unwrap();
        assert_eq!(interpreter(file.get(..60).unwrap()), Err(ElfError::Truncated));
        assert_eq!(interpreter(file.get(..100).unwrap()), Err(ElfError::Truncated));
    }
}
