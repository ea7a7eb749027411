//! What `execute-stream` does wrong, by method: two results that are right, then the misbehaviour.

use std::cell::Cell;

use crate::blobs::Payload;
use crate::types::Error;
use crate::{behaviour, guest, host, json};

thread_local! {
    static DROPS: Cell<u32> = const { Cell::new(0) };
}

/// How many streams the host has dropped.
pub(crate) fn drops() -> u32 {
    DROPS.get()
}

pub(crate) struct Misbehaving {
    then: fn() -> Result<Option<Payload>, Error>,
    given: Cell<u32>,
    /// In the destructor.
    at_drop: fn(),
}

impl Misbehaving {
    pub(crate) fn start(method: &str, _input: &Payload) -> Result<Self, Error> {
        let then: fn() -> Result<Option<Payload>, Error> = match method {
            "end" | "trap-at-drop" | "spin-at-drop" => || Ok(None),
            "for-ever" => || json("3").map(Some),
            "spin" => || behaviour::spin(),
            "trap" => || behaviour::trap(),
            "panic" => || panic!("in the middle of a stream"),
            "fail" => || Err(Error::Unavailable("no more today".into())),
            "not-json" => || json("{").map(Some),
            "spin-at-start" => behaviour::spin(),
            _ => return Err(Error::NotFound(format!("there is no stream {method:?}"))),
        };
        let at_drop: fn() = match method {
            "trap-at-drop" => || behaviour::trap(),
            "spin-at-drop" => || behaviour::spin(),
            _ => || (),
        };
        Ok(Self { then, given: Cell::new(0), at_drop })
    }
}

impl guest::GuestPayloadStream for Misbehaving {
    fn next(&self) -> Result<Option<Payload>, Error> {
        self.given.set(self.given.get() + 1);
        host::report_progress(None, &format!("result {}", self.given.get()));
        match self.given.get() {
            1 | 2 => json(self.given.get().to_string()).map(Some),
            _ => (self.then)(),
        }
    }
}

impl Drop for Misbehaving {
    fn drop(&mut self) {
        DROPS.set(DROPS.get() + 1);
        (self.at_drop)();
    }
}
