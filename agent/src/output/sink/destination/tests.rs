use std::{io, sync::Arc};

use bytes::Bytes;
use proptest::prelude::*;

use super::{Encode, Feed};
use crate::{event::Event, output::sink::item::Item};

fn items(count: usize) -> Vec<Arc<Item>> {
    let text = include_str!("../../../../testdata/events/events_lost.json");
    let event: Option<Event> = serde_json::from_str(text).ok();
    (0..count).filter_map(|_| Some(Arc::new(Item::new(event.clone()?)))).collect()
}

proptest! {
    /// A stream that takes what it likes and fails when it likes gets every line whole, once and in
    /// order.
    #[test]
    fn no_line_is_torn_or_doubled(lengths in proptest::collection::vec(1_usize..40, 1..60), takes in proptest::collection::vec(0_usize..50, 1..400)) {
        let items = items(lengths.len());
        let addresses: Vec<*const Item> = items.iter().map(Arc::as_ptr).collect();
        let whole: Vec<Bytes> = lengths.iter().enumerate().map(|(index, length)| Bytes::from(format!("{index}:{}\n", "x".repeat(*length)))).collect();
        let addressed: Vec<(usize, Bytes)> = addresses.iter().map(|address| address.addr()).zip(whole.iter().cloned()).collect();
        let encode: Encode = Box::new(move |item| {
            addressed.iter().find(|(address, _)| *address == std::ptr::from_ref(item).addr()).map_or_else(Bytes::new, |(_, line)| line.clone())
        });
        let mut taken = Vec::new();
        let mut feed = Feed::default();
        let mut written = 0;
        // Once it has refused often enough, it takes everything.
        let mut takes = takes.into_iter();
        while written < items.len() {
            let (finished, result) = feed.write(items.get(written..).unwrap_or_default(), &encode, |bytes| match takes.next() {
                Some(0) => Err(io::ErrorKind::StorageFull.into()),
                Some(take) => {
                    let count = take.min(bytes.len());
                    taken.extend_from_slice(bytes.get(..count).unwrap_or_default());
                    Ok(count)
                }
                None => {
                    taken.extend_from_slice(bytes);
                    Ok(bytes.len())
                }
            });
            written += finished;
            prop_assert!(result.is_err() || written == items.len());
            prop_assert!(feed.offset == 0 || result.is_err());
        }
        prop_assert_eq!(taken, whole.concat());
    }
}
