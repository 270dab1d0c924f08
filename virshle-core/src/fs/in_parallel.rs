//! The same work for many machines at once.

use std::sync::{Mutex, PoisonError};

/// How many machines are worked on at once: the work is mostly waiting for other programs.
pub(crate) const THREADS: usize = 16;

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
    let done = Mutex::new(Vec::with_capacity(items.len()));
    let queue = Mutex::new(items.into_iter().enumerate());
    // Neither lock is held while there is work: a panic in it poisons none.
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work_on = || {
        while let Some((place, item)) = next() {
            let result = work(item);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((place, result));
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
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, result)| result).collect()
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
