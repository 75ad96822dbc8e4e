//! What a damaged file makes of redb: an error where it sees it, a panic where it does not. Here both are one.
//!
//! What must never happen: a panic of redb that ends more than the call it was met in.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// Does something with redb; a panic is the error [`redb::Error::Corrupted`].
pub(super) fn caught<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<T, E>
where
    E: From<redb::StorageError>,
{
    quiet();
    let before = GUARDED.replace(true);
    // What the panic leaves behind is not used again: whoever gets this error opens the file anew or gives it up.
    let done = catch_unwind(AssertUnwindSafe(work));
    GUARDED.set(before);
    done.unwrap_or_else(|panic| {
        let words = words(panic.as_ref());
        Err(redb::StorageError::Corrupted(words).into())
    })
}

/// Nobody reads a backtrace of redb's: what is wrong is told as an error.
fn quiet() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if GUARDED.get() {
                tracing::debug!(%panic, "redb met something that it did not expect");
            } else {
                before(panic);
            }
        }));
    });
}

fn words(panic: &(dyn Any + Send)) -> String {
    let said = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    said.unwrap_or("what is stored makes no sense").to_owned()
}
