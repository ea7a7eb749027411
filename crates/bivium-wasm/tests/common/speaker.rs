//! A typed component whose functions print given texts, and then return or trap.

/// One function: its name, the text, the stream (`stdout` or `stderr`), and whether it traps then.
pub struct Speech<'a> {
    pub name: &'a str,
    pub stream: &'a str,
    pub text: &'a [u8],
    pub traps: bool,
}

/// The component.
pub fn speaker(speeches: &[Speech<'_>]) -> Vec<u8> {
    let (mut data, mut functions, mut lifted, mut start) = (String::new(), String::new(), String::new(), 4096);
    for Speech { name, stream, text, traps } in speeches {
        let bytes: String = text.iter().map(|byte| format!("\\{byte:02x}")).collect();
        data.push_str(&format!("(data (i32.const {start}) \"{bytes}\")"));
        let end = if *traps { "unreachable" } else { "" };
        // In pieces, as a stream takes 4096 bytes at a time.
        let prints: String = (0..text.len())
            .step_by(4096)
            .map(|from| {
                let (at, length) = (start + from, (text.len() - from).min(4096));
                format!("(call $print (call ${stream}) (i32.const {at}) (i32.const {length}) (i32.const 0))")
            })
            .collect();
        functions.push_str(&format!("(func (export \"{name}\") {prints} {end})"));
        lifted.push_str(&format!("(func (export \"{name}\") (canon lift (core func $guest \"{name}\")))"));
        start += text.len();
    }
    let pages = start / 65536 + 1;
    let text = format!(
        r#"(component
            (import "wasi:io/error@0.2.0" (instance $errors (export "error" (type (sub resource)))))
            (alias export $errors "error" (type $error))
            (import "wasi:io/streams@0.2.0" (instance $streams
                (export "output-stream" (type $stream (sub resource)))
                (alias outer 1 $error (type $error))
                (type $closed (variant (case "last-operation-failed" (own $error)) (case "closed")))
                (export "stream-error" (type $failed (eq $closed)))
                (export "[method]output-stream.blocking-write-and-flush"
                    (func (param "self" (borrow $stream)) (param "contents" (list u8)) (result (result (error $failed)))))))
            (alias export $streams "output-stream" (type $stream))
            (import "wasi:cli/stdout@0.2.0" (instance $out
                (alias outer 1 $stream (type $outer)) (export "output-stream" (type $stream (eq $outer)))
                (export "get-stdout" (func (result (own $stream))))))
            (import "wasi:cli/stderr@0.2.0" (instance $err
                (alias outer 1 $stream (type $outer)) (export "output-stream" (type $stream (eq $outer)))
                (export "get-stderr" (func (result (own $stream))))))
            (core module $memory (memory (export "memory") {pages}) {data})
            (core instance $memory (instantiate $memory))
            (core func $stdout (canon lower (func $out "get-stdout")))
            (core func $stderr (canon lower (func $err "get-stderr")))
            (core func $print (canon lower (func $streams "[method]output-stream.blocking-write-and-flush")
                (memory (core memory $memory "memory"))))
            (core module $guest
                (import "host" "stdout" (func $stdout (result i32)))
                (import "host" "stderr" (func $stderr (result i32)))
                (import "host" "print" (func $print (param i32 i32 i32 i32)))
                {functions})
            (core instance $host
                (export "stdout" (func $stdout)) (export "stderr" (func $stderr)) (export "print" (func $print)))
            (core instance $guest (instantiate $guest (with "host" (instance $host))))
            {lifted})"#
    );
    wat::parse_str(text).unwrap()
}
