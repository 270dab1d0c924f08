//! The same work for many machines at once.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many machines are worked on at once: the work is mostly waiting for other programs.
const THREADS: usize = 16;

/// Does `work` for every item, in parallel, and gives the results in the items' order.
///
/// One item's failure does not keep the others from being worked on: `work` gives a `Result` if
/// it can fail. A single item is worked on in the calling thread.
pub fn in_parallel<T, R, F>(items: Vec<T>, work: F) -> Vec<R>
where
    T: Send,
    R: Send,
    F: Fn(T) -> R + Sync,
{
    if items.len() <= 1 {
        return items.into_iter().map(work).collect();
    }
    let threads = items.len().min(THREADS);
    let slots: Vec<Mutex<Slot<T, R>>> =
        items.into_iter().map(|item| Mutex::new(Slot::Waiting(item))).collect();
    let next = AtomicUsize::new(0);
    let work_on = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let taken = slot.lock().map(|mut slot| std::mem::replace(&mut *slot, Slot::Taken));
            if let Ok(Slot::Waiting(item)) = taken {
                let result = work(item);
                if let Ok(mut slot) = slot.lock() {
                    *slot = Slot::Done(result);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            // A host that has no thread to give is served by fewer, and at worst by this one.
            if std::thread::Builder::new().spawn_scoped(scope, work_on).is_err() {
                break;
            }
        }
        work_on();
    });
    // The scope has passed on any panic of a thread, so every slot is done here.
    slots
        .into_iter()
        .filter_map(|slot| match slot.into_inner() {
            Ok(Slot::Done(result)) => Some(result),
            _ => None,
        })
        .collect()
}

enum Slot<T, R> {
    Waiting(T),
    Taken,
    Done(R),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u32> = (0..1000).collect();
        let results = in_parallel(items.clone(), |item| item * 2);
        assert_eq!(results, items.iter().map(|item| item * 2).collect::<Vec<_>>());
        assert_eq!(in_parallel(Vec::<u32>::new(), |item| item), Vec::<u32>::new());
    }

    #[test]
    fn items_are_worked_on_at_the_same_time() {
        // Each waits for the other: one after the other, they would never meet.
        let barrier = std::sync::Barrier::new(2);
        assert_eq!(
            in_parallel(vec![1, 2], |item| {
                barrier.wait();
                item
            }),
            [1, 2]
        );
    }
}
