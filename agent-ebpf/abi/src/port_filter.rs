//! What is watched, as far as each packet and each event is asked for it.

/// Words of the bitmap that has one bit for each TCP port.
pub const PORT_WORDS: usize = 1024;

/// The ports, and the namespace where there is only one.
///
/// One value in the object's own data and not a map of entries: programs find it at a known
/// address, without a lookup. User space writes it whole while they run. Each bit is the old one or
/// the new one at every moment, so that what is watched before and after is watched meanwhile.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Where any port is watched: one bit for each 1024 ports. The ports of most packets are far
    /// from all that are watched, and then this word is all that has to be fetched.
    pub summary: u64,
    /// The network namespace that packets are listened for in, by inode number, while there is only
    /// one; 0 while there are several. To ask each packet takes longer than all the rest.
    pub netns: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// One bit for each port.
    pub ports: [u64; PORT_WORDS],
}

impl Watch {
    /// Nothing.
    pub const NOTHING: Self = Self { summary: 0, netns: 0, reserved: 0, ports: [0; PORT_WORDS] };

    /// Adds a port (host byte order).
    pub fn add(&mut self, port: u16) {
        self.summary |= summary_bit(port);
        if let Some(word) = self.ports.get_mut(word(port)) {
            *word |= bit(port);
        }
    }
}

/// The bit of a port in the summary.
#[inline]
pub const fn summary_bit(port: u16) -> u64 {
    1 << (port >> 10)
}

/// The word that a port's bit is in.
#[inline]
pub const fn word(port: u16) -> usize {
    (port >> 6) as usize
}

/// The bit of a port in its word.
#[inline]
pub const fn bit(port: u16) -> u64 {
    1 << (port & 63)
}

const _: () = assert!(size_of::<Watch>() == 16 + 8 * PORT_WORDS);
