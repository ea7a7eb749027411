//! A small component that takes very long to compile: one function of nested loops, each of which carries every local variable
//! on.

/// The component with this many loops. The time grows with more than their square; a thousand take half a minute.
pub(crate) fn slow_to_compile(loops: u32) -> Vec<u8> {
    let mut dice = 0x2545_f491_4f6c_dd1d_u64;
    let mut local = |op: u8, code: &mut Vec<u8>| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        code.push(op);
        code.extend(leb(1 + u32::try_from(dice % u64::from(loops)).unwrap()));
    };
    const GET: u8 = 0x20;
    const SET: u8 = 0x21;
    const LOOP: [u8; 2] = [0x03, 0x40];
    const ADD: u8 = 0x6a;
    const BR_IF_0: [u8; 2] = [0x0d, 0x00];
    const END: u8 = 0x0b;
    let mut add = |code: &mut Vec<u8>| {
        local(GET, code);
        local(GET, code);
        code.push(ADD);
        local(SET, code);
    };
    let mut body = [vec![1], leb(loops + 1), vec![0x7f]].concat();
    for _ in 0..loops {
        body.extend(LOOP);
        add(&mut body);
    }
    for _ in 0..loops {
        add(&mut body);
        body.extend([GET, 1]);
        body.extend(BR_IF_0);
        body.push(END);
    }
    body.extend([GET, 1, END]);
    let code = [vec![1], leb(u32::try_from(body.len()).unwrap()), body].concat();
    let module = [
        b"\0asm\x01\0\0\0".to_vec(),
        section(1, &[1, 0x60, 1, 0x7f, 1, 0x7f]),
        section(3, &[1, 0]),
        section(10, &code),
    ]
    .concat();
    [b"\0asm\x0d\0\x01\0".to_vec(), section(1, &module)].concat()
}

fn section(id: u8, content: &[u8]) -> Vec<u8> {
    [vec![id], leb(u32::try_from(content.len()).unwrap()), content.to_vec()].concat()
}

fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let byte = (number & 0x7f) as u8;
        number >>= 7;
        if number == 0 {
            bytes.push(byte);
            return bytes;
        }
        bytes.push(byte | 0x80);
    }
}
