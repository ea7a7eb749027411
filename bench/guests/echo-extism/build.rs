//! A plug-in of Extism is a core module: the linker, which makes components, is to leave it as it is.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-link-arg-cdylib=--skip-wit-component");
}
