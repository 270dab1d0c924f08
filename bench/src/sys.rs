//! The call that Rust can't check.

/// The largest resident set of any child that was waited for, in KiB; getrusage(2).
pub(crate) fn children_peak_kib() -> i64 {
    // SAFETY: any bytes are a valid `rusage`, which is numbers alone.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the kernel writes one `rusage` to where `usage` is.
    let result = unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    if result == 0 { usage.ru_maxrss } else { 0 }
}
