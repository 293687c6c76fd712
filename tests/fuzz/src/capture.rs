//! Capture files: read in bounded memory, and however the bytes come in.

use std::io::{self, Cursor, Read};

use rstblame::{event::ResetEvent, pcap};

use super::memory::most_in_use;

/// Memory for a file of a few kilobytes, bytes: the buffer (1 MiB), a decompressor with the largest
/// window that is taken, and what is remembered of the connections in it. A compressed one may hold
/// more connections than the table keeps (32,768), each with some 2 KiB.
const PLAIN: usize = 8 << 20;
const COMPRESSED: usize = 160 << 20;

/// Bytes in small pieces, as from a pipe.
struct Drops(Cursor<Vec<u8>>, usize);

impl Read for Drops {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = buffer.len().min(self.1);
        self.0.read(&mut buffer[..length])
    }
}

fn read(stream: Box<dyn Read + Send>) -> (Vec<ResetEvent>, Option<String>) {
    let mut events = Vec::new();
    let ended = pcap::read(stream, "fuzz.pcap", |event| events.push(event));
    (events, ended.err().map(|error| error.to_string()))
}

pub fn holds(data: &[u8]) {
    let data = &data[..data.len().min(64 << 10)];
    let compressed =
        data.starts_with(&[0x1f, 0x8b]) || data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) || data.get(1..4) == Some(&[0x2a, 0x4d, 0x18]);
    let (whole, used) = most_in_use(|| read(Box::new(Cursor::new(data.to_vec()))));
    let limit = if compressed { COMPRESSED } else { PLAIN };
    assert!(used <= limit, "{used} bytes of memory for a file of {}", data.len());
    if compressed {
        // What a decoder says of damage may depend on how far it could look ahead.
        return;
    }
    let drops = read(Box::new(Drops(Cursor::new(data.to_vec()), 1 + data.len() % 13)));
    assert_eq!(whole, drops);
    for event in &whole.0 {
        assert!(event.host.is_none() && event.process.is_none(), "a capture knows neither host nor process");
    }
}
