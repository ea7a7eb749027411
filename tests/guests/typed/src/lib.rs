//! A component of its own world: a function for each type of WIT, and some that go wrong.

use std::sync::atomic::{AtomicU32, Ordering};

mod bindings {
    wit_bindgen::generate!({ path: "wit" });
}

use bindings::exports::example::typed::{echo, images, wrong};

struct Typed;

impl bindings::Guest for Typed {
    fn count() -> u32 {
        static CALLS: AtomicU32 = AtomicU32::new(0);
        CALLS.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn greet(name: String, greeting: Option<String>) -> String {
        format!("{} {name}", greeting.as_deref().unwrap_or("hello"))
    }
}

impl images::Guest for Typed {
    fn resize(
        image: Vec<u8>,
        size: images::Size,
        fit: Option<images::Fit>,
        background: images::Background,
        changes: images::Changes,
    ) -> Result<Vec<u8>, images::Problem> {
        use images::{Background, Changes, Fit, Problem};
        let first = match (background, image.first()) {
            (Background::Grey(grey), _) => grey,
            (Background::Colour((red, ..)), _) => red,
            (Background::Transparent, Some(first)) => *first,
            (Background::Transparent, None) => return Err(Problem::Unreadable),
        };
        let pixels = size.width.checked_mul(size.height).filter(|pixels| *pixels <= 1 << 20);
        let pixels = pixels.ok_or(Problem::TooLarge(1 << 20))?;
        if changes.contains(Changes::BLUR) && fit == Some(Fit::Stretch) {
            return Err(Problem::Other("stretching and blurring are too much".to_owned()));
        }
        Ok(vec![first; pixels as usize])
    }
}

/// Functions that give back what they get.
macro_rules! echoes {
    ($($name:ident: $ty:ty),+ $(,)?) => {$(
        fn $name(value: $ty) -> $ty {
            value
        }
    )+};
}

impl echo::Guest for Typed {
    echoes! {
        of_bool: bool,
        of_s8: i8,
        of_u8: u8,
        of_s16: i16,
        of_u16: u16,
        of_s32: i32,
        of_u32: u32,
        of_s64: i64,
        of_u64: u64,
        of_f32: f32,
        of_f64: f64,
        of_char: char,
        of_string: String,
        of_bytes: Vec<u8>,
        of_list: Vec<String>,
        of_tuple: (u8, String, bool),
        of_record: echo::Leaf,
        of_variant: echo::Shape,
        of_enum: echo::Colour,
        of_option: Option<String>,
        of_nested_option: Option<Option<u32>>,
        of_flags: echo::Access,
        of_tree: echo::Tree,
    }

    fn of_result(value: Result<u32, String>) -> (Result<u32, String>,) {
        (value,)
    }

    fn of_bare_result(value: Result<(), ()>) -> (Result<(), ()>,) {
        (value,)
    }
}

impl wrong::Guest for Typed {
    fn with_text(message: String) -> Result<(), String> {
        Err(message)
    }

    fn with_reason(reason: wrong::Reason) -> Result<u32, wrong::Reason> {
        Err(reason)
    }

    fn with_record(code: u32) -> Result<(), (u32, Vec<u8>)> {
        Err((code, b"abc".to_vec()))
    }

    fn with_nothing() -> Result<(), ()> {
        Err(())
    }

    fn trap() {
        core::arch::wasm32::unreachable()
    }

    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }

    fn bytes(len: u32) -> Vec<u8> {
        vec![7; len as usize]
    }

    fn lists(count: u32, len: u32) -> Vec<Vec<u8>> {
        (0..count).map(|_| vec![7; len as usize]).collect()
    }
}

bindings::export!(Typed with_types_in bindings);
