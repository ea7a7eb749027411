//! A component without its code: each function's body is only `unreachable`, and there is no data. Its types, imports and exports are
//! the same, and the engine needs no time for it, so that a component can be described without being compiled.

/// The deepest nesting of components. The engine accepts no deeper one.
const MAX_DEPTH: usize = 100;
/// An entry of a code section: its length, no locals, `unreachable`, `end`.
const BODY: [u8; 4] = [3, 0, 0x00, 0x0b];

const MODULE: [u8; 8] = *b"\0asm\x01\0\0\0";
const CODE: u8 = 10;
const DATA: u8 = 11;
const DATA_COUNT: u8 = 12;

const COMPONENT: [u8; 8] = *b"\0asm\x0d\0\x01\0";
const CORE_MODULE: u8 = 1;
const NESTED: u8 = 4;

const CUSTOM: u8 = 0;

/// `None` if the file does not consist of sections: then the engine reports what is wrong with it.
pub(super) fn code(binary: &[u8]) -> Option<Vec<u8>> {
    let mut stripped = Vec::new();
    strip(binary, 0, &mut stripped)?;
    Some(stripped)
}

fn strip(binary: &[u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let (header, mut rest) = binary.split_at_checked(MODULE.len())?;
    let is_component = header == COMPONENT;
    if depth > MAX_DEPTH || !is_component && header != MODULE {
        return None;
    }
    out.extend_from_slice(header);
    while let Some((&id, after)) = rest.split_first() {
        let (len, after) = number(after)?;
        let (section, after) = after.split_at_checked(len)?;
        rest = after;
        match (is_component, id) {
            (_, CUSTOM) | (false, DATA | DATA_COUNT) => {}
            (true, CORE_MODULE | NESTED) => {
                let mut inner = Vec::new();
                strip(section, depth + 1, &mut inner)?;
                put(id, &inner, out);
            }
            (false, CODE) => {
                let (functions, _) = number(section)?;
                // A body has at least one byte.
                if functions > section.len() {
                    return None;
                }
                let mut bodies = encoded(functions);
                bodies.extend(BODY.repeat(functions));
                put(id, &bodies, out);
            }
            _ => put(id, section, out),
        }
    }
    Some(())
}

fn put(id: u8, section: &[u8], out: &mut Vec<u8>) {
    out.push(id);
    out.extend(encoded(section.len()));
    out.extend_from_slice(section);
}

/// Reads a number in LEB128 from the beginning, and returns the rest.
fn number(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut number = 0_u64;
    for (n, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7f) << (7 * n);
        if byte & 0x80 == 0 {
            return Some((usize::try_from(number).ok()?, bytes.get(n + 1..)?));
        }
    }
    None
}

fn encoded(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(number & 0x7f).unwrap_or_default();
        number >>= 7;
        bytes.push(if number > 0 { low | 0x80 } else { low });
        if number == 0 {
            return bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_as_they_are_written() {
        for n in [0, 1, 127, 128, 300, 65_535, 1 << 20, u32::MAX as usize] {
            let mut bytes = encoded(n);
            bytes.push(7);
            assert_eq!(number(&bytes), Some((n, &[7_u8][..])));
        }
        assert_eq!(number(&[0x80; 6]), None);
        assert_eq!(number(&[0x80]), None);
    }

    #[test]
    fn code_and_data_are_removed_and_the_rest_stays() {
        let text = r#"(component
            (core module $m (memory 1) (data (i32.const 0) "secret") (func $f (export "f") (param i32) (result i64)
                i64.const 1234567890123) (func (export "g")) (start 1))
            (component (core module (func (export "h") nop nop nop nop nop nop)))
            (core instance $i (instantiate $m))
            (func (export "f") (param "a" s32) (result s64) (canon lift (core func $i "f"))))"#;
        let whole = wat::parse_str(text).unwrap();
        let stripped = code(&whole).unwrap();
        assert!(stripped.len() < whole.len() && !stripped.windows(6).any(|part| part == b"secret"));
        let engine = wasmtime::Engine::default();
        let types = |bytes: &[u8]| {
            let component = wasmtime::component::Component::new(&engine, bytes).unwrap();
            let ty = component.component_type();
            ty.exports(&engine).map(|(name, item)| format!("{name} {:?}", item.ty)).collect::<Vec<_>>().len()
        };
        assert_eq!((types(&whole), types(&stripped)), (1, 1));
        assert_eq!(code(&stripped), Some(stripped.clone()), "there is nothing more to strip");
    }

    #[test]
    fn a_damaged_component_is_not_stripped() {
        let whole = wat::parse_str("(component (core module (func nop)))").unwrap();
        for len in 0..whole.len() {
            // What is left must not be read beyond its end. If the cut is between sections, the file is valid.
            let _ = code(&whole[..len]);
        }
        assert_eq!(code(b""), None);
        assert_eq!(code(b"\0asm\x01\0\0\0\x0a\x02\xff\x7f"), None, "more functions than bytes");
        let mut deep = COMPONENT.to_vec();
        for _ in 0..200 {
            let mut outer = COMPONENT.to_vec();
            put(NESTED, &deep, &mut outer);
            deep = outer;
        }
        assert_eq!(code(&deep), None);
    }
}
