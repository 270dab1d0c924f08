//! A flag that is written down only where it is set.

/// Whether it is not set.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
pub(super) fn is_false(value: &bool) -> bool {
    !value
}
