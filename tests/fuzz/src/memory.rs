//! How much memory is in use, counted by the allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

thread_local! {
    /// Bytes in use by this thread, and the most that ever were since the last look.
    static USED: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: the system's allocator does the work; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _gone_at_the_end_of_a_thread = USED.try_with(|used| {
            let (now, most) = used.get();
            let now = now.saturating_add(layout.size());
            used.set((now, most.max(now)));
        });
        // SAFETY: handed on as it came.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _gone_at_the_end_of_a_thread = USED.try_with(|used| {
            let (now, most) = used.get();
            used.set((now.saturating_sub(layout.size()), most));
        });
        // SAFETY: handed on as it came.
        unsafe { System.dealloc(place, layout) }
    }
}

/// Does `work`, and says how many bytes it had in use at most beyond what was in use before.
pub fn most_in_use<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = USED.get().0;
    USED.set((before, before));
    let done = work();
    (done, USED.get().1.saturating_sub(before))
}
